/** Files that the user names, by a flag or a variable: small ones that are read whole. */
import { closeSync, openSync, readSync } from 'node:fs';
import { Failure } from './failure.js';
import { Status } from './status.js';

/** Ample for what people write themselves: variables, certificates, logins, a seccomp profile. */
const mostText = 4 * 1024 * 1024;

/**
 * The content of a file, which messages call `name`; it may be a pipe. Throws `Failure` 65 for one that is longer than
 * such files are: /dev/zero has no end.
 */
export function readNamed(path: string, name = path): Buffer {
  const fd = openSync(path, 'r');
  try {
    const bytes = Buffer.allocUnsafeSlow(mostText + 1);
    let length = 0;
    for (let read = 1; read > 0; length += read) read = readSync(fd, bytes, length, bytes.length - length, null);
    if (length > mostText) throw new Failure(Status.data, name, `it has more than ${mostText} bytes`);
    return bytes.subarray(0, length);
  } finally {
    closeSync(fd);
  }
}
