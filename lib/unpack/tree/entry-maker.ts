/**
 * Makes one entry of a layer in a directory that is open: a file, directory, link or device, with its owner, mode,
 * extended attributes and times. Whatever stands at its name makes room. What the kernel does not permit is put on
 * record in the tree.
 */
import { Failure } from '../../base/failure.js';
import { Status } from '../../base/status.js';
import { deviceNumber } from '../../sys/files/device-number.js';
import {
  fchmod,
  fchown,
  fchownat,
  linkat,
  mkdirat,
  mknodat,
  openat,
  symlinkat,
  utimensat,
} from '../../sys/syscalls/calls.js';
import { AT, S } from '../../sys/syscalls/constants.js';
import { EACCES, EEXIST, EINVAL, ELOOP, ENOENT, ENOTDIR, EPERM } from '../../sys/syscalls/errno.js';
import { SyscallError } from '../../sys/syscalls/syscall.js';
import { type ByteString, cleanPath, joinPath, shown, splitPath, toBytes } from '../../tar/bytes.js';
import { type Entry, isDevice } from '../../tar/entry.js';
import { chmodAt, closing, directoryFlags } from './directory.js';
import { isTooLong } from './entry-failure.js';
import { newFileFlags, OpenFile } from './open-file.js';
import { type Dir, tooDeep } from './rooted.js';
import { statAt } from './stat.js';
import { timespecs } from './timespec.js';
import { type Tree, usableMode } from './tree.js';
import type { Unset } from './unset.js';
import { applyXattrs, replaceXattrs, unsetXattrs, withoutAcls } from './xattrs.js';

/** Where an entry is to be made. */
export interface Place {
  dir: Dir;
  name: ByteString;
  /** From the root of the tree, without symlinks. */
  path: ByteString;
}

export class EntryMaker {
  private readonly user = process.geteuid!();
  private readonly group = process.getegid!();
  /** Only root can give files to other users. */
  readonly isRoot = this.user === 0;

  /** `sourceOf` returns the tree that has the target of a hard link: this one, another, or none. */
  constructor(
    private readonly tree: Tree,
    private readonly sourceOf: (target: ByteString) => Tree | undefined,
  ) {}

  /** Makes an entry; `content` is that of a file, when there is any. Throws `SyscallError` or `Failure`. */
  make(entry: Entry, place: Place, content?: Buffer): void {
    switch (entry.type) {
      case 'file':
        this.wholeFile(entry, place, content);
        break;
      case 'directory':
        this.directory(entry, place);
        break;
      case 'symlink':
        this.symlink(entry, place);
        break;
      case 'hardlink':
        this.hardlink(entry, place);
        break;
      default:
        this.special(entry, place);
    }
  }

  private wholeFile(entry: Entry, place: Place, content: Buffer | undefined): void {
    const file = this.openFile(entry, place);
    try {
      if (content) file.write(content);
      this.finishFile(entry, file, place.path);
    } catch (error) {
      file.letGo();
      throw error;
    }
  }

  /** Creates a file and sets its owner. `finishFile` has to follow once its content is written. */
  openFile(entry: Entry, place: Place): OpenFile {
    const { dir, path } = place;
    const mode = (entry.mode & 0o777) | this.lentMode(entry);
    const fd = this.create(place, (name) => openat.try(dir.fd, name, newFileFlags, mode));
    if (fd < 0) throw new SyscallError('openat', -fd, shown(path));
    this.tree.forgetUnset(path);
    const file = new OpenFile(fd, path);
    try {
      if (!this.owns(entry, dir.ownGroup)) this.chown(entry, path, () => fchown.try(fd, entry.uid, entry.gid));
    } catch (error) {
      // On NFS and FUSE an open file that is removed stays under another name, and keeps its directory.
      file.letGo();
      throw error;
    }
    return file;
  }

  /**
   * Sets the rest and closes the file. The mode comes after the owner, whose change clears setuid; the times come last.
   */
  finishFile(entry: Entry, file: OpenFile, path: ByteString): void {
    const { size, mtime, xattrs } = entry;
    const special = (entry.mode & 0o7000) !== 0;
    // The xattrs may hold an ACL, which a change of the mode after them would change as well.
    const mode = (xattrs ? this.lentMode(entry) !== 0 : special) ? entry.mode : undefined;
    file.finish({ size, mode, mtime }, (fd) => {
      if (!xattrs) return;
      // Also where the mode is right already: FUSE may keep what was written until then, and a write that arrives after
      // a file capability removes it.
      fchmod(fd, entry.mode | this.lentMode(entry));
      this.tree.addUnset(path, applyXattrs(fd, xattrs, path));
    });
  }

