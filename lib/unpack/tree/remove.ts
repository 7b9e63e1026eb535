/** Removing what is in a directory, by descriptor and name alone, so that no symlink and no mount leads elsewhere. */
import { fchmod, lseek, openat2, openHow, unlinkat } from '../../sys/syscalls/calls.js';
import { AT, O, RESOLVE, SEEK } from '../../sys/syscalls/constants.js';
import { EACCES, EISDIR, ELOOP, ENOENT, ENOTDIR, EPERM } from '../../sys/syscalls/errno.js';
import { SyscallError } from '../../sys/syscalls/syscall.js';
import { type ByteString, joinPath, shown, toBytes } from '../../tar/bytes.js';
import { chmodAt, closing, readEntries } from './directory.js';

/**
 * How much of an entry a removal keeps: `nothing`; the entry itself (`itself`), while it asks again for each entry
 * below; or the entry with everything below it (`all`).
 */
export type Kept = (dir: ByteString, name: ByteString) => 'nothing' | 'itself' | 'all';
export const keepNothing: Kept = () => 'nothing';

/** What a removal asks, and what it tells. */
export interface Removal {
  kept: Kept;
  /** Called with the path of everything that has been removed. */
  gone(path: ByteString): void;
  /** Names in a directory that were left out, so that they are not on the disk: they count as removed all the same. */
  leftOut(path: ByteString): Iterable<ByteString>;
}

/** RESOLVE_NO_XDEV: what somebody has mounted in a tree is not part of it, and must not be emptied with it. */
const inside = openHow(O.RDONLY | O.DIRECTORY | O.CLOEXEC, RESOLVE.NO_SYMLINKS | RESOLVE.NO_XDEV);

/** Names of a directory that are kept in memory at once: one may have millions. */
const namesAtOnce = 10_000;

/** How often such a directory is read: a network filesystem may go on to list what is gone. */
const mostTries = 10;

/**
 * Empties an open directory, whose path is `path`, except for what `how` keeps. Its entries are read from the first on.
 * Throws `SyscallError`.
 */
export function clearDirectory(fd: number, path: ByteString, how: Removal): void {
  const kept = new Set<ByteString>();
  for (let tries = 0; tries < mostTries && !clearOnce(fd, path, how, kept); tries++) lseek(fd, 0, SEEK.SET);
  for (const name of how.leftOut(path)) removeEntry(fd, path, name, how, true);
}

/**
 * Reads the directory once, and passes over those `kept` before. False when entries may be left: readdir(3) may miss some
 * if others are removed while it goes on.
 */
function clearOnce(fd: number, path: ByteString, how: Removal, kept: Set<ByteString>): boolean {
  const entries = readEntries(fd);
  let removed = 0;
  for (;;) {
    const names = [...take(entries, namesAtOnce)];
    if (names.length === 0) return removed === 0;
    const isAll = removed === 0 && kept.size === 0 && names.length < namesAtOnce;
    for (const name of names) {
      if (kept.has(name)) continue;
      if (how.kept(path, name) === 'nothing') removed += 1;
      else kept.add(name);
      removeEntry(fd, path, name, how, true);
    }
    if (isAll) return true;
  }
}

function* take<T>(from: Iterator<T>, count: number): Generator<T> {
  for (let i = 0; i < count; i++) {
    const next = from.next();
    if (next.done) return;
    yield next.value;
  }
}

/**
 * Removes one entry with everything below it, except for what `how` keeps. Returns whether it was a directory. `ours`:
 * the directory that holds it is being emptied as well, and may be made writable for that. Throws `SyscallError`.
 */
export function removeEntry(dirfd: number, dirPath: ByteString, name: ByteString, how: Removal, ours = false): boolean {
  const path = joinPath(dirPath, name);
  const bytes = toBytes(name);
  const keep = how.kept(dirPath, name);
  if (keep === 'all') return false;
  const fd = keep === 'nothing' ? unlinkOrEnter(dirfd, bytes, path, ours) : enter(dirfd, bytes, path);
  if (fd === undefined || fd < 0) {
    if (keep === 'nothing') how.gone(path);
    return false;
  }
  closing(fd, () => clearDirectory(fd, path, how));
  if (keep === 'nothing') {
    const removed = unlinkat.try(dirfd, bytes, AT.REMOVEDIR);
    if (removed < 0) throw notRemoved('unlinkat', -removed, path);
    how.gone(path);
  }
  return true;
}

export function notRemoved(syscall: string, errno: number, path: ByteString): SyscallError {
  return new SyscallError(syscall, errno, `removing ${shown(path)}`);
}

/**
 * Removes an entry, or opens it when it is a directory; undefined when it is not there any more. `ours`: as above.
 * Throws `SyscallError`.
 */
export function unlinkOrEnter(dirfd: number, name: Buffer, path: ByteString, ours: boolean): number | undefined {
  const result = unlink(dirfd, name, ours);
  if (result === 0 || result === -ENOENT) return undefined;
  if (result !== -EISDIR && result !== -EPERM) throw notRemoved('unlinkat', -result, path);
  const fd = enter(dirfd, name, path);
  // Not a directory, so EPERM meant the file: it is immutable, or another user's in a directory with the sticky bit.
  if ((fd === -ENOTDIR || fd === -ELOOP) && result === -EPERM) throw notRemoved('unlinkat', EPERM, path);
  return fd < 0 ? undefined : fd;
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
