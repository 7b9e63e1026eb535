/** Comparing a tree on disk with what an image says it is. */
import { Failure, failingAs } from '../base/failure.js';
import { Status } from '../base/status.js';
import { close, flistxattr, lgetxattr, llistxattr, lseek, openat, read, readlinkat } from '../sys/syscalls/calls.js';
import { AT, O, S, SEEK } from '../sys/syscalls/constants.js';
import { EACCES, ELOOP, ENOENT, ENOTDIR, ENXIO } from '../sys/syscalls/errno.js';
import { SyscallError } from '../sys/syscalls/syscall.js';
import { type ByteString, fromBytes, joinPath, namedPath, shown, toBytes } from '../tar/bytes.js';
import { chmodAt, entriesOf, openDirectory } from './tree/directory.js';
import { type Stat, statAt, statOf } from './tree/stat.js';
import type { Unset } from './tree/unset.js';
import { isOfFilesystem, namesFrom } from './tree/xattrs.js';

/**
 * One property of one path that differs. `missing` and `extra`: only one side has the path. `link`: a file with several
 * names has another first name. `unreadable`: this user may not read it, so it could not be compared.
 */
export interface Difference {
  path: string;
  pathBase64?: string;
  difference:
    | 'missing'
    | 'extra'
    | 'type'
    | 'mode'
    | 'owner'
    | 'size'
    | 'mtime'
    | 'device'
    | 'link'
    | 'target'
    | 'content'
    | 'xattrs'
    | 'unreadable';
  /** What the tree has, and what the image has. */
  tree?: string;
  image?: string;
}

type Report = (difference: Difference) => void;

/** What has to be known about the image's tree besides what is on the disk. */
export interface Compared {
  /**
   * Whether an entry of the image gives a directory its time. Otherwise it has the time of the unpacking, which says
   * nothing.
   */
  isDescribed(path: ByteString): boolean;
  /** Whether a path is to be compared: with parts of an image, only those are. */
  isWanted(path: ByteString): boolean;
  /** What the image has at a path and could not be set in its tree. The other tree is right with it and without it. */
  unset(path: ByteString): Unset | undefined;
}

/**
 * Reports how the tree at `dir` differs from the one at `image`, an open directory that is the caller's own; returns
 * the number of differences.
 */
export function compareTree(dir: string, image: number, compared: Compared, report: Report): number {
  let count = 0;
  const comparison = new Comparison(compared, (difference) => {
    count += 1;
    report(difference);
  });
  failingAs(dir, () => {
    const tree = openat(AT.FDCWD, dir, O.RDONLY | O.DIRECTORY | O.CLOEXEC, 0);
    // On btrfs a descriptor shows the entries that were there when it was opened, and this one was before the
    // unpacking.
    const filled = openat(image, '.', openDirectory, 0);
    comparison.root({ tree, image: filled });
    close(filled);
    close(tree);
  });
  return count;
}

/** Something that both sides have. */
interface Sides<T> {
  tree: T;
  image: T;
}

/** A path, with its name in an open directory of each side. */
interface At extends Sides<number> {
  path: ByteString;
  name: ByteString;
}

class Comparison {
  /** By inode, the first name of each file that has several. */
  private readonly treeNames = new Map<bigint, ByteString>();
  private readonly imageNames = new Map<bigint, ByteString>();

  constructor(
    private readonly compared: Compared,
    private readonly report: Report,
  ) {}

  root(roots: Sides<number>): void {
    this.attributes('', { tree: statOf(roots.tree), image: statOf(roots.image) });
    this.directory('', roots);
  }

  /** Two open directories: their extended attributes, then their entries. */
  private directory(path: ByteString, { tree, image }: Sides<number>): void {
    // When it may be read but not searched, its entries cannot be looked at.
    if (!statAt(tree, '.')) {
      this.unreadable(path);
      return;
    }
    this.xattrs({ path, name: '.', tree, image });
    // Both sides are filtered: through a symlink, parts of an image may have put something at a path that is not
    // wanted.
    const namesIn = (fd: number) =>
      new Set(entriesOf(fd).filter((name) => this.compared.isWanted(joinPath(path, name))));
    const [wanted, found] = [namesIn(image), namesIn(tree)];
    for (const name of [...new Set([...wanted, ...found])].sort()) {
      const at = { path: joinPath(path, name), name, tree, image };
      if (!found.has(name)) this.report({ ...namedPath(at.path), difference: 'missing' });
      else if (!wanted.has(name)) this.additional(at);
      else this.entry(at);
    }
  }

  private entry(at: At): void {
    const { path, name } = at;
    const [tree, image] = [statAt(at.tree, name), statAt(at.image, name)!];
    const type = typeName(image);
    if (!tree) this.report({ ...namedPath(path), difference: 'missing' });
    else if (typeName(tree) !== type) this.same(path, 'type', typeName(tree), type);
    else {
      this.attributes(path, { tree, image });
      if (type === 'directory')
        this.opened(at, openDirectoryAt, 0o500, (directories) => this.directory(path, directories));
      else this.leaf(at, { tree, image });
    }
  }