  /**
   * xattr(7): an ordinary user sets attributes only on a file whose mode lets that user write, even when it is open.
   */
  private lentMode({ mode, xattrs }: Entry): number {
    return xattrs && !this.isRoot && !(mode & 0o200) ? 0o200 : 0;
  }

  private directory(entry: Entry, { dir, name, path }: Place): void {
    if (path.split('/').length > this.tree.maxDepth) throw tooDeep(path, this.tree.maxDepth);
    const bytes = toBytes(name);
    const mode = usableMode(entry.mode);
    let made = mkdirat.try(dir.fd, bytes, mode);
    if (made === -EEXIST) {
      const fd = openat.try(dir.fd, bytes, directoryFlags, 0);
      if (fd >= 0) {
        closing(fd, () => this.setDirectory(fd, entry, path));
        return;
      }
      // After any other error it may be a directory, and what lower layers have in it would be lost.
      if (fd !== -ENOTDIR && fd !== -ELOOP) throw new SyscallError('openat', -fd, shown(path));
      this.tree.remove(dir, name);
      made = mkdirat.try(dir.fd, bytes, mode);
    }
    if (made < 0) throw new SyscallError('mkdirat', -made, shown(path));
    const { plain, acls } = withoutAcls(entry.xattrs);
    this.tree.leaveDirectory(path, { mode: entry.mode, mtime: entry.mtime, acls });
    this.tree.forgetUnset(path);
    if (!this.owns(entry, dir.ownGroup)) {
      this.chown(entry, path, () => fchownat.try(dir.fd, bytes, entry.uid, entry.gid, AT.SYMLINK_NOFOLLOW));
    }
    if (!plain) return;
    const unset = closing(openat(dir.fd, bytes, directoryFlags, 0), (fd) => applyXattrs(fd, plain, path));
    this.tree.addUnset(path, unset);
  }

  /** Gives a directory that was there before the attributes of an entry. */
  setDirectory(fd: number, entry: Entry, path: ByteString): void {
    this.tree.forgetUnset(path);
    // As root, an earlier entry may have given it to somebody else.
    if (this.isRoot || !this.owns(entry, true)) this.chown(entry, path, () => this.rechown(fd, entry));
    if (this.isRoot && entry.gid !== this.group) this.tree.root.regrouped();
    // The root stays closed until the tree is complete.
    if (path !== '') fchmod(fd, usableMode(entry.mode));
    const { plain, acls } = withoutAcls(entry.xattrs);
    this.tree.addUnset(path, replaceXattrs(fd, plain, path));
    this.tree.leaveDirectory(path, { mode: entry.mode, mtime: entry.mtime, acls });
  }

  private symlink(entry: Entry, place: Place): void {
    const target = toBytes(entry.target);
    const made = this.create(place, (name) => symlinkat.try(target, place.dir.fd, name));
    if (made < 0) throw new SyscallError('symlinkat', -made, shown(place.path));
    this.setByName(entry, place);
  }

  private special(entry: Entry, place: Place): void {
    const { uid, gid, mode, type, major, minor } = entry;
    const kind = type === 'fifo' ? S.IFIFO : type === 'char' ? S.IFCHR : S.IFBLK;
    const number = isDevice(type) ? deviceNumber(major, minor) : 0;
    const made = this.create(place, (name) => mknodat.try(place.dir.fd, name, kind | (mode & 0o777), number));
    // A FIFO needs no privilege: where it cannot be made the filesystem has none, and that is a failure.
    if (made === -EPERM && isDevice(type))
      this.tree.noteUnset(place.path, { uid, gid, mode, device: { type, major, minor } });
    else if (made < 0) throw new SyscallError('mknodat', -made, shown(place.path));
    else this.setByName(entry, place);
  }

  /** Makes a call that creates the name, once more after removing what stands there. Returns its result. */
  private create({ dir, name }: Place, call: (name: Buffer) => number): number {
    const bytes = toBytes(name);
    const result = call(bytes);
    if (result !== -EEXIST) return result;
    this.tree.remove(dir, name);
    return call(bytes);
  }

