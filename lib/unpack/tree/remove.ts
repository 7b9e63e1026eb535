/** Removing what is in a directory, by descriptor and name alone, so that no symlink and no mount leads elsewhere. */
import { randomBytes } from 'node:crypto';
import { close, fchmod, lseek, openat2, openHow, renameat2, unlinkat } from '../../sys/calls.js';
import { AT, O, RESOLVE, SEEK } from '../../sys/constants.js';
import { EACCES, EISDIR, ELOOP, ENOENT, ENOTDIR, ENOTEMPTY, EPERM } from '../../sys/errno.js';
import { SyscallError } from '../../sys/syscall.js';
import { type ByteString, joinPath, shown, toBytes } from '../../tar/bytes.js';
import { chmodAt, entriesOf, readEntries } from './directory.js';

/**
 * How much of an entry a removal keeps: `nothing`; the entry itself (`itself`), while it asks again for each entry
 * below; or the entry with everything below it (`all`).
 */
export type Kept = (dir: ByteString, name: ByteString) => 'nothing' | 'itself' | 'all';

/** What a removal asks, and what it tells. */
export interface Removal {
  kept: Kept;
  /** Called with the path of everything that has been removed. */
  gone(path: ByteString): void;
  /** Names in a directory that were left out, so that they are not on the disk: they count as removed all the same. */
  leftOut(path: ByteString): Iterable<ByteString>;
  /** Nothing has bounded how deep the directories are, nor how full. Then nothing of the entry may be kept. */
  isUnbounded?: boolean;
  /** Takes a directory that lies too deep out of the way, for later. False where that cannot be done. */
  lift?(dirfd: number, name: Buffer): boolean;
}

/**
 * Directories inside each other that are open at once while a tree is removed. Most images have fewer; a container may
 * have made any number of them.
 */
const deepest = 64;

/** RESOLVE_NO_XDEV: what somebody has mounted in a tree is not part of it, and must not be emptied with it. */
const inside = openHow(O.RDONLY | O.DIRECTORY | O.CLOEXEC, RESOLVE.NO_SYMLINKS | RESOLVE.NO_XDEV);

/** Removes a whole tree that no `Tree` keeps account of: an old one, or what an interrupted run left. */
export function removeTree(dirfd: number, name: ByteString): void {
  removeEntry(dirfd, '', name, { kept: () => 'nothing', gone: () => {}, leftOut: () => [], isUnbounded: true });
}

/** Empties a directory. What lies too deep is moved to its top, until nothing is deep any more. */
function emptyInSteps(top: number, path: ByteString, how: Removal): void {
  let lifted = false;
  const lift = (dirfd: number, name: Buffer) => {
    // The one that is moved has to be writable too: rename(2) changes its `..`.
    chmodAt(dirfd, name, 0o700);
    for (const directory of [dirfd, top]) fchmod.try(directory, 0o700);
    const isMoved = renameat2.try(dirfd, name, top, randomBytes(8).toString('hex'), 0) === 0;
    lifted ||= isMoved;
    return isMoved;
  };
  do {
    lifted = false;
    lseek(top, 0, SEEK.SET);
    clearDirectory(top, path, { ...how, lift }, 1);
  } while (lifted);
}

/** Empties an open directory, whose path is `path`, except for what `how` keeps. Throws `SyscallError`. */
export function clearDirectory(fd: number, path: ByteString, how: Removal, depth = 1): void {
  for (const name of how.isUnbounded ? readEntries(fd) : entriesOf(fd)) removeEntry(fd, path, name, how, depth);
  for (const name of how.leftOut(path)) removeEntry(fd, path, name, how, depth);
}

/**
 * Removes one entry with everything below it, except for what `how` keeps. Returns whether it was a directory. `depth`
 * tells how many of the directories around it are being emptied as well: the nearest may be made writable for that.
 * Throws `SyscallError`.
 */
export function removeEntry(dirfd: number, dirPath: ByteString, name: ByteString, how: Removal, depth = 0): boolean {
  const path = joinPath(dirPath, name);
  const bytes = toBytes(name);
  const keep = how.kept(dirPath, name);
  if (keep === 'all') return false;
  const result = keep === 'nothing' ? unlink(dirfd, bytes, depth > 0) : -EISDIR;
  if (result === 0 || result === -ENOENT) {
    how.gone(path);
    return false;
  }
  if (result !== -EISDIR && result !== -EPERM) throw notRemoved('unlinkat', -result, path);
  // An overlay does not move a directory of its lower layers: then that is entered after all.
  if (depth > deepest && how.lift?.(dirfd, bytes)) return true;
  const fd = enter(dirfd, bytes, path);
  // Not a directory, so EPERM meant the file: it is immutable, or another user's in a directory with the sticky bit.
  if ((fd === -ENOTDIR || fd === -ELOOP) && result === -EPERM) throw notRemoved('unlinkat', EPERM, path);
  if (fd < 0) return false;
  try {
    const removed = emptied(fd, path, how, depth, () =>
      keep === 'nothing' ? unlinkat.try(dirfd, bytes, AT.REMOVEDIR) : 0,
    );
    if (removed < 0) throw notRemoved('unlinkat', -removed, path);
  } finally {
    close(fd);
  }
  if (keep === 'nothing') how.gone(path);
  return true;
}

/** Empties a directory and then calls `remove`, whose result it returns. */
function emptied(fd: number, path: ByteString, how: Removal, depth: number, remove: () => number): number {
  for (let tries = 10; ; tries--) {
    if (depth === 0 && how.isUnbounded) emptyInSteps(fd, path, how);
    else clearDirectory(fd, path, how, depth + 1);
    const result = remove();
    // readdir(3): while entries are removed, others may be passed over.
    if (result !== -ENOTEMPTY || !how.isUnbounded || tries === 0) return result;
    lseek(fd, 0, SEEK.SET);
  }
}

function notRemoved(syscall: string, errno: number, path: ByteString): SyscallError {
  return new SyscallError(syscall, errno, `removing ${shown(path)}`);
}

/** Returns 0 or a negative errno. For a directory unlink(2) gives EISDIR on Linux, and EPERM by POSIX. */
function unlink(dirfd: number, name: Buffer, ours: boolean): number {
  const result = unlinkat.try(dirfd, name, 0);
  return result === -EACCES && ours && fchmod.try(dirfd, 0o700) === 0 ? unlinkat.try(dirfd, name, 0) : result;
}

/** Opens a directory that is to be emptied. Returns a negative errno when the name is not a directory, or is gone. */
function enter(dirfd: number, name: Buffer, path: ByteString): number {
  let fd = openat2.try(dirfd, name, inside, inside.length);
  // A finished tree may have directories that not even their owner may enter.
  if (fd === -EACCES && chmodAt(dirfd, name, 0o700) === 0) fd = openat2.try(dirfd, name, inside, inside.length);
  if (fd < 0 && fd !== -ENOENT && fd !== -ENOTDIR && fd !== -ELOOP) throw notRemoved('openat2', -fd, path);
  return fd;
}
