/**
 * The tree under construction: what is removed from it, what its directories are to look like in the end, and what
 * could not be set as the image wants it.
 */
import { failureOf } from '../pipe/failure.js';
import { close, fchmod, fchmodat, getdents64, openat, openat2, openHow, unlinkat, utimensat } from '../sys/calls.js';
import { AT, O, RESOLVE } from '../sys/constants.js';
import { EACCES, EISDIR, ELOOP, ENOENT, ENOTDIR, EPERM } from '../sys/errno.js';
import { SyscallError } from '../sys/syscall.js';
import { type ByteString, fromBytes, joinPath, shown, splitPath, toBytes } from './bytes.js';
import { type Deferred, deferring } from './deferred.js';
import { costOf, NamesBudget } from './limits.js';
import type { Time, Xattrs } from './pax.js';
import { type Dir, Root } from './rooted.js';
import { timespecs } from './timespec.js';
import { applyXattrs } from './xattrs.js';

/** How a directory is to be left. While the tree grows its owner can always enter and fill it. */
export interface DirectoryEnd {
  mode: number;
  mtime: Time;
  acls: Xattrs | undefined;
}

/** What an entry should have had and has not, since the kernel did not permit it. */
export interface Unset {
  uid?: number;
  gid?: number;
  mode?: number;
  /** A device node that was left out. */
  device?: { type: 'char' | 'block'; major: number; minor: number };
  /** By name, the value in base64. */
  xattrs?: Record<string, string>;
}

/**
 * What a removal leaves of an entry: `nothing`; itself, while the entries below it are asked for in turn; or `all`.
 */
export type Kept = (dir: ByteString, name: ByteString) => 'nothing' | 'itself' | 'all';

/** How a directory is emptied. */
interface Removal {
  kept: Kept;
  /** Hears of every path that no longer is. */
  gone(path: ByteString): void;
  /** Names in a directory that are on no disk. */
  leftOut(path: ByteString): Iterable<ByteString>;
}

export interface TreeLimits {
  names?: NamesBudget;
  maxDepth: number;
}

/** What is mounted in a tree is no part of it, and not to be emptied with it. */
const inside = openHow(O.RDONLY | O.DIRECTORY | O.CLOEXEC, RESOLVE.NO_SYMLINKS | RESOLVE.NO_XDEV);
const openDirectory = O.RDONLY | O.DIRECTORY | O.NOFOLLOW | O.CLOEXEC;

export class Tree {
  readonly root: Root;
  /** By canonical path. */
  private readonly directories = new Map<ByteString, DirectoryEnd>();
  readonly unset = new Map<ByteString, Unset>();
  /** By directory, the names of the devices that were left out: they are hidden and replaced as if they were there. */
  private readonly leftOut = new Map<ByteString, Set<ByteString>>();
  readonly maxDepth: number;
  readonly names: NamesBudget;
  /** Told of every directory made on the way to an entry. */
  onMade: (path: ByteString) => void = () => {};
  /** Has what is put off made: called before the kernel is asked where a path leads. */
  settle: () => void = () => {};

  /** `fd` is the root directory of the tree, open, empty and owned by this process. */
  constructor(
    readonly fd: number,
    limits: TreeLimits,
  ) {
    this.maxDepth = limits.maxDepth;
    this.names = limits.names ?? new NamesBudget();
    this.root = new Root(fd, {
      maxDepth: limits.maxDepth,
      made: (path) => {
        this.forgetUnset(path);
        this.onMade(path);
      },
      remove: (dir, name) => this.remove(dir, name),
      settle: () => this.settle(),
    });
  }

  leaveDirectory(path: ByteString, end: DirectoryEnd): void {
    this.forgetDirectory(path);
    this.names.hold(costOfEnd(path, end));
    this.directories.set(path, end);
  }

  /** Whether an entry has said how this directory is to be, so that its mode and times are the image's. */
  isDescribed(path: ByteString): boolean {
    return this.directories.has(path);
  }

  noteUnset(path: ByteString, unset: Unset): void {
    this.forgetUnset(path);
    if (Object.keys(unset).length === 0) return;
    this.names.hold(costOfUnset(path, unset));
    this.unset.set(path, unset);
    if (!unset.device) return;
    const [dir, name] = splitPath(path);
    this.leftOut.set(dir, (this.leftOut.get(dir) ?? new Set()).add(name));
  }

