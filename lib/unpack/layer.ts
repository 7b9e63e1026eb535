/**
 * Applies the entries of one layer to the tree, with the meaning that image-spec, layer.md gives them: later entries
 * over earlier ones, whiteouts for what lower layers left, nothing written through what is already there.
 */
import { Failure } from '../pipe/failure.js';
import { Status } from '../pipe/status.js';
import {
  close,
  fchmod,
  fchown,
  fchownat,
  linkat,
  mkdirat,
  mknodat,
  openat,
  symlinkat,
  utimensat,
} from '../sys/calls.js';
import { AT, S } from '../sys/constants.js';
import { EEXIST, EINVAL, ELOOP, ENOENT, ENOTDIR, EPERM } from '../sys/errno.js';
import { SyscallError } from '../sys/syscall.js';
import { type ByteString, cleanPath, joinPath, shown, splitPath, toBytes } from './bytes.js';
import { createFile, type Deferred } from './deferred.js';
import { chmodAt, openDirectory } from './directory.js';
import { entryFailure } from './entry-failure.js';
import { checkEntry, checkLength } from './impossible.js';
import { countBytes, countEntry } from './limits.js';
import { OpenFile } from './open-file.js';
import type { Kept } from './remove.js';
import { type Dir, tooDeep } from './rooted.js';
import { statAt } from './stat.js';
import type { Entry, TarSink } from './tar.js';
import { timespecs } from './timespec.js';
import { type Tree, usableMode } from './tree.js';
import type { Unset } from './unset.js';
import { parseWhiteout, Written } from './whiteouts.js';
import { applyXattrs, replaceXattrs, withoutAcls } from './xattrs.js';

/** What holds for a whole image: counted over its layers. */
export interface Budget {
  entries: number;
  bytes: number;
}

/** An entry and its clean path: the directory, and the name in it. */
interface Placed {
  entry: Entry;
  above: ByteString;
  name: ByteString;
}

export class LayerWriter implements TarSink {
  private readonly written: Written;
  private readonly user = process.geteuid!();
  private readonly group = process.getegid!();

  /** The entry at hand, and the path that it has in the tree. */
  private entryNow: Entry | undefined;
  private pathNow: ByteString = '';
  /** A file of which no content has come, or all of it in one piece; and one that is open since it comes in parts. */
  private coming: Placed | undefined;
  private whole: Buffer | undefined;
  private file: OpenFile | undefined;

  /**
   * `isBase`: there is no lower layer, so that whiteouts have nothing to hide. `deferred` takes what can be put off.
   * `sourceOf` says which tree has the target of a hard link, where it is not this one.
   */
  constructor(
    private readonly tree: Tree,
    isBase: boolean,
    private readonly budget: Budget,
    private readonly deferred: Deferred | undefined,
    private readonly sourceOf: (target: ByteString) => Tree | undefined = () => tree,
  ) {
    this.written = new Written(!isBase, tree.names);
    tree.onMade = (path) => this.written.add(...splitPath(path));
    tree.settle = () => this.deferred?.flush();
  }

  entry(entry: Entry): void {
    countEntry(this.budget);
    this.entryNow = entry;
    this.doing(() => this.place(entry));
  }

  content(bytes: Buffer): void {
    countBytes(this.budget, bytes.length);
    if (bytes.length === this.coming?.entry.size) this.whole = bytes;
    else this.doing(() => this.opened()?.write(bytes));
  }

  hole(length: number): void {
    this.doing(() => this.opened()?.hole(length));
  }

  end(): void {
    this.doing(() => {
      const { coming, whole, file } = this;
      this.coming = undefined;
      this.whole = undefined;
      if (coming) this.putOff(coming, whole);
      else if (file) this.finishFile(this.entryNow!, file);
      this.file = undefined;
    });
  }

  /** Lets go of a file that a failure left open, and of what was kept for this layer. */
  close(): void {
    this.written.close();
    this.file?.letGo();
    this.file = undefined;
  }

  /** What fails is told of the entry at hand. */
  private doing(step: () => void, { path } = this.entryNow!): void {
    try {
      step();
    } catch (error) {
      throw entryFailure(error, path);
    }
  }

  private place(entry: Entry): void {
    const path = cleanPath(entry.path);
    checkLength(path);
    const [above, name] = splitPath(path);
    const whiteout = parseWhiteout(above, name);
    if (!whiteout) checkEntry(entry, path);
    if (path === '') this.rootEntry(entry);
    else if (whiteout) this.hide(above, whiteout);
    else if (entry.type === 'file') this.coming = { entry, above, name };
    else if (entry.type === 'symlink') this.putOff({ entry, above, name });
    else this.put({ entry, above, name });
  }

