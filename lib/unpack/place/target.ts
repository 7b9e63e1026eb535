/** The place where a tree is to be, and what is there before: whether it may be replaced, and how that is said. */
import { realpathSync, statfsSync } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import { errnoName, Failure, failureOf, ignoring } from '../../base/failure.js';
import { pause } from '../../base/pause.js';
import { mostBytes, readRegular } from '../../base/regular-file.js';
import { Status } from '../../base/status.js';
import { interimName } from '../../pipe/interim.js';
import { tryLock } from '../../sys/files/lock.js';
import { confinedHint, keptOutHint, missingCallHint } from '../../sys/refusals/confinement.js';
import { close, openat, openat2, openHow } from '../../sys/syscalls/calls.js';
import { AT, O, S } from '../../sys/syscalls/constants.js';
import { EACCES, ENOENT } from '../../sys/syscalls/errno.js';
import { SyscallError } from '../../sys/syscalls/syscall.js';
import { byteString, shown } from '../../tar/bytes.js';
import { closing, directoryFlags, followingFlags, readEntries } from '../tree/directory.js';
import { mountPoints } from '../tree/open-path.js';
import { isRemovable, notRemovable } from '../tree/removable.js';
import { isNameOf, type Stat, statAt, statOf } from '../tree/stat.js';
import type { sideFiles } from './claim.js';

/** statfs(2). */
const btrfsMagic = 0x9123683e;

const follow = openHow(followingFlags, 0);

export interface Target {
  /** Absolute. */
  path: string;
  /** The directory around it, open, and its name there. */
  parent: number;
  base: string;
}

/**
 * Throws `Failure` 64 for what cannot be the place of a tree, 74 or 77 when the directory around it cannot be opened.
 */
export function openTarget(dir: string): Target {
  // resolve() would make it the working directory, and an unset variable must not replace that.
  if (dir === '') throw new Failure(Status.usage, 'command line', 'DIR is empty');
  const path = resolve(dir);
  const base = basename(path);
  if (base === '') throw new Failure(Status.usage, path, 'the root directory is no place for an image');
  return { path, parent: openParent(dirname(path)), base };
}

/** Opens the directory around the target. An error names this directory: the target itself is usually not there yet. */
function openParent(path: string): number {
  try {
    // openat2: where it is refused, this is known before anything is made that only openat2 can remove again.
    return openat2(AT.FDCWD, path, follow, follow.length);
  } catch (error) {
    throw failureOf(error, path, { hint: hintOf(errnoName(error)) });
  }
}

function hintOf(code: string | undefined): string | undefined {
  if (code === 'ENOENT') return 'mkdir -p makes it';
  // Filters of older releases of docker say so of calls that they do not know.
  if (code === 'EPERM') return confinedHint([]);
  if (code === 'EACCES') return keptOutHint();
  return code === 'ENOSYS' ? missingCallHint('openat2') : undefined;
}

/**
 * Throws `Failure` for what stands there and cannot be replaced: 64 for what is not a directory, or has the caller in
 * it, and without `force` for a directory that is not empty; 75 when a container runs in it; 77 when it cannot be removed.
 */
export function checkTarget(target: Target, force: boolean): void {
  const { path, parent, base } = target;
  const stat = statAt(parent, byteString(base));
  if (!stat) return;
  checkKind(target, stat);
  checkCaller(target);
  const fd = openat.try(parent, base, directoryFlags, 0);
  if (fd === -ENOENT) return;
  if (fd === -EACCES && force) {
    // The user's own can be made accessible. Of somebody else's nobody knows whether it is empty.
    const user = process.geteuid!();
    if (stat.uid === user || user === 0) return;
    throw new Failure(Status.notPermitted, path, notRemovable, { hint: whoCan });
  }
  if (fd < 0) throw new SyscallError('openat', -fd, path);
  try {
    const [mounted] = mountPoints(fd);
    if (mounted === '') throw mountInTheWay(path);
    if (!force && hasEntries(fd)) throw occupied(path);
    if (!force && isSubvolume(fd, stat)) throw subvolume(path);
    // It would be emptied with the old tree, and it might be somebody's home.
    if (mounted)
      throw new Failure(Status.usage, path, `something is mounted at ${shown(mounted)} in it`, {
        hint: 'unmount it first',
      });
    if (!isRemovable(fd)) {
      throw new Failure(Status.notPermitted, path, notRemovable, { hint: whoCan });
    }
  } finally {
    close(fd);
  }
  const unheld = openUnheld(target);
  if (unheld >= 0) close(unheld);
}

/** Throws `Failure` 64 for what no tree should take the place of. */
function checkKind({ path, parent }: Target, stat: Stat): void {
  if (stat.type === S.IFLNK)
    throw new Failure(Status.usage, path, 'it is a symbolic link', { hint: 'name what it leads to, or remove it' });
  if (stat.type !== S.IFDIR) throw new Failure(Status.usage, path, 'it is there, and is not a directory');
  if (stat.isEncrypted && !statOf(parent).isEncrypted)
    throw new Failure(Status.usage, path, 'it is encrypted, and a tree in its place would not be', {
      hint: 'name a directory in it',
    });
}