  /** Adds to what is noted already. */
  addUnset(path: ByteString, unset: Unset): void {
    if (Object.keys(unset).length === 0) return;
    const known = this.unset.get(path);
    const xattrs = { ...known?.xattrs, ...unset.xattrs };
    this.noteUnset(path, { ...known, ...unset, ...(Object.keys(xattrs).length > 0 ? { xattrs } : {}) });
  }

  private forgetDirectory(path: ByteString): void {
    const end = this.directories.get(path);
    if (!end) return;
    this.names.release(costOfEnd(path, end));
    this.directories.delete(path);
  }

  private forgetUnset(path: ByteString): void {
    const unset = this.unset.get(path);
    if (!unset) return;
    this.names.release(costOfUnset(path, unset));
    this.unset.delete(path);
    if (!unset.device) return;
    const [dir, name] = splitPath(path);
    const names = this.leftOut.get(dir)!;
    names.delete(name);
    if (names.size === 0) this.leftOut.delete(dir);
  }

  private forget(path: ByteString): void {
    this.forgetDirectory(path);
    this.forgetUnset(path);
  }

  /** Removes the entry `name` of `dir` with all that is below it, symlinks as such. No error when it is not there. */
  remove(dir: Dir, name: ByteString): void {
    this.removeUnless(dir, name, () => 'nothing');
  }

  /** Removes the entry and what is below it, except what `kept` says. */
  removeUnless(dir: Dir, name: ByteString, kept: Kept): void {
    const directory = removeEntry(dir.fd, dir.path, name, this.removal(kept));
    this.root.removed(directory);
  }

  /** Empties a directory of what `kept` does not say. */
  clear(dir: Dir, kept: Kept): void {
    // The descriptor of `dir` is shared: reading its entries would move a position that others rely on.
    const fd = openat(dir.fd, '.', openDirectory, 0);
    try {
      clearDirectory(fd, dir.path, this.removal(kept));
    } finally {
      close(fd);
    }
    this.root.removed(true);
  }

  private removal(kept: Kept): Removal {
    return {
      kept,
      gone: (path) => this.forget(path),
      leftOut: (path) => [...(this.leftOut.get(path) ?? [])],
    };
  }

  /** Gives every directory its mode and times, the deepest first. Nothing may be created after it. */
  finish(): void {
    const deferred = deferring();
    const paths = [...this.directories.keys()].sort().reverse();
    for (const path of paths) this.finishDirectory(path, this.directories.get(path)!, deferred);
    deferred?.flush();
    if (!this.isDescribed('')) fchmod(this.fd, 0o755);
    this.root.closeAll();
  }

  private finishDirectory(path: ByteString, end: DirectoryEnd, deferred: Deferred | undefined): void {
    const again = () => this.finishNow(path, end);
    // The root has no path, and is not to be opened to others before all else is done.
    if (!deferred || path === '' || end.acls) {
      deferred?.flush();
      again();
      return;
    }
    const mode = end.mode === usableMode(end.mode) ? undefined : end.mode;
    deferred.directory({ dirfd: this.fd, name: path, again }, mode, end.mtime);
    if (deferred.isFull) deferred.flush();
  }

  private finishNow(path: ByteString, { mode, mtime, acls }: DirectoryEnd): void {
    try {
      const dir = this.root.find(path);
      if (typeof dir === 'number') throw new SyscallError('openat2', -dir, shown(path));
      if (path === '' || mode !== usableMode(mode)) fchmod(dir.fd, mode);
      if (acls) this.addUnset(path, applyXattrs(dir.fd, acls, path));
      utimensat(dir.fd, null, timespecs(mtime), 0);
    } catch (error) {
      throw failureOf(error, shown(path));
    }
  }
}

function costOfEnd(path: ByteString, { acls }: DirectoryEnd): number {
  return [...(acls ?? [])].reduce((sum, [name, value]) => sum + costOf(name) + value.length, costOf(path));
}

function costOfUnset(path: ByteString, { xattrs = {} }: Unset): number {
  return Object.entries(xattrs).reduce((sum, [name, value]) => sum + costOf(name) + value.length, costOf(path));
}

/** The mode that a directory has until the tree is complete: its owner can fill it, and no group is inherited. */
export function usableMode(mode: number): number {
  return (mode & 0o777) | 0o700;
}