  /** The file whose content comes, from now on open; `undefined` for a whiteout, whose content means nothing. */
  private opened(): OpenFile | undefined {
    const { coming } = this;
    this.coming = undefined;
    if (coming) {
      const dir = this.directoryOf(coming);
      this.file = this.openFile(coming.entry, dir, coming.name);
      this.written.add(dir.path, coming.name);
    }
    return this.file;
  }

  /** The directory that an entry goes into, made when it is not there; all that was put off is there by then. */
  private directoryOf({ above, name }: Placed): Dir {
    this.deferred?.flush();
    const dir = this.tree.root.ensure(above);
    this.pathNow = joinPath(dir.path, name);
    return dir;
  }

  /** Makes an entry now; of a file this is all of the content. */
  private put(placed: Placed, content?: Buffer): void {
    const { entry, name } = placed;
    const dir = this.directoryOf(placed);
    switch (entry.type) {
      case 'file':
        this.wholeFile(entry, dir, name, content);
        break;
      case 'directory':
        this.directory(entry, dir, name);
        break;
      case 'symlink':
        this.symlink(entry, dir, name);
        break;
      case 'hardlink':
        this.hardlink(entry, dir, name);
        break;
      default:
        this.special(entry, dir, name);
    }
    this.written.add(dir.path, name);
  }

  /** Puts off a file of which all content is there, or a symlink; makes it now when it is not one of those that can be. */
  private putOff(placed: Placed, content?: Buffer): void {
    const { entry, above, name } = placed;
    const again = () => this.put(placed, content);
    const { deferred } = this;
    if (!deferred || entry.xattrs) {
      again();
      return;
    }
    const dir = this.tree.root.ensure(above);
    const { uid, gid, mode, mtime, target } = entry;
    const isGiven = !this.owns(entry, dir.ownGroup);
    const owner = isGiven && this.user === 0 ? { uid, gid } : undefined;
    if (owner && entry.type === 'symlink') {
      again();
      return;
    }
    this.pathNow = joinPath(dir.path, name);
    this.tree.noteUnset(this.pathNow, {});
    if (isGiven && this.user !== 0) this.keepOwner(entry);
    const place = { dirfd: dir.fd, name, again: () => this.doing(again, entry) };
    if (entry.type === 'file') deferred.file(place, { content, mode, owner, mtime });
    else deferred.symlink(place, target, mtime);
    this.written.add(dir.path, name);
    if (deferred.isFull) deferred.flush();
  }

  private rootEntry(entry: Entry): void {
    this.deferred?.flush();
    this.pathNow = '';
    this.setDirectory(this.tree.fd, entry);
  }

  private hide(above: ByteString, whiteout: Exclude<ReturnType<typeof parseWhiteout>, undefined>): void {
    if (whiteout.kind === 'skip' || !this.written.hasLower) return;
    this.deferred?.flush();
    const dir = this.tree.root.find(above);
    if (dir === -ENOENT || dir === -ENOTDIR) return;
    if (dir === -ELOOP) throw new Failure(Status.data, shown(above), 'its symlinks go round in a circle (ELOOP)');
    if (typeof dir === 'number') throw new SyscallError('openat2', -dir, shown(above));
    const kept: Kept = (at, name) => this.written.kept(at, name);
    if (whiteout.kind === 'name') {
      // That the directory of this name was emptied says nothing of the directory itself.
      if (this.written.isHidden(dir.path)) return;
      this.tree.removeUnless(dir, whiteout.name, kept);
      this.written.hide(joinPath(dir.path, whiteout.name));
      return;
    }
    // The last part of the path is the directory to be emptied, and as a symlink it leads to another one.
    const [parent, name] = splitPath(above);
    const up = this.tree.root.find(parent);
    if (above !== '' && typeof up !== 'number' && joinPath(up.path, name) !== dir.path) return;
    if (this.written.isHidden(dir.path)) return;
    this.tree.clear(dir, kept);
    this.written.hide(dir.path);
  }

  private wholeFile(entry: Entry, dir: Dir, name: ByteString, content: Buffer | undefined): void {
    const file = this.openFile(entry, dir, name);
    try {
      if (content) file.write(content);
      this.finishFile(entry, file);
    } catch (error) {
      file.letGo();
      throw error;
    }
  }

