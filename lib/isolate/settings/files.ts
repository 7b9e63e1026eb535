/** Reading files whole: those beside a tree, which a stranger may have made, those that flags name, and the host's. */
import { isUtf8 } from 'node:buffer';
import { closeSync, constants, existsSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { Failure, failingAs } from '../../base/failure.js';
import { Status } from '../../base/status.js';

/**
 * Reads a regular file, which messages call `name`. Anything else is refused: opening a FIFO, for example, would wait
 * for ever.
 */
export function readRegular(path: string, flags: number, name = path): string {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | flags);
  try {
    if (!fstatSync(fd).isFile()) throw new Failure(Status.data, name, 'it is not a regular file');
    return readFileSync(fd, 'utf8');
  } finally {
    closeSync(fd);
  }
}

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
