/** Comparing a tree on disk with what an image says it is. */
import { failureOf } from '../pipe/failure.js';
import { close, flistxattr, lgetxattr, llistxattr, openat, read, readlinkat } from '../sys/calls.js';
import { AT, O, S } from '../sys/constants.js';
import { type ByteString, fromBytes, joinPath, namedPath, shown, toBytes } from './bytes.js';
import { type Stat, statAt } from './stat.js';
import { entriesOf } from './tree.js';

/** One property of one path. `missing` and `extra` are paths that one side does not have. */
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
    | 'target'
    | 'content'
    | 'xattrs';
  /** What the tree has, and what the image has. */
  tree?: string;
  image?: string;
}

type Report = (difference: Difference) => void;

const openDirectory = O.RDONLY | O.DIRECTORY | O.NOFOLLOW | O.CLOEXEC;
const openFile = O.RDONLY | O.NOFOLLOW | O.CLOEXEC;

/**
 * Reports how the tree at `dir` differs from the one at `image`, an open directory; returns the number of differences.
 * The mode and time of a directory count only where `isDescribed`: no entry of the image has said what they are.
 */
export function compareTree(
  dir: string,
  image: number,
  isDescribed: (path: ByteString) => boolean,
  report: Report,
): number {
  let count = 0;
  const comparison = new Comparison(isDescribed, (difference) => {
    count += 1;
    report(difference);
  });
  try {
    const tree = openat(AT.FDCWD, dir, O.RDONLY | O.DIRECTORY | O.CLOEXEC, 0);
    comparison.directory('', tree, image);
    close(tree);
  } catch (error) {
    throw failureOf(error, dir);
  }
  return count;
}

class Comparison {
  constructor(
    private readonly isDescribed: (path: ByteString) => boolean,
    private readonly report: Report,
  ) {}

  /** Two open directories: their own attributes, then their entries. */
  directory(path: ByteString, tree: number, image: number): void {
    this.attributes(path, statAt(tree, '.')!, statAt(image, '.')!);
    this.same(path, 'xattrs', xattrsOf(tree, '.'), xattrsOf(image, '.'));
    const wanted = new Set(entriesOf(image));
    const found = new Set(entriesOf(tree));
    for (const name of [...new Set([...wanted, ...found])].sort()) {
      const at = joinPath(path, name);
      if (!found.has(name)) this.report({ ...namedPath(at), difference: 'missing' });
      else if (!wanted.has(name)) this.report({ ...namedPath(at), difference: 'extra' });
      else this.entry(at, name, tree, image);
    }
  }

  private entry(path: ByteString, name: ByteString, tree: number, image: number): void {
    const [one, other] = [statAt(tree, name)!, statAt(image, name)!];
    if (typeName(one) !== typeName(other)) {
      this.same(path, 'type', typeName(one), typeName(other));
      return;
    }
    if (typeName(other) === 'directory') {
      withBoth(name, tree, image, openDirectory, (a, b) => this.directory(path, a, b));
      return;
    }
    this.attributes(path, one, other);
    this.same(path, 'xattrs', xattrsOf(tree, name), xattrsOf(image, name));
    if (typeName(other) === 'symlink') this.same(path, 'target', targetOf(tree, name), targetOf(image, name));
    if (typeName(other) !== 'file') return;
    this.same(path, 'size', String(one.size), String(other.size));
    const isSame = one.size !== other.size || withBoth(name, tree, image, openFile, sameContent);
    if (!isSame) this.report({ ...namedPath(path), difference: 'content' });
  }

  private attributes(path: ByteString, one: Stat, other: Stat): void {
    const type = typeName(other);
    this.same(path, 'owner', `${one.uid}:${one.gid}`, `${other.uid}:${other.gid}`);
    if (type === 'directory' && !this.isDescribed(path)) return;
    if (type !== 'symlink') this.same(path, 'mode', modeOf(one), modeOf(other));
    this.same(path, 'mtime', timeOf(one), timeOf(other));
    if (type === 'char' || type === 'block') this.same(path, 'device', deviceOf(one), deviceOf(other));
  }

  private same(path: ByteString, difference: Difference['difference'], tree: string, image: string): void {
    if (tree !== image) this.report({ ...namedPath(path === '' ? '.' : path), difference, tree, image });
  }
}

function withBoth<T>(
  name: ByteString,
  tree: number,
  image: number,
  flags: number,
  use: (a: number, b: number) => T,
): T {
  const bytes = toBytes(name);
  const one = openat(tree, bytes, flags, 0);
  const other = openat(image, bytes, flags, 0);
  try {
    return use(one, other);
  } finally {
    close(one);
    close(other);
  }
}

const blocks = [Buffer.alloc(256 * 1024), Buffer.alloc(256 * 1024)] as const;

function sameContent(one: number, other: number): boolean {
  for (;;) {
    const [a, b] = [fill(one, blocks[0]), fill(other, blocks[1])];
    if (!a.equals(b)) return false;
    if (a.length === 0) return true;
  }
}

/** A read may return less than there is. */
function fill(fd: number, buffer: Buffer): Buffer {
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

function modeOf({ mode }: Stat): string {
  return (mode & 0o7777).toString(8).padStart(4, '0');
}

function timeOf({ seconds, nanoseconds }: Stat): string {
  return `${seconds}.${String(nanoseconds).padStart(9, '0')}`;
}

function deviceOf({ major, minor }: Stat): string {
  return `${major}:${minor}`;
}

function targetOf(dir: number, name: ByteString): string {
  const buffer = Buffer.allocUnsafe(4096);
  return shown(fromBytes(buffer, 0, readlinkat(dir, toBytes(name), buffer, buffer.length)));
}

/** `name=hex`, sorted. Labels of this machine are not the image's. */
function xattrsOf(dir: number, name: ByteString): string {
  const list = Buffer.allocUnsafe(65536);
  const path = toBytes(`/proc/self/fd/${dir}/${name}`);
  const bytes = name === '.' ? flistxattr.try(dir, list, list.length) : llistxattr.try(path, list, list.length);
  if (bytes <= 0) return '';
  const names = fromBytes(list, 0, bytes).split('\0').slice(0, -1);
  const value = Buffer.allocUnsafe(65536);
  return names
    .filter((it) => it !== 'security.selinux')
    .sort()
    .map(
      (it) =>
        `${shown(it)}=${value.toString('hex', 0, Math.max(0, lgetxattr.try(path, toBytes(it), value, value.length)))}`,
    )
    .join(' ');
}
