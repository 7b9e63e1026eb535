/** Reads the container's account files. Those of the image may be as hostile as everything else in it. */
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
import { volumeOver } from '../filesystem/volumes.js';
import { refused } from '../settings/failures.js';
import { whatRootIs } from '../settings/root.js';
import type { Volume } from '../settings/volumes.js';
import type { AccountFiles } from './identity.js';

/** Ample: 10,000 users have 0.6 MB. A larger file is no account file. */
const maxBytes = 4 * 1024 * 1024;

/**
 * The text of /etc/passwd and /etc/group; each empty when there is no such regular file. That of a volume over it comes
 * first: with `-u $(id -u) -v /etc/passwd:/etc/passwd:ro` the command finds its name and its home in there. The image's
 * follows, for a user that only the image knows. One that this user may not read is a warning, or a `Failure` where it
 * is `needed`.
 */
export function readAccountFiles(view: View, volumes: readonly Volume[], needed: boolean): AccountFiles {
  const closed: string[] = [];
  const attempt = (name: string, read: () => string) => {
    try {
      return read();
    } catch (error) {
      if (!needed && hasErrno(error, 'EACCES')) {
        closed.push(name);
        return '';
      }
      throw failureOf(error, name, { hint: 'this user has to be able to read it: chmod a+r' });
    }
  };
  const read = (path: string) => {
    const there = inVolume(view, volumes, path);
    const name = `/${path} of the image`;
    const ofImage = attempt(name, () => readIn(view, path, name));
    if (!there) return ofImage;
    const nameThere = `/${path} in the volume ${there.source}`;
    return `${attempt(nameThere, () => readBelow(there.source, there.path, nameThere))}\n${ofImage}`;
  };
  const files = { passwd: read('etc/passwd'), group: read('etc/group') };
  if (closed.length > 0)
    warn(`${closed.join(' and ')}: ${errnoText('EACCES')}; the command runs as a user without an entry there`);
  return files;
}

/** Where a path of the image is in the directory or file of the host that covers it; undefined when none does. */
function inVolume(view: View, volumes: readonly Volume[], path: string): { source: string; path: string } | undefined {
  if (volumes.length === 0) return undefined;
  const place = placeInside(view, path).path;
  const covering = volumeOver(volumes, place);
  if (covering?.type !== 'bind') return undefined;
  return { source: covering.source, path: place.slice(covering.target.length + 1) };
}

function readIn(view: View, path: string, name: string): string {
  // In a layer a link may lead from one of the two directories to the other. The kernel looks into one alone here.
  const place = view.upper === undefined ? path : placeInside(view, path).path;
  const side = sideOf(view, place);
  return side === undefined ? '' : readBelow(side, place, name, whatRootIs);
}

function readBelow(source: string, path: string, name: string, hint?: string): string {
  const handle = failingAs(source, () => openSync(source, O.PATH | O.CLOEXEC), { hint });
  try {
    return path === '' ? readRegular(handle, name) : readInside(handle, path, name);
  } finally {
    closeSync(handle);
  }
}

/** Reads a file as the container will see it: links stay inside the root, and links of /proc are not followed. */
function readInside(directory: number, path: string, name: string): string {
  const handle = openIn(directory, path, openHow(O.PATH | O.CLOEXEC, RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS));
  if (handle === -EACCES) throw Object.assign(new Error('it may not be looked up'), { code: 'EACCES' });
  if (isErrno(handle)) return '';
  try {
    return readRegular(handle, name);
  } finally {
    closeSync(handle);
  }
}

/**
 * Reads a file that is opened with O_PATH, if it is a regular one: opening a FIFO could block, and opening a device
 * could reset it.
 */
function readRegular(handle: number, name: string): string {
  if (!fstatSync(handle).isFile()) return '';
  const fd = openSync(`/proc/self/fd/${handle}`, O.RDONLY | O.CLOEXEC);
  try {
    return readText(fd, name);
  } finally {
    closeSync(fd);
  }
}

function readText(fd: number, name: string): string {
  const { size } = fstatSync(fd);
  if (size > maxBytes) throw refused(name, `it has ${size} bytes, more than ${maxBytes}`);
  const bytes = Buffer.alloc(size);
  return bytes.toString('utf8', 0, readSync(fd, bytes, 0, size, 0));
}