/**
 * Throws `Failure` 64 where the caller stands in it: the shell would be left in a directory without a name, which is
 * empty, and with `..` all around it would be gone.
 */
function checkCaller({ path }: Target): void {
  // Either may have been removed just now.
  const place = ignoring(['ENOENT'], () => realpathSync.native(path));
  const caller = ignoring(['ENOENT'], () => process.cwd());
  if (place === undefined || !`${caller}/`.startsWith(`${place}/`)) return;
  throw new Failure(Status.usage, path, 'the working directory is there, and would be removed with it', {
    hint: 'name another directory, or go to another one first',
  });
}

/** btrfs(5): the root of a subvolume has the first number that an inode can have. */
function isSubvolume(fd: number, { inode }: Stat): boolean {
  return inode === 256n && statfsSync(`/proc/self/fd/${fd}`).type === btrfsMagic;
}

/** rename(2) says ENOTEMPTY of an empty one as well. */
function subvolume(path: string): Failure {
  const why = 'it is a subvolume of btrfs, and no directory can take its place';
  return new Failure(Status.usage, path, why, {
    hint: 'name a directory in it; --force exchanges it for a directory',
  });
}

/** Whether something is in the directory of this name. False where it cannot be looked into. */
export function isFilled(parent: number, base: string): boolean {
  const fd = openat.try(parent, base, directoryFlags, 0);
  return fd >= 0 && closing(fd, hasEntries);
}

function hasEntries(fd: number): boolean {
  return !readEntries(fd).next().done;
}

/**
 * Opens the directory at the target, and locks it, so that no container can start there until it is closed: md-isolate
 * holds a shared lock on its tree. Returns a negative errno when it cannot be opened. Throws `Failure` 75 when a
 * container runs in it. Another run that looks at it holds the lock only for a moment, which is longer on a busy
 * machine: that is waited for up to five seconds.
 */
export function openUnheld({ path, parent, base }: Target): number {
  const hint = 'lslocks tells which process has locked this one';
  for (let tries = 0, shared = 0; tries < 250; tries++) {
    if (tries > 0) pause(20);
    const fd = openat.try(parent, base, directoryFlags, 0);
    if (fd < 0) return fd;
    const isHeld = !tryLock(fd, 'exclusive');
    // Another run may have exchanged it since it was opened.
    if (!isHeld && isNameOf(fd, parent, byteString(base))) return fd;
    // A container's lock is shared, that of md-prune or of another run that looks is not.
    if (isHeld && tryLock(fd, 'shared') && !isBeingPlaced(parent, base, fd)) shared += 1;
    close(fd);
    // More than once, since another run may be asking the same.
    if (shared === 5)
      throw new Failure(Status.tryLater, path, 'a container runs in it', {
        hint: `end it first, or name another directory; ${hint}`,
      });
  }
  throw new Failure(Status.tryLater, path, 'another process has locked it', { hint });
}

/** Whether the run that has made a tree is still to put the files there that go with it: that has a shared lock, too. */
function isBeingPlaced(parent: number, base: string, fd: number): boolean {
  return statAt(parent, byteString(`${interimName(base, statOf(fd).inode)}.lock`)) !== undefined;
}

/**
 * Unpacking into `package` must not replace a `package.json` of somebody's project. Throws `Failure` 64, even with
 * `force`.
 */
export function checkDocument(target: Target): void {
  checkFile(target, '.unset.jsonl');
  const path = `${target.path}.json`;
  const stat = checkFile(target, '.json');
  if (!stat || (stat.size <= mostBytes && isRootfsDocument(readDocument(target)))) return;
  throw new Failure(Status.usage, path, 'it is there, and is not the document of a root filesystem', {
    hint: 'move it away, or name another directory',
  });
}

/** In /tmp a stranger may own it, and have put a FIFO or a link in its place by now. */
function readDocument({ path, parent, base }: Target): string {
  return readRegular(`/proc/self/fd/${parent}/${base}.json`, O.RDONLY | O.NOFOLLOW, `${path}.json`).toString();
}

function isRootfsDocument(text: string): boolean {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && 'rootfs' in value && 'config' in value && 'image' in value;
  } catch (error) {
    if (error instanceof SyntaxError) return false;
    throw error;
  }
}

/**
 * The status of a file that goes with the tree and is to be replaced; `undefined` when there is none. Throws `Failure`
 * 64 for anything but a file.
 */
export function checkFile({ path, parent, base }: Target, ending: (typeof sideFiles)[number]): Stat | undefined {
  const stat = statAt(parent, byteString(`${base}${ending}`));
  if (stat && stat.type !== S.IFREG) {
    throw new Failure(Status.usage, `${path}${ending}`, 'it is there, and is not a regular file');
  }
  return stat;
}

export function occupied(path: string): Failure {
  return new Failure(Status.usage, path, 'it is there and not empty', {
    hint: '--force replaces it and deletes what is in it',
  });
}

export function mountInTheWay(path: string): Failure {
  return new Failure(Status.usage, path, 'something is mounted there', { hint: 'name a directory below it' });
}

/** A hint for what belongs to others. */
export const whoCan = 'what --map has unpacked, only --map removes';
