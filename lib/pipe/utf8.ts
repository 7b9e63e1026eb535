/**
 * What this process was given that is not UTF-8. Node puts a replacement character in the place of such bytes, so that
 * a word or a variable would name another file. Source: proc_pid_cmdline(5).
 */
import { isUtf8 } from 'node:buffer';
import { Failure } from '../base/failure.js';
import { Status } from '../base/status.js';
import { ownStrings } from '../sys/proc/proc-status.js';

/** What Node puts there. */
export const replacement = '\ufffd';

/** Throws `Failure` 64 for a word of the command line, of which Node made `argv`, that is not UTF-8. */
export function checkWords(argv: readonly string[]): void {
  if (!argv.some((word) => word.includes(replacement))) return;
  const exact = ownStrings('cmdline').slice(-argv.length);
  const changed = argv.find((word, i) => word.includes(replacement) && !isUtf8(exact[i]!));
  if (changed !== undefined) throw new Failure(Status.usage, 'command line', `${JSON.stringify(changed)} is not UTF-8`);
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
