/** An exact description of a directory tree, to compare what two programs made of the same image. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { type BigIntStats, closeSync, lstatSync, openSync, readdirSync, readlinkSync, readSync } from 'node:fs';

/** One file as text, so that a difference is readable in the output of a test. */
interface FileDescription {
  type: 'file' | 'directory' | 'symlink' | 'char' | 'block' | 'fifo' | 'socket';
  /** Octal, with setuid, setgid and sticky. */
  mode: string;
  /** `uid:gid`. */
  owner: string;
  /** Seconds with nine decimals. */
  mtime: string;
  /** The number of links and all names in the tree, where there are several. */
  links?: string;
  /** Of a symlink. Bytes that are no UTF-8 appear as `\xHH`, as in all names here. */
  target?: string;
  /** Of a device: `major:minor`. */
  device?: string;
  /** Of a file: size and sha256. */
  content?: string;
  /** `name=0xHEX`, sorted, separated by spaces. Only with the getfattr program. */
  xattrs?: string;
}

export type Tree = Map<string, FileDescription>;

/**
 * The tree under `root`, by path relative to it; the root itself is `.`. Of many small trees, xattrs take most of the
 * time.
 */
export function describeTree(root: string, { xattrs: withXattrs = true } = {}): Tree {
  const tree: Tree = new Map();
  const names = new Map<string, string[]>();
  const inodes = new Map<string, string>();
  for (const { path, bytes, stat } of walk(Buffer.from(root), '.')) {
    tree.set(path, describeFile(bytes, stat));
    if (stat.isDirectory() || stat.nlink < 2n) continue;
    const inode = `${stat.dev} ${stat.ino}`;
    inodes.set(path, inode);
    names.set(inode, [...(names.get(inode) ?? []), path]);
    tree.get(path)!.links = String(stat.nlink);
  }
  for (const [path, inode] of inodes) tree.get(path)!.links += `: ${names.get(inode)!.sort().join(' ')}`;
  for (const [path, xattrs] of withXattrs ? readXattrs(root) : []) {
    const file = tree.get(path);
    if (file) file.xattrs = xattrs;
  }
  return tree;
}

/** What differs, a line for each path and property: `PATH: PROPERTY: ONE, OTHER`. */
export function compareTrees(one: Tree, other: Tree): string[] {
  const lines: string[] = [];
  for (const path of [...new Set([...one.keys(), ...other.keys()])].sort()) {
    const a: Partial<FileDescription> | undefined = one.get(path);
    const b: Partial<FileDescription> | undefined = other.get(path);
    if (!a || !b) {
      lines.push(`${path}: only in the ${a ? 'first' : 'second'}`);
      continue;
    }
    for (const key of [...new Set([...Object.keys(a), ...Object.keys(b)])] as (keyof FileDescription)[]) {
      if (a[key] !== b[key]) lines.push(`${path}: ${key}: ${a[key] ?? 'none'}, ${b[key] ?? 'none'}`);
    }
  }
  return lines;
}

function* walk(bytes: Buffer, path: string): Generator<{ path: string; bytes: Buffer; stat: BigIntStats }> {
  const stat = lstatSync(bytes, { bigint: true });
  yield { path, bytes, stat };
  if (!stat.isDirectory()) return;
  for (const name of readdirSync(bytes, { encoding: 'buffer' }).sort(Buffer.compare)) {
    const shown = showBytes(name);
    yield* walk(Buffer.concat([bytes, Buffer.from('/'), name]), path === '.' ? shown : `${path}/${shown}`);
  }
}

function describeFile(path: Buffer, stat: BigIntStats): FileDescription {
  const type = typeOf(stat);
  const file: FileDescription = {
    type,
    mode: (stat.mode & 0o7777n).toString(8).padStart(4, '0'),
    owner: `${stat.uid}:${stat.gid}`,
    mtime: nanoseconds(stat.mtimeNs),
  };
  if (type === 'symlink') file.target = showBytes(readlinkSync(path, { encoding: 'buffer' }));
  if (type === 'char' || type === 'block') file.device = deviceNumbers(stat.rdev);
  if (type === 'file') file.content = `${stat.size} sha256:${hashFile(path)}`;
  return file;
}

function typeOf(stat: BigIntStats): FileDescription['type'] {
  if (stat.isFile()) return 'file';
  if (stat.isDirectory()) return 'directory';
  if (stat.isSymbolicLink()) return 'symlink';
  if (stat.isCharacterDevice()) return 'char';
  if (stat.isBlockDevice()) return 'block';
  return stat.isFIFO() ? 'fifo' : 'socket';
}

function nanoseconds(ns: bigint): string {
  const seconds = ns / 1_000_000_000n - (ns < 0n && ns % 1_000_000_000n !== 0n ? 1n : 0n);
  return `${seconds}.${String(ns - seconds * 1_000_000_000n).padStart(9, '0')}`;
}

/** makedev(3), as glibc packs the numbers. */
function deviceNumbers(device: bigint): string {
  const major = ((device >> 8n) & 0xfffn) | ((device >> 32n) & 0xfffff000n);
  const minor = (device & 0xffn) | ((device >> 12n) & 0xffffff00n);
  return `${major}:${minor}`;
}

function hashFile(path: Buffer): string {
  const hash = createHash('sha256');
  const buffer = Buffer.allocUnsafe(1 << 20);
  const fd = openSync(path, 'r');
  try {
    for (let n = readSync(fd, buffer); n > 0; n = readSync(fd, buffer)) hash.update(buffer.subarray(0, n));
  } finally {
    closeSync(fd);
  }
  return hash.digest('hex');
}

/** Printable as it is, other bytes and the backslash as `\xHH`. */
function showBytes(bytes: Buffer): string {
  const text = bytes.toString();
  const clean = Buffer.from(text).equals(bytes) && !/[\p{Cc}\\]/u.test(text);
  if (clean) return text;
  return [...bytes]
    .map((b) => (b < 32 || b > 126 || b === 92 ? `\\x${b.toString(16).padStart(2, '0')}` : String.fromCharCode(b)))
    .join('');
}

/** One getfattr for the whole tree: it prints `# file: NAME`, with octal escapes, and lines `attribute=0xHEX`. */
function readXattrs(root: string): Map<string, string> {
  const out = new Map<string, string>();
  let text: string;
  try {
    const flags = ['-R', '-P', '-h', '-d', '-m', '-', '-e', 'hex', '--absolute-names'];
    text = execFileSync('getfattr', [...flags, '--', '.'], {
      cwd: root,
      encoding: 'latin1',
      maxBuffer: 1 << 28,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return out;
    throw error;
  }
  for (const paragraph of text.split('\n\n')) {
    const [first = '', ...attributes] = paragraph.split('\n').filter((line) => line !== '');
    const name = unescapeOctal(first.replace(/^# file: /, '')).replace(/^\.\//, '');
    const kept = attributes.filter((line) => !line.startsWith('security.selinux='));
    if (kept.length > 0) out.set(name, kept.sort().join(' '));
  }
  return out;
}

function unescapeOctal(text: string): string {
  const bytes = text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
  return showBytes(Buffer.from(bytes, 'latin1'));
}
