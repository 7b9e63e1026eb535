/** Reads files of the tree, which may be as hostile as everything else in an image, before and after a container runs. */
import { closeSync, fstatSync, openSync } from 'node:fs';
import { failingAs } from '../../base/failure.js';
import { openIn } from '../../sys/files/open-in.js';
import { openHow } from '../../sys/syscalls/calls.js';
import { O, RESOLVE } from '../../sys/syscalls/constants.js';
import { EACCES } from '../../sys/syscalls/errno.js';
import { isErrno } from '../../sys/syscalls/syscall.js';
import { placeInside } from './places.js';
import { sideOf, type View } from './view.js';

/**
 * What `read` makes of the regular file at a path below `source`, as the container will see it: links stay inside, and
 * links of /proc are not followed. With an empty path `source` itself is the file. Undefined when there is no such file.
 * Throws `Failure`, with the hint, for a source that cannot be opened, and EACCES for what may not be looked up.
 */
export function readInside<T>(source: string, path: string, read: (fd: number) => T, hint?: string): T | undefined {
  const handle = failingAs(source, () => openSync(source, O.PATH | O.CLOEXEC), { hint });
  try {
    return path === '' ? readIfRegular(handle, read) : readBelow(handle, path, read);
  } finally {
    closeSync(handle);
  }
}

/** Likewise of a path in the root of a container. */
export function readInView<T>(view: View, path: string, read: (fd: number) => T, hint?: string): T | undefined {
  // In a layer a link may lead from one of the two directories to the other. The kernel looks into one alone here.
  const place = view.upper === undefined ? path : placeInside(view, path).path;
  const side = sideOf(view, place);
  return side === undefined ? undefined : readInside(side, place, read, hint);
}

function readBelow<T>(directory: number, path: string, read: (fd: number) => T): T | undefined {
  const handle = openIn(directory, path, openHow(O.PATH | O.CLOEXEC, RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS));
  if (handle === -EACCES) throw Object.assign(new Error('it may not be looked up'), { code: 'EACCES' });
  if (isErrno(handle)) return undefined;
  try {
    return readIfRegular(handle, read);
  } finally {
    closeSync(handle);
  }
}

/**
 * Reads a file that is opened with O_PATH, if it is a regular one: opening a FIFO could block, and opening a device
 * could reset it.
 */
function readIfRegular<T>(handle: number, read: (fd: number) => T): T | undefined {
  if (!fstatSync(handle).isFile()) return undefined;
  const fd = openSync(`/proc/self/fd/${handle}`, O.RDONLY | O.CLOEXEC);
  try {
    return read(fd);
  } finally {
    closeSync(fd);
  }
}