/**
 * Removes one entry; returns whether it was a directory. With `ours` the directory itself is part of what is removed, and
 * is made writable where it is not.
 */
function removeEntry(dirfd: number, dirPath: ByteString, name: ByteString, how: Removal, ours = false): boolean {
  const path = joinPath(dirPath, name);
  const bytes = toBytes(name);
  const keep = how.kept(dirPath, name);
  if (keep === 'all') return false;
  const result = keep === 'nothing' ? unlink(dirfd, bytes, ours) : -EISDIR;
  if (result === 0 || result === -ENOENT) {
    how.gone(path);
    return false;
  }
  if (result !== -EISDIR && result !== -EPERM) throw notRemoved('unlinkat', -result, path);
  const fd = enter(dirfd, bytes, path);
  // It is no directory: the file has a flag that keeps it, or is another user's in a directory with the sticky bit.
  if ((fd === -ENOTDIR || fd === -ELOOP) && result === -EPERM) throw notRemoved('unlinkat', EPERM, path);
  if (fd < 0) return false;
  try {
    clearDirectory(fd, path, how);
  } finally {
    close(fd);
  }
  if (keep === 'nothing') {
    const removed = unlinkat.try(dirfd, bytes, AT.REMOVEDIR);
    if (removed < 0) throw notRemoved('unlinkat', -removed, path);
    how.gone(path);
  }
  return true;
}

function notRemoved(syscall: string, errno: number, path: ByteString): SyscallError {
  return new SyscallError(syscall, errno, `removing ${shown(path)}`);
}

/** The result of unlink(2): EISDIR on Linux, EPERM by POSIX, for a directory. */
function unlink(dirfd: number, name: Buffer, ours: boolean): number {
  const result = unlinkat.try(dirfd, name, 0);
  return result === -EACCES && ours && fchmod.try(dirfd, 0o700) === 0 ? unlinkat.try(dirfd, name, 0) : result;
}

/** Opens a directory to empty it; a negative errno when the name is something else or has gone. */
function enter(dirfd: number, name: Buffer, path: ByteString): number {
  let fd = openat2.try(dirfd, name, inside, inside.length);
  // A finished tree may have directories that not even their owner may enter.
  if (fd === -EACCES && chmodAt(dirfd, name, 0o700) === 0) fd = openat2.try(dirfd, name, inside, inside.length);
  if (fd < 0 && fd !== -ENOENT && fd !== -ENOTDIR && fd !== -ELOOP) throw notRemoved('openat2', -fd, path);
  return fd;
}

/** Returns a negative errno where it fails. fchmodat(2) would follow a symlink that has come there in the meantime. */
export function chmodAt(dirfd: number, name: Buffer, mode: number): number {
  const fd = openat.try(dirfd, name, O.PATH | O.NOFOLLOW | O.CLOEXEC, 0);
  if (fd < 0) return fd;
  const result = fchmodat.try(AT.FDCWD, `/proc/self/fd/${fd}`, mode);
  close(fd);
  return result;
}

/** Removes a whole tree that no `Tree` stands for: an old one, or what an interrupted run left. */
export function removeTree(dirfd: number, name: ByteString): void {
  removeEntry(dirfd, '', name, { kept: () => 'nothing', gone: () => {}, leftOut: () => [] });
}

function clearDirectory(fd: number, path: ByteString, how: Removal): void {
  for (const name of entriesOf(fd)) removeEntry(fd, path, name, how, true);
  for (const name of how.leftOut(path)) removeEntry(fd, path, name, how, true);
}

/** The names in a directory, without `.` and `..`. */
export function entriesOf(fd: number): ByteString[] {
  const names: ByteString[] = [];
  const buffer = Buffer.allocUnsafe(32 * 1024);
  for (;;) {
    const bytes = getdents64(fd, buffer, buffer.length);
    if (bytes === 0) return names;
    // getdents(2), struct linux_dirent64: inode and offset (8 bytes each), record length (2), type (1), name.
    for (let at = 0; at < bytes; at += buffer.readUInt16LE(at + 16)) {
      const name = fromBytes(buffer, at + 19, buffer.indexOf(0, at + 19));
      if (name !== '.' && name !== '..') names.push(name);
    }
  }
}
