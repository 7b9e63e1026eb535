/**
 * The names and words of errors of the kernel: those of Node, and what Node and libuv have no name or words for, such
 * as a quota that is used up. For libuv such an error is "Unknown system error -122".
 */
import { getSystemErrorMap } from 'node:util';
import { once } from './once.js';

/** errno(3). */
const further: readonly (readonly [errno: number, name: string, words: string])[] = [
  [8, 'ENOEXEC', 'exec format error'],
  [35, 'EDEADLK', 'resource deadlock avoided'],
  [37, 'ENOLCK', 'no locks available'],
  [67, 'ENOLINK', 'link has been severed'],
  [74, 'EBADMSG', 'bad message'],
  [116, 'ESTALE', 'stale file handle'],
  [117, 'EUCLEAN', 'structure needs cleaning'],
  [122, 'EDQUOT', 'disk quota exceeded'],
  [123, 'ENOMEDIUM', 'no medium found'],
  [126, 'ENOKEY', 'required key not available'],
  [127, 'EKEYEXPIRED', 'key has expired'],
  [128, 'EKEYREVOKED', 'key has been revoked'],
];

/** Made when it is first needed, since most runs meet no error that Node has no name for. */
const names = once(() => {
  const { errno } = process.getBuiltinModule('node:os').constants;
  return new Map([
    ...Object.entries(errno).map(([name, number]): [number, string] => [number, name]),
    ...further.map(([number, name]): [number, string] => [number, name]),
    // Each of these has two names on Linux, and Node may have the one that man pages do not use.
    [errno.EAGAIN, 'EAGAIN'],
    [errno.EOPNOTSUPP, 'EOPNOTSUPP'],
  ]);
});

/** 2 gives "ENOENT"; a number that has no name here gives "E123". */
export function errnoNameOf(errno: number): string {
  return names().get(errno) ?? `E${errno}`;
}

/** "ENOENT" gives 2; undefined for a name that is not known here. */
export function errnoOf(name: string): number | undefined {
  const known: Record<string, number> = process.getBuiltinModule('node:os').constants.errno;
  return Object.hasOwn(known, name) ? known[name] : further.find((it) => it[1] === name)?.[0];
}

/** The kernel's words for an errno name: "ENOSPC" gives "no space left on device". */
export function wordsOfErrno(name: string): string | undefined {
  for (const [code, words] of getSystemErrorMap().values()) if (code === name) return words;
  return further.find((it) => it[1] === name)?.[2];
}
