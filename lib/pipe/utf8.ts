/**
 * What this process was given that is not UTF-8. Node puts a replacement character in the place of such bytes, so that
 * a word or a variable would name another file. Source: proc_pid_cmdline(5).
 */
import { isUtf8 } from 'node:buffer';
import { Failure } from '../base/failure.js';
import { Status } from '../base/status.js';
import { ownStrings } from '../sys/procfs/status.js';
import type { Path } from '../sys/syscalls/syscall.js';

/** What Node puts there. */
const replacement = '\ufffd';

/**
 * The words of the command line, of which Node made `argv`. Of the last `free` ones, those that are not UTF-8 are
 * returned as bytes. Throws `Failure` 64 for any other that is not UTF-8.
 */
export function exactWords(argv: readonly string[], free?: number): Path[] {
  if (!argv.some((word) => word.includes(replacement))) return [...argv];
  const exact = ownStrings('cmdline').slice(-argv.length);
  return argv.map((word, i) => {
    if (!word.includes(replacement) || isUtf8(exact[i]!)) return word;
    if (i >= argv.length - (free ?? 0)) return exact[i]!;
    throw new Failure(Status.usage, 'command line', `${JSON.stringify(word)} is not UTF-8`, {
      hint: free === undefined ? undefined : 'only words of the command itself may be anything else',
    });
  });
}

/**
 * The value of a variable of this process, which Node read as `value`. Throws `Failure` 64 about `what` for one that is
 * not UTF-8.
 */
export function exactValue(name: string, value: string, what = name): string {
  const line = Buffer.from(`${name}=${value}`);
  if (!value.includes(replacement) || ownStrings('environ').some((known) => line.equals(known))) return value;
  throw new Failure(Status.usage, what, 'its value is not UTF-8');
}
