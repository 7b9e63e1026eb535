/**
 * The tree under construction, and what has to be remembered of it until it is complete: the mode and times that each
 * directory gets in the end, and what could not be set as the image wants it. Removing takes both off the account.
 */
import { fchmod, openat, utimensat } from '../../sys/syscalls/calls.js';
import { SyscallError } from '../../sys/syscalls/syscall.js';
import { type ByteString, shown, splitPath } from '../../tar/bytes.js';
import type { Time, Xattrs } from '../../tar/pax.js';
import type { Deferred } from './deferred.js';
import { closing, directoryFlags } from './directory.js';
import { entryFailure } from './entry-failure.js';
import { followsLinks } from './filesystem.js';
import { costOf, NamesBudget } from './limits.js';
import { clearDirectory, type Kept, keepNothing, type Removal, removeEntry } from './remove.js';
import { type Dir, Root } from './rooted.js';
import { timespecs } from './timespec.js';
import { costOfUnset, type Unset } from './unset.js';
import { applyXattrs } from './xattrs.js';

/** How a directory is to be in the end. Until then its owner can always enter and fill it. */
export interface DirectoryEnd {
  mode: number;
  mtime: Time;
  acls: Xattrs | undefined;
}

export class Tree {
  readonly root: Root;
  /** Nothing of a symlink may be changed here: it would be changed of what the link leads to, wherever that is. */
  readonly followsLinks: boolean;
  /** By canonical path. */
  private readonly directories = new Map<ByteString, DirectoryEnd>();
  readonly unset = new Map<ByteString, Unset>();
  /** By directory, the names of devices that were left out. Whiteouts and later entries act on them as on any file. */
  private readonly leftOut = new Map<ByteString, Set<ByteString>>();
  /** Bounds the memory that all of this takes. */
  readonly names = new NamesBudget();
  /** A directory at the root that is removed in the end: hard links name what is in it. */
  scaffold: ByteString | undefined;
  /** Called with the path of every directory that was made on the way to an entry. */
  onMade: (path: ByteString) => void = () => {};

  /** `fd` is the root directory of the tree, open, empty and owned by this process. */
  constructor(
    readonly fd: number,
    /** Directories inside each other, at most. */
    readonly maxDepth: number,
    /**
     * Where entries are put off to; other trees may share it. They are made before the kernel is asked where a path
     * leads.
     */
    readonly deferred: Deferred | undefined,
  ) {
    this.followsLinks = followsLinks(fd);
    this.root = new Root(fd, {
      maxDepth,
      made: (path) => {
        this.forgetUnset(path);
        this.onMade(path);
      },
      remove: (dir, name) => this.remove(dir, name),
      settle: () => deferred?.flush(),
    });
  }

  leaveDirectory(path: ByteString, end: DirectoryEnd): void {
    this.forgetDirectory(path);
    this.names.hold(costOf(path, end.acls));
    this.directories.set(path, end);
  }

  /** Whether an entry has said how this directory is to be, so that its mode and times are the image's. */
  isDescribed(path: ByteString): boolean {
    return this.directories.has(path);
  }

  /** Notes what could not be set at a path, in the place of what was noted of something else there. */
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
    this.names.release(costOf(path, end.acls));
    this.directories.delete(path);
  }

  /** To be called where something new is made at a path. */
  forgetUnset(path: ByteString): void {
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

  /**
   * Removes the entry `name` of `dir`, a symlink as such, with all that is below it, except what `kept` says. No error
   * when it is not there.
   */
  remove(dir: Dir, name: ByteString, kept: Kept = keepNothing): void {
    const directory = removeEntry(dir.fd, dir.path, name, this.removal(kept));
    this.root.removed(directory);
  }

  /** Empties a directory, in the same way. */
  clear(dir: Dir, kept: Kept = keepNothing): void {
    // The descriptor of `dir` is shared: reading its entries would move a position that others rely on.
    closing(openat(dir.fd, '.', directoryFlags, 0), (fd) => clearDirectory(fd, dir.path, this.removal(kept)));
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
    if (this.scaffold !== undefined) {
      this.deferred?.flush();
      this.remove(this.root.ensure(''), this.scaffold);
    }
    const paths = [...this.directories.keys()].sort().reverse();
    for (const path of paths) this.finishDirectory(path, this.directories.get(path)!);
    this.deferred?.flush();
    if (!this.isDescribed('')) fchmod(this.fd, 0o755);
    this.root.closeAll();
  }

  private finishDirectory(path: ByteString, end: DirectoryEnd): void {
    const { deferred } = this;
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
      throw entryFailure(error, path);
    }
  }
}

/** The mode that a directory has until the tree is complete: its owner can fill it, and no group is inherited. */
export function usableMode(mode: number): number {
  return (mode & 0o777) | 0o700;
}
