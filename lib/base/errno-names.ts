/**
 * The names and words of errors of the kernel: those of Node, and what Node and libuv have no name or words for, such
 * as a quota that is used up. For libuv such an error is "Unknown system error -122".
 */
import { constants } from 'node:os';
import { getSystemErrorMap } from 'node:util';

/** errno(3). */
const further: readonly (readonly [errno: number, name: string, words: string])[] = [
  [constants.errno.EBADMSG, 'EBADMSG', 'bad message'],
  [constants.errno.EDEADLK, 'EDEADLK', 'resource deadlock avoided'],
  [constants.errno.EDQUOT, 'EDQUOT', 'disk quota exceeded'],
  [constants.errno.ENOEXEC, 'ENOEXEC', 'exec format error'],
  [constants.errno.ENOLCK, 'ENOLCK', 'no locks available'],
  [constants.errno.ENOLINK, 'ENOLINK', 'link has been severed'],
  [constants.errno.ESTALE, 'ESTALE', 'stale file handle'],
  [117, 'EUCLEAN', 'structure needs cleaning'],
  [123, 'ENOMEDIUM', 'no medium found'],
  [126, 'ENOKEY', 'required key not available'],
  [127, 'EKEYEXPIRED', 'key has expired'],
  [128, 'EKEYREVOKED', 'key has been revoked'],
];

const names = new Map([
  ...Object.entries(constants.errno).map(([name, number]): [number, string] => [number, name]),
  ...further.map(([errno, name]): [number, string] => [errno, name]),
  // Each of these has two names on Linux, and Node may have the one that man pages do not use.
  [constants.errno.EAGAIN, 'EAGAIN'],
  [constants.errno.EOPNOTSUPP, 'EOPNOTSUPP'],
]);

/** 2 gives "ENOENT"; a number that has no name here gives "E123". */
export function errnoNameOf(errno: number): string {
  return names.get(errno) ?? `E${errno}`;
}

/** The kernel's words for an errno name: "ENOSPC" gives "no space left on device". */
export function wordsOfErrno(name: string): string | undefined {
  for (const [code, words] of getSystemErrorMap().values()) if (code === name) return words;
  return further.find((it) => it[1] === name)?.[2];
}
