/**
 * Where the mount points in an image really are. The child opens a mount point without following any link, so that
 * nobody can lead it elsewhere. Links that an image has there on purpose are therefore resolved here, before.
 */
import { lstatSync, readlinkSync } from 'node:fs';
import { failureOf, hasErrno } from '../../base/failure.js';
import { refused } from '../settings/failures.js';
import { sideOf, type View } from './view.js';

/** As the kernel: path_resolution(7). */
const maxLinks = 40;

export interface Place {
  /** Without links and without a leading slash; '' is the root. Its last parts may be missing. */
  path: string;
  /** What is there, or undefined when nothing is. */
  kind: 'directory' | 'other' | undefined;
}

/**
 * Resolves a path as for a process that has this root: `..` stops there, and absolute links start there. A link to
 * something that does not exist gives the place where it would be. Throws `Failure` 125 for links that go round in a
 * circle.
 */
export function placeInside(view: View, path: string): Place {
  const left = path.split('/').reverse();
  // The places on the way, each a part deeper.
  const way: Place[] = [{ path: '', kind: 'directory' }];
  let links = 0;
  for (let part = left.pop(); part !== undefined; part = left.pop()) {
    if (part === '' || part === '.') continue;
    if (part === '..') {
      if (way.length > 1) way.pop();
      continue;
    }
    const place = `${way.at(-1)!.path}/${part}`.replace(/^\//, '');
    const { kind, link } = lookAt(view, place);
    if (link === undefined) {
      way.push({ path: place, kind });
      continue;
    }
    links += 1;
    if (links > maxLinks) throw refused(`/${path} of the image`, 'its links go round in a circle');
    if (link.startsWith('/')) way.length = 1;
    left.push(...link.split('/').reverse());
  }
  return way.at(-1)!;
}

/**
 * What the container may find at a place. Root of a user namespace may look where this process may not: into a
 * directory of another of its ids, or one without permissions. There this takes it that no link is on the way. If there
 * is one, the child fails, since it follows none.
 */
function lookAt(view: View, place: string): { kind: Place['kind']; link?: string } {
  try {
    const side = sideOf(view, place);
    if (side === undefined) return { kind: undefined };
    const path = `${side}/${place}`;
    const stats = lstatSync(path);
    if (stats.isSymbolicLink()) return { kind: 'other', link: readlinkSync(path) };
    return { kind: stats.isDirectory() ? 'directory' : 'other' };
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR', 'EACCES')) return { kind: undefined };
    throw failureOf(error, `/${place} of the image`);
  }
}

/** Whether a place, as `Place.path` has it, is in /proc, /sys or /dev: there the container has its own. */
export function isOfKernel(path: string): boolean {
  return /^(proc|sys|dev)(\/|$)/.test(path);
}

/**
 * The place where a file is to be mounted. Throws `Failure` 125 when the image has a directory there, or a link into
 * /proc, /sys or /dev.
 */
export function placeOfFile(view: View, path: string): string {
  const place = placeInside(view, path);
  if (place.kind === 'directory') {
    throw refused(`/${path} of the image`, 'a file is to be mounted there, and it is a directory');
  }
  if (isOfKernel(place.path)) {
    throw refused(
      `/${path} of the image`,
      `it is a link to /${place.path}, which belongs to the kernel and cannot be covered`,
      'replace the link in the tree by a file',
    );
  }
  return place.path;
}
