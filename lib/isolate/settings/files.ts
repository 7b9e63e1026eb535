/** Reading files whole: those that flags name, and the host's. */
import { isUtf8 } from 'node:buffer';
import { existsSync, readFileSync } from 'node:fs';
import { Failure, failingAs } from '../../base/failure.js';
import { Status } from '../../base/status.js';

/** The text of a file that a flag names. Throws `Failure`. */
export function readText(path: string, flag: string): string {
  const bytes = failingAs(`${flag} ${path}`, () => readFileSync(path));
  // Decoding would silently replace bytes that are not UTF-8.
  if (isUtf8(bytes)) return bytes.toString();
  throw new Failure(Status.data, `${flag} ${path}`, 'it is not UTF-8');
}

/** The text of a file of the host; empty when there is none. Throws `Failure`. */
export function hostText(path: string): string {
  return failingAs(path, () => (existsSync(path) ? readFileSync(path, 'utf8') : ''));
}
