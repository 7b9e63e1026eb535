/** Reading files whole: those that flags name, and the host's. */
import { isUtf8 } from 'node:buffer';
import { existsSync, readFileSync } from 'node:fs';
import { Failure, failingAs } from '../../base/failure.js';
import { readNamed } from '../../base/named-file.js';
import { Status } from '../../base/status.js';

/** The text of a file that a flag names. Throws `Failure`. */
export function readText(path: string, flag: string): string {
  const name = `${flag} ${path}`;
  const bytes = failingAs(name, () => readNamed(path, name));
  // Decoding would silently replace bytes that are not UTF-8.
  if (isUtf8(bytes)) return bytes.toString();
  throw new Failure(Status.data, name, 'it is not UTF-8');
}

/** The text of a file of the host; empty when there is none. Throws `Failure`. */
export function hostText(path: string): string {
  return failingAs(path, () => (existsSync(path) ? readFileSync(path, 'utf8') : ''));
}