  /** A path that only the tree has: a device that could not be made on the image's side, or something extra. */
  private additional({ path, name, tree }: At): void {
    const { device, ...unset } = this.compared.unset(path) ?? {};
    const stat = statAt(tree, name);
    if (!device || !stat) this.report({ ...namedPath(path), difference: 'extra' });
    else if (typeName(stat) !== device.type) this.same(path, 'type', typeName(stat), device.type);
    else {
      const wanted = { ...device, uid: stat.uid, gid: stat.gid, mode: stat.mode, ...unset };
      this.owner(path, stat, wanted);
      this.same(path, 'mode', modeOf(stat), modeOf(wanted));
      this.same(path, 'device', deviceOf(stat), deviceOf(wanted));
    }
  }

  /** Compares anything but directories. */
  private leaf(at: At, { tree, image }: Sides<Stat>): void {
    const { path, name } = at;
    this.sameBytes(path, 'link', firstName(this.treeNames, tree, path), firstName(this.imageNames, image, path));
    if (typeName(image) !== 'file') {
      this.xattrs(at);
      if (typeName(image) === 'symlink')
        this.sameBytes(path, 'target', targetOf(at.tree, name), targetOf(at.image, name));
      return;
    }
    this.same(path, 'size', String(tree.size), String(image.size));
    this.opened(at, openFile, 0o400, (files) => {
      this.xattrs(at);
      if (tree.size === image.size && !sameContent(files, image.size))
        this.report({ ...namedPath(path), difference: 'content' });
    });
  }

  /**
   * Opens the path on both sides. On the image's side it is made readable for that, with the permissions `needed`,
   * since that tree is only temporary.
   */
  private opened(
    { path, name, ...directories }: At,
    open: (dir: number, name: Buffer) => number,
    needed: number,
    use: (opened: Sides<number>) => void,
  ): void {
    const bytes = toBytes(name);
    const tree = open(directories.tree, bytes);
    if (tree === -EACCES) {
      this.unreadable(path);
      return;
    }
    if (exchanged.includes(-tree))
      throw new Failure(Status.tryLater, shown(path), 'it was exchanged just now', {
        hint: 'end what changes the tree first',
      });
    if (tree < 0) throw new SyscallError('openat', -tree, shown(path));
    const { mode } = statAt(directories.image, name)!;
    // Only when needed, since a change of the mode changes an access control list as well.
    const isClosed = process.geteuid!() !== 0 && (mode & needed) !== needed;
    if (isClosed) chmodAt(directories.image, bytes, mode | needed);
    const image = open(directories.image, bytes);
    if (image < 0) throw new SyscallError('openat', -image, shown(path));
    try {
      use({ tree, image });
    } finally {
      close(tree);
      close(image);
      if (isClosed) chmodAt(directories.image, bytes, mode);
    }
  }

  private unreadable(path: ByteString): void {
    this.report({ ...namedPath(path || '.'), difference: 'unreadable' });
  }

  private attributes(path: ByteString, { tree, image }: Sides<Stat>): void {
    const type = typeName(image);
    this.owner(path, tree, image);
    if (type !== 'symlink') this.same(path, 'mode', modeOf(tree), modeOf(image));
    if (type !== 'directory' || this.compared.isDescribed(path)) this.same(path, 'mtime', timeOf(tree), timeOf(image));
    if (type === 'char' || type === 'block') this.same(path, 'device', deviceOf(tree), deviceOf(image));
  }

  /**
   * In an ordinary user's tree that user owns everything. What then has no record of its owner belongs to root in the
   * image.
   */
  private owner(path: ByteString, tree: Owner, image: Owner): void {
    if (ownerOf(tree) === ownerOf(image)) return;
    const byDefault = process.geteuid!() === 0 ? image : { uid: 0, gid: 0 };
    const { uid = byDefault.uid, gid = byDefault.gid } = this.compared.unset(path) ?? {};
    this.same(path, 'owner', ownerOf(tree), ownerOf({ uid, gid }));
  }

  private xattrs({ path, name, tree, image }: At): void {
    const [has, wants] = [xattrsOf(tree, name), xattrsOf(image, name)];
    for (const [key, value] of Object.entries(this.compared.unset(path)?.xattrs ?? {})) {
      if (has.has(key)) wants.set(key, Buffer.from(value, 'base64').toString('hex'));
    }
    this.same(path, 'xattrs', xattrText(has), xattrText(wants));
  }

  /** Compares the bytes: different names may be shown alike, such as a byte that is not UTF-8 and the text `\xe9`. */
  private sameBytes(path: ByteString, difference: 'link' | 'target', tree: ByteString, image: ByteString): void {
    if (tree !== image) this.report({ ...namedPath(path), difference, tree: shown(tree), image: shown(image) });
  }