  private openFile(entry: Entry, dir: Dir, name: ByteString): OpenFile {
    const bytes = toBytes(name);
    const mode = (entry.mode & 0o777) | this.lentMode(entry);
    let fd = openat.try(dir.fd, bytes, createFile, mode);
    if (fd === -EEXIST) {
      this.tree.remove(dir, name);
      fd = openat.try(dir.fd, bytes, createFile, mode);
    }
    if (fd < 0) throw new SyscallError('openat', -fd, shown(this.pathNow));
    this.tree.noteUnset(this.pathNow, {});
    if (!this.owns(entry, dir.ownGroup)) this.chown(entry, () => fchown.try(fd, entry.uid, entry.gid));
    return new OpenFile(fd, this.pathNow);
  }

  /** After the content: owner first, since a change of owner takes setuid and capabilities away, and times last. */
  private finishFile(entry: Entry, file: OpenFile): void {
    const { size, mtime, xattrs } = entry;
    const special = (entry.mode & 0o7000) !== 0;
    // A change of the mode behind an ACL would change the ACL.
    const mode = (xattrs ? this.lentMode(entry) !== 0 : special) ? entry.mode : undefined;
    file.finish({ size, mode, mtime }, (fd) => {
      if (!xattrs) return;
      if (special) fchmod(fd, entry.mode | this.lentMode(entry));
      this.keepUnset(applyXattrs(fd, xattrs, this.pathNow));
    });
  }

  /** xattr(7): an ordinary user sets attributes only of a file whose mode lets him write to it, open for writing or not. */
  private lentMode({ mode, xattrs }: Entry): number {
    return xattrs && this.user !== 0 && !(mode & 0o200) ? 0o200 : 0;
  }

  private directory(entry: Entry, dir: Dir, name: ByteString): void {
    if (this.pathNow.split('/').length > this.tree.maxDepth) throw tooDeep(this.pathNow, this.tree.maxDepth);
    const bytes = toBytes(name);
    const mode = usableMode(entry.mode);
    let made = mkdirat.try(dir.fd, bytes, mode);
    if (made === -EEXIST) {
      const fd = openat.try(dir.fd, bytes, openDirectory, 0);
      if (fd >= 0) {
        this.mergeDirectory(fd, entry);
        return;
      }
      this.tree.remove(dir, name);
      made = mkdirat.try(dir.fd, bytes, mode);
    }
    if (made < 0) throw new SyscallError('mkdirat', -made, shown(this.pathNow));
    const { plain, acls } = withoutAcls(entry.xattrs);
    this.tree.leaveDirectory(this.pathNow, { mode: entry.mode, mtime: entry.mtime, acls });
    this.tree.noteUnset(this.pathNow, {});
    if (!this.owns(entry, dir.ownGroup)) {
      this.chown(entry, () => fchownat.try(dir.fd, bytes, entry.uid, entry.gid, AT.SYMLINK_NOFOLLOW));
    }
    if (!plain) return;
    const fd = openat(dir.fd, bytes, openDirectory, 0);
    this.keepUnset(applyXattrs(fd, plain, this.pathNow));
    close(fd);
  }

  private mergeDirectory(fd: number, entry: Entry): void {
    try {
      this.setDirectory(fd, entry);
    } finally {
      close(fd);
    }
  }

  /** The attributes of a directory that was there before. */
  private setDirectory(fd: number, entry: Entry): void {
    this.tree.noteUnset(this.pathNow, {});
    // As root, an earlier entry may have given it to somebody else.
    if (this.user === 0 || !this.owns(entry, true)) this.chown(entry, () => fchown.try(fd, entry.uid, entry.gid));
    if (this.user === 0 && entry.gid !== this.group) this.tree.root.regrouped();
    // The root stays closed until the tree is complete.
    if (this.pathNow !== '') fchmod(fd, usableMode(entry.mode));
    const { plain, acls } = withoutAcls(entry.xattrs);
    this.keepUnset(replaceXattrs(fd, plain, this.pathNow));
    this.tree.leaveDirectory(this.pathNow, { mode: entry.mode, mtime: entry.mtime, acls });
  }

  private symlink(entry: Entry, dir: Dir, name: ByteString): void {
    const bytes = toBytes(name);
    const target = toBytes(entry.target);
    this.create(dir, name, () => symlinkat.try(target, dir.fd, bytes));
    this.setByName(entry, dir, bytes);
  }

  private special(entry: Entry, dir: Dir, name: ByteString): void {
    const bytes = toBytes(name);
    const kind = entry.type === 'fifo' ? S.IFIFO : entry.type === 'char' ? S.IFCHR : S.IFBLK;
    const number = entry.type === 'fifo' ? 0 : deviceNumber(entry);
    const { uid, gid, mode, type, major, minor } = entry;
    const isDevice = type === 'char' || type === 'block';
    const make = () => mknodat.try(dir.fd, bytes, kind | (mode & 0o777), number);
    // A FIFO needs no privilege: where one cannot be made, the filesystem has none.
    if (this.create(dir, name, make, isDevice ? EPERM : 0)) this.setByName(entry, dir, bytes);
    else if (isDevice) this.tree.noteUnset(this.pathNow, { uid, gid, mode, device: { type, major, minor } });
  }

