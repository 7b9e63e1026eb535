/**
 * Files that are opened by name in a place where a stranger, or a mistake, may have put something else. Opening a FIFO
 * would wait for ever.
 */
import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';
import { Failure, hasErrno } from './failure.js';
import { Status } from './status.js';

/**
 * Opens a regular file, which messages call `name`; one that is made now gets `mode`. Throws `Failure` 65 for anything
 * else.
 */
export function openRegular(path: string, flags: number, name = path, mode = 0o600): number {
  const fd = open(path, flags, name, mode);
  if (fstatSync(fd).isFile()) return fd;
  closeSync(fd);
  throw notRegular(name);
}

function open(path: string, flags: number, name: string, mode: number): number {
  try {
    return openSync(path, flags | constants.O_NONBLOCK | constants.O_NOCTTY, mode);
  } catch (error) {
    // A socket, or for writing a FIFO that nobody reads; for writing a directory.
    if (hasErrno(error, 'ENXIO', 'EISDIR')) throw notRegular(name);
    throw error;
  }
}

/** Ample for documents: configuration and manifest have 4 MiB each at most, and more when indented. */
export const mostBytes = 64 * 1024 * 1024;

/** The content of a regular file. Throws `Failure` 65 for one so large that it would take all memory. */
export function readRegular(path: string, flags: number = constants.O_RDONLY, name = path): Buffer {
  const fd = openRegular(path, flags, name);
  try {
    const { size } = fstatSync(fd);
    if (size > mostBytes) throw new Failure(Status.data, name, `it has ${size} bytes, more than ${mostBytes}`);
    return readFileSync(fd);
  } finally {
    closeSync(fd);
  }
}

function notRegular(name: string): Failure {
  return new Failure(Status.data, name, 'it is not a regular file');
}
