/**
 * `--layer LAYER`: what a container writes lands in a directory of the host, and is there again the next time.
 *
 * LAYER has the three parts of an overlay: `upper`, what was written; `work`, room of the kernel's; and `lower`, a
 * symbolic link to the tree below. An upper layer makes sense over this tree alone.
 * Source: kernel, Documentation/filesystems/overlayfs.rst.
 */
import {
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  realpathSync,
  symlinkSync,
} from 'node:fs';
import { join } from 'node:path';
import { Failure, failureOf, ignoring } from '../../pipe/failure.js';
import { Status } from '../../pipe/status.js';
import { O } from '../../sys/constants.js';
import { tryLock } from '../../sys/lock.js';

export interface Layer {
  path: string;
  /** It has no `upper` and no `work` yet: the child makes them, since they may belong to an id of the container's. */
  isNew: boolean;
}

export function layerAt(path: string): Layer {
  return { path, isNew: !existsSync(join(path, 'upper')) };
}

/**
 * Begins the layer at `path` over the tree at `root`, or takes the one that is there. It is locked as long as this process
 * lives. Throws `Failure` for a directory that is something else, is in use, or lies over another tree.
 */
export function holdLayer(path: string, root: string): void {
  try {
    ignoring(['EEXIST'], () => mkdirSync(path, 0o700));
    const fd = openSync(path, O.RDONLY | O.DIRECTORY);
    const { uid, mode } = fstatSync(fd);
    if (uid !== process.geteuid!()) throw refused(path, 'it belongs to another user');
    // A set-user-ID program that root of a container made would be one on the host for everybody who can reach it.
    if (mode & 0o077) throw refused(path, 'other users may enter it', `chmod 700 ${path}`);
    if (!tryLock(fd, 'exclusive')) throw refused(path, 'another container writes to it');
    place(path, realpathSync(root));
  } catch (error) {
    throw failureOf(error, path);
  }
}

function place(path: string, tree: string): void {
  const lower = join(path, 'lower');
  const entries = readdirSync(path);
  if (entries.length === 0) symlinkSync(tree, lower);
  else if (!entries.includes('lower'))
    throw refused(path, 'it is not empty, and no layer', 'name a directory of its own');
  const below = readlinkSync(lower);
  if (below !== tree)
    throw refused(path, `this layer lies over ${below}, and not over ${tree}`, 'begin another one for this image');
}

function refused(path: string, why: string, hint?: string): Failure {
  return new Failure(Status.isolate, `--layer ${path}`, why, { hint });
}