  /** Runs a call that creates a name, making room for it where something stands. False when it gave `tolerated`. */
  private create(dir: Dir, name: ByteString, call: () => number, tolerated = 0): boolean {
    let result = call();
    if (result === -EEXIST) {
      this.tree.remove(dir, name);
      result = call();
    }
    if (result < 0 && result === -tolerated) return false;
    if (result < 0) throw new SyscallError('create', -result, shown(this.pathNow));
    return true;
  }

  /** Owner, mode and times of what cannot be opened: a symlink, a device, a FIFO. */
  private setByName(entry: Entry, dir: Dir, name: Buffer): void {
    this.tree.noteUnset(this.pathNow, {});
    if (!this.owns(entry, dir.ownGroup)) {
      this.chown(entry, () => fchownat.try(dir.fd, name, entry.uid, entry.gid, AT.SYMLINK_NOFOLLOW));
    }
    // The mode of a symlink means nothing.
    const changed = entry.type !== 'symlink' && entry.mode & 0o7000 ? chmodAt(dir.fd, name, entry.mode) : 0;
    if (changed < 0) throw new SyscallError('fchmodat', -changed, shown(this.pathNow));
    if (entry.xattrs) {
      const byName = `/proc/self/fd/${dir.fd}/${name.toString('latin1')}`;
      this.keepUnset(applyXattrs(byName, entry.xattrs, this.pathNow));
    }
    utimensat(dir.fd, name, timespecs(entry.mtime), AT.SYMLINK_NOFOLLOW);
  }

  private hardlink(entry: Entry, dir: Dir, name: ByteString): void {
    const target = cleanPath(entry.target);
    const [above, last] = splitPath(target);
    const source = this.sourceOf(target);
    const from = target === '' || !source ? -ENOENT : source.root.find(above);
    if (typeof from === 'number') throw new MissingTarget(entry);
    if (source === this.tree && from.path === dir.path && last === name && statAt(dir.fd, name)) return;
    const link = () => linkat.try(from.fd, toBytes(last), dir.fd, toBytes(name), 0);
    let result = link();
    if (result === -EEXIST) {
      this.tree.remove(dir, name);
      result = link();
    }
    const unset = source!.unset.get(joinPath(from.path, last));
    // A device that was left out has no second name either.
    if (result === -ENOENT && unset?.device) this.tree.remove(dir, name);
    else if (result === -ENOENT) throw new MissingTarget(entry);
    else if (result === -EPERM && isDirectory(from, last)) throw new MissingTarget(entry, 'cannot have one');
    else if (result < 0) throw new SyscallError('linkat', -result, `${shown(entry.target)}, ${shown(this.pathNow)}`);
    this.tree.noteUnset(this.pathNow, unset ?? {});
  }

  /** Whether what this process creates has the entry's owner already. */
  private owns(entry: Entry, ownGroup: boolean): boolean {
    return entry.uid === this.user && entry.gid === this.group && ownGroup;
  }

  /** An ordinary user gives nothing away, and root in a user namespace only to ids that are mapped: put on record. */
  private chown(entry: Entry, call: () => number): void {
    const result = this.user === 0 ? call() : -EPERM;
    if (result >= 0) return;
    if (result !== -EPERM && result !== -EINVAL) throw new SyscallError('fchown', -result, shown(this.pathNow));
    this.keepOwner(entry);
  }

  /** What an ordinary user owns is root's in that user's containers. */
  private keepOwner({ uid, gid }: Entry): void {
    if (uid !== 0 || gid !== 0) this.keepUnset({ uid, gid });
  }

  private keepUnset(unset: Unset): void {
    this.tree.addUnset(this.pathNow, unset);
  }
}

/** A hard link to nothing, or to a directory, which may have to make room for its target yet. */
export class MissingTarget extends Failure {
  constructor({ path, target }: Entry, why = 'is not there') {
    super(Status.data, shown(path), `it is a hard link to ${shown(target)}, which ${why}`);
  }
}

function isDirectory(dir: Dir, name: ByteString): boolean {
  return ((statAt(dir.fd, name)?.mode ?? 0) & S.IFMT) === S.IFDIR;
}

/** makedev(3) in the kernel's encoding: 12 bits of major, 20 bits of minor. */
function deviceNumber({ major, minor }: Entry): number {
  return ((minor & 0xfff00) << 12) + (major << 8) + (minor & 0xff);
}
