/** Reads the container's account files. Those of the image may be as hostile as everything else in it. */
import { fstatSync, readSync } from 'node:fs';
import { errnoText, failureOf, hasErrno } from '../../base/failure.js';
import { warn } from '../../base/trace.js';
import { readInside, readInView } from '../filesystem/read-inside.js';
import type { View } from '../filesystem/view.js';
import { inVolume } from '../filesystem/volumes.js';
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
    const ofImage = attempt(name, () => readInView(view, path, textAs(name), whatRootIs) ?? '');
    if (!there) return ofImage;
    const nameThere = `/${path} in the volume ${there.source}`;
    return `${attempt(nameThere, () => readInside(there.source, there.path, textAs(nameThere)) ?? '')}\n${ofImage}`;
  };
  const files = { passwd: read('etc/passwd'), group: read('etc/group') };
  if (closed.length > 0)
    warn(`${closed.join(' and ')}: ${errnoText('EACCES')}; the command runs as a user without an entry there`);
  return files;
}

function textAs(name: string): (fd: number) => string {
  return (fd) => {
    const { size } = fstatSync(fd);
    if (size > maxBytes) throw refused(name, `it has ${size} bytes, more than ${maxBytes}`);
    const bytes = Buffer.alloc(size);
    return bytes.toString('utf8', 0, readSync(fd, bytes, 0, size, 0));
  };
}
