/** Reads the image's account files, which may be as hostile as everything else in it. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { errnoText, failingAs, failureOf, hasErrno } from '../../base/failure.js';
import { warn } from '../../base/trace.js';
import { openIn } from '../../sys/files/open-in.js';
import { openHow } from '../../sys/syscalls/calls.js';
import { O, RESOLVE } from '../../sys/syscalls/constants.js';
import { EACCES } from '../../sys/syscalls/errno.js';
import { isErrno } from '../../sys/syscalls/syscall.js';
import { placeInside } from '../filesystem/places.js';
import { sideOf, type View } from '../filesystem/view.js';
import { refused } from '../settings/failures.js';
import { whatRootIs } from '../settings/root.js';
import type { AccountFiles } from './identity.js';

/** Ample: 10,000 users have 0.6 MB. A larger file is no account file. */
const maxBytes = 4 * 1024 * 1024;

/**
 * The text of /etc/passwd and /etc/group; each empty when there is no such regular file in the image. One that this
 * user may not read is a warning, or a `Failure` where it is `needed`.
 */
export function readAccountFiles(view: View, needed: boolean): AccountFiles {
  const closed: string[] = [];
  const read = (path: string) => {
    try {
      return readIn(view, path);
    } catch (error) {
      if (!needed && hasErrno(error, 'EACCES')) {
        closed.push(`/${path}`);
        return '';
      }
      throw failureOf(error, `/${path} of the image`, { hint: 'this user has to be able to read it: chmod a+r' });
    }
  };
  const files = { passwd: read('etc/passwd'), group: read('etc/group') };
  if (closed.length > 0)
    warn(
      `${closed.join(' and ')} of the image: ${errnoText('EACCES')}; the command runs as a user without an entry there`,
    );
  return files;
}

function readIn(view: View, path: string): string {
  // In a layer a link may lead from one of the two directories to the other. The kernel looks into one alone here.
  const place = view.upper === undefined ? path : placeInside(view, path).path;
  const side = sideOf(view, place);
  if (side === undefined) return '';
  const directory = failingAs(side, () => openSync(side, O.PATH | O.DIRECTORY | O.CLOEXEC), { hint: whatRootIs });
  try {
    return readInside(directory, place);
  } finally {
    closeSync(directory);
  }
}

/**
 * Reads a file as the container will see it: links stay inside the root, and links of /proc are not followed. It is
 * opened with O_PATH first, to see that it is a regular file: opening a FIFO could block, and opening a device could
 * reset it.
 */
function readInside(directory: number, path: string): string {
  const handle = openIn(directory, path, openHow(O.PATH | O.CLOEXEC, RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS));
  if (handle === -EACCES) throw Object.assign(new Error('it may not be looked up'), { code: 'EACCES' });
  if (isErrno(handle)) return '';
  try {
    if (!fstatSync(handle).isFile()) return '';
    const fd = openSync(`/proc/self/fd/${handle}`, O.RDONLY | O.CLOEXEC);
    try {
      return readText(fd, path);
    } finally {
      closeSync(fd);
    }
  } finally {
    closeSync(handle);
  }
}

function readText(fd: number, path: string): string {
  const { size } = fstatSync(fd);
  if (size > maxBytes) {
    throw refused(`/${path} of the image`, `it has ${size} bytes, more than ${maxBytes}`);
  }
  const bytes = Buffer.alloc(size);
  return bytes.toString('utf8', 0, readSync(fd, bytes, 0, size, 0));
}
