/** The words of the command line as bytes: a file name, for example, need not be UTF-8. Source: proc_pid_cmdline(5). */

import { isUtf8 } from 'node:buffer';
import { replacement } from '../../pipe/utf8.js';
import { ownStrings } from '../../sys/proc/proc-status.js';
import type { Path } from '../../sys/syscall.js';
import { usage } from './usage.js';

/**
 * The last `count` words of the command line, which are the container's command. Node made `argv` of all words; those
 * of the command that it has changed are returned as bytes. Throws `Failure` 64 for any other that it has changed: it
 * would name another file.
 */
export function exactCommand(argv: readonly string[], count: number): Path[] {
  const words = exactWords(argv);
  const before = words.splice(0, words.length - count);
  const changed = before.findIndex((word) => typeof word !== 'string' && !isUtf8(word));
  if (changed < 0) return words;
  throw usage(
    'command line',
    `${JSON.stringify(argv[changed])} is not UTF-8`,
    'only words of the command itself may be anything else',
  );
}

function exactWords(words: readonly string[]): Path[] {
  if (!words.some((word) => word.includes(replacement))) return [...words];
  const exact = ownStrings('cmdline').slice(-words.length);
  return words.map((word, i) => (word.includes(replacement) ? exact[i]! : word));
}