  /** Owner, mode, attributes and times of what cannot be opened: a symlink, a device, a FIFO. */
  private setByName(entry: Entry, { dir, name, path }: Place): void {
    const bytes = toBytes(name);
    this.tree.forgetUnset(path);
    if (entry.type === 'symlink' && this.tree.followsLinks) {
      if (!this.owns(entry, dir.ownGroup)) this.recordOwner(entry, path);
      this.tree.addUnset(path, unsetXattrs(entry.xattrs));
      return;
    }
    if (!this.owns(entry, dir.ownGroup)) {
      this.chown(entry, path, () => fchownat.try(dir.fd, bytes, entry.uid, entry.gid, AT.SYMLINK_NOFOLLOW));
    }
    // symlink(7): the mode of a symlink is never used.
    const changed = entry.type !== 'symlink' && entry.mode & 0o7000 ? chmodAt(dir.fd, bytes, entry.mode) : 0;
    if (changed < 0) throw new SyscallError('fchmodat', -changed, shown(path));
    if (entry.xattrs) {
      this.tree.addUnset(path, applyXattrs(`/proc/self/fd/${dir.fd}/${name}`, entry.xattrs, path));
    }
    utimensat(dir.fd, bytes, timespecs(entry.mtime), AT.SYMLINK_NOFOLLOW);
  }

  private hardlink(entry: Entry, place: Place): void {
    const { dir, name, path } = place;
    const target = cleanPath(entry.target);
    const [above, last] = splitPath(target);
    const source = this.sourceOf(target);
    const from = target === '' || isTooLong(target) ? undefined : source?.root.findIfThere(above);
    if (!from) throw new MissingTarget(entry);
    // A link to itself: it is there already.
    if (source === this.tree && from.path === dir.path && last === name && statAt(dir.fd, name)) return;
    const old = toBytes(last);
    const result = this.create(place, (bytes) => linkat.try(from.fd, old, dir.fd, bytes, 0));
    const unset = source!.unset.get(joinPath(from.path, last));
    // A device that was left out gets no second name either.
    if (result === -ENOENT && unset?.device) this.tree.remove(dir, name);
    else if (result === -ENOENT) throw new MissingTarget(entry);
    else if (result === -EPERM && isDirectory(from, last)) throw new MissingTarget(entry, 'cannot have one');
    else if (result < 0) throw new SyscallError('linkat', -result, `${shown(entry.target)}, ${shown(path)}`);
    this.tree.noteUnset(path, unset ?? {});
  }

  /** Whether a file that this process creates has the entry's owner at once. `ownGroup` is that of its directory. */
  owns({ uid, gid }: Entry, ownGroup: boolean): boolean {
    return uid === this.user && gid === this.group && ownGroup;
  }

  /** Makes a call that changes the owner. In a user namespace even root can only name ids that are mapped (EINVAL). */
  private chown(entry: Entry, path: ByteString, call: () => number): void {
    const result = this.isRoot ? call() : -EPERM;
    if (result >= 0) return;
    // EACCES: sshfs, where the other side says no.
    if (result !== -EPERM && result !== -EACCES && result !== -EINVAL)
      throw new SyscallError('fchown', -result, shown(path));
    this.recordOwner(entry, path);
  }

  /** Changes the owner of what has one: where that cannot be, it is this process's as if it were new. */
  private rechown(fd: number, { uid, gid }: Entry): number {
    const result = fchown.try(fd, uid, gid);
    if (result < 0) fchown.try(fd, this.user, this.group);
    return result;
  }

  /**
   * Puts an owner on record that could not be set. Root's files need none: they are root's in the caller's containers.
   */
  recordOwner({ uid, gid }: Entry, path: ByteString): void {
    const unset: Unset = uid !== 0 || gid !== 0 ? { uid, gid } : {};
    this.tree.addUnset(path, unset);
  }
}

/**
 * A hard link to nothing, or to a directory. That may be no fault of the layer: when only parts of an image are
 * unpacked, the target is another part.
 */
export class MissingTarget extends Failure {
  constructor({ path, target }: Entry, why = 'is not there') {
    super(Status.data, shown(path), `it is a hard link to ${shown(target)}, which ${why}`);
  }
}

function isDirectory(dir: Dir, name: ByteString): boolean {
  return statAt(dir.fd, name)?.type === S.IFDIR;
}
