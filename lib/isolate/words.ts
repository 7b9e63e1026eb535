/** The words of the command line as bytes: a file name, for example, need not be UTF-8. Source: proc_pid_cmdline(5). */
import { readFileSync } from 'node:fs';
import type { Path } from '../sys/syscall.js';

/** Node puts this in the place of bytes that are not UTF-8. */
const replacement = '\ufffd';

/**
 * The last words of the command line, of which Node made `words`. Those that Node has changed are returned as bytes.
 */
export function exactWords(words: readonly string[]): Path[] {
  if (!words.some((word) => word.includes(replacement))) return [...words];
  // Each ends with a NUL, the last one too.
  const all = readFileSync('/proc/self/cmdline', 'latin1').split('\0').slice(0, -1);
  const exact = all.slice(-words.length).map((word) => Buffer.from(word, 'latin1'));
  return words.map((word, i) => (word.includes(replacement) ? exact[i]! : word));
}