  private same(path: ByteString, difference: Difference['difference'], tree: string, image: string): void {
    if (tree !== image) this.report({ ...namedPath(path || '.'), difference, tree, image });
  }
}

/** What opening gives when something else is at the name than a moment ago. */
const exchanged = [ENOENT, ENOTDIR, ELOOP, ENXIO];

function openDirectoryAt(dir: number, name: Buffer): number {
  return openat.try(dir, name, openDirectory, 0);
}

/**
 * Opens a regular file, for anything else ENXIO. A container that runs in the tree may have put a device or a FIFO in
 * its place: to open one may have an effect, or wait for ever.
 */
function openFile(dir: number, name: Buffer): number {
  const handle = openat.try(dir, name, O.PATH | O.NOFOLLOW | O.CLOEXEC, 0);
  if (handle < 0) return handle;
  const isFile = typeName(statOf(handle)) === 'file';
  const fd = isFile ? openat.try(AT.FDCWD, `/proc/self/fd/${handle}`, O.RDONLY | O.CLOEXEC, 0) : -ENXIO;
  close(handle);
  return fd;
}

/** The first name of a file, by which hard links are told from copies. */
function firstName(names: Map<bigint, ByteString>, { nlink, inode }: Stat, path: ByteString): ByteString {
  if (nlink < 2) return path;
  const known = names.get(inode);
  if (known === undefined) names.set(inode, path);
  return known ?? path;
}

const blockBytes = 256 * 1024;
const blocks = [Buffer.alloc(blockBytes), Buffer.alloc(blockBytes)] as const;

/** Skips what is a hole in both files: it may be terabytes. */
function sameContent({ tree, image }: Sides<number>, size: number): boolean {
  for (let at = 0; at < size; at += blockBytes) {
    at = Math.min(nextData(tree, at, size), nextData(image, at, size));
    if (!fill(tree, at, blocks[0]).equals(fill(image, at, blocks[1]))) return false;
  }
  return true;
}

function nextData(fd: number, at: number, size: number): number {
  const found = lseek.try(fd, at, SEEK.DATA);
  if (found === -ENXIO) return size;
  return found < 0 ? at : found;
}

/** A read may return less than there is. */
function fill(fd: number, at: number, buffer: Buffer): Buffer {
  lseek(fd, at, SEEK.SET);
  let bytes = 0;
  for (let got = -1; got !== 0 && bytes < buffer.length; bytes += got) {
    got = read(fd, buffer.subarray(bytes), buffer.length - bytes);
  }
  return buffer.subarray(0, bytes);
}

const typeNames = new Map<number, string>([
  [S.IFREG, 'file'],
  [S.IFDIR, 'directory'],
  [S.IFLNK, 'symlink'],
  [S.IFCHR, 'char'],
  [S.IFBLK, 'block'],
  [S.IFIFO, 'fifo'],
  [S.IFSOCK, 'socket'],
]);

function typeName({ mode }: Stat): string {
  return typeNames.get(mode & S.IFMT) ?? String(mode);
}

type Owner = Pick<Stat, 'uid' | 'gid'>;

function ownerOf({ uid, gid }: Owner): string {
  return `${uid}:${gid}`;
}

function modeOf({ mode }: Pick<Stat, 'mode'>): string {
  return (mode & 0o7777).toString(8).padStart(4, '0');
}

function timeOf({ seconds, nanoseconds }: Stat): string {
  return `${seconds}.${String(nanoseconds).padStart(9, '0')}`;
}

function deviceOf({ major, minor }: Pick<Stat, 'major' | 'minor'>): string {
  return `${major}:${minor}`;
}

function targetOf(dir: number, name: ByteString): ByteString {
  const buffer = Buffer.allocUnsafe(4096);
  return fromBytes(buffer, 0, readlinkat(dir, toBytes(name), buffer, buffer.length));
}

/**
 * The values in hexadecimal. The label of SELinux and the like are left out: they are this machine's and not the
 * image's.
 */
function xattrsOf(dir: number, name: ByteString): Map<string, string> {
  const path = toBytes(`/proc/self/fd/${dir}/${name}`);
  const names = namesFrom((list) =>
    name === '.' ? flistxattr.try(dir, list, list.length) : llistxattr.try(path, list, list.length),
  );
  const value = Buffer.allocUnsafe(65536);
  const hex = (it: ByteString) =>
    value.toString('hex', 0, Math.max(0, lgetxattr.try(path, toBytes(it), value, value.length)));
  return new Map(
    names.filter((it) => it !== 'security.selinux' && !isOfFilesystem(it)).map((it) => [shown(it), hex(it)]),
  );
}

function xattrText(xattrs: Map<string, string>): string {
  return [...xattrs]
    .map(([name, hex]) => `${name}=${hex}`)
    .sort()
    .join(' ');
}
