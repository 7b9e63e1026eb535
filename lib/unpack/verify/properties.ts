/** The properties of a path that two trees are compared by: read from the disk, and shown as text. */
import { flistxattr, lgetxattr, llistxattr, lseek, openat, read, readlinkat } from '../../sys/syscalls/calls.js';
import { AT, O, S, SEEK } from '../../sys/syscalls/constants.js';
import { EACCES, EINVAL, ENODATA, ENOENT, ENXIO, EOPNOTSUPP, EOVERFLOW, EPERM } from '../../sys/syscalls/errno.js';
import { SyscallError } from '../../sys/syscalls/syscall.js';
import { type ByteString, fromBytes, shown, toBytes } from '../../tar/bytes.js';
import { closing } from '../tree/directory.js';
import { type Stat, statOf } from '../tree/stat.js';
import { isOfFilesystem, namesFrom } from '../tree/xattrs.js';

/**
 * Opens a regular file, for anything else ENXIO. A container that runs in the tree may have put a device or a FIFO in
 * its place: to open one may have an effect, or wait for ever.
 */
export function openFile(dir: number, name: Buffer): number {
  const handle = openat.try(dir, name, O.PATH | O.NOFOLLOW | O.CLOEXEC, 0);
  if (handle < 0) return handle;
  return closing(handle, () => {
    const isFile = typeName(statOf(handle)) === 'file';
    return isFile ? openat.try(AT.FDCWD, `/proc/self/fd/${handle}`, O.RDONLY | O.CLOEXEC, 0) : -ENXIO;
  });
}

const blockBytes = 256 * 1024;
const blocks = [Buffer.alloc(blockBytes), Buffer.alloc(blockBytes)] as const;

/** Skips what is a hole in both files: it may be terabytes. */
export function sameContent({ tree, image }: { tree: number; image: number }, size: number): boolean {
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

export function typeName({ type }: Stat): string {
  return typeNames.get(type) ?? String(type);
}

export type Owner = Pick<Stat, 'uid' | 'gid'>;

export function ownerOf({ uid, gid }: Owner): string {
  return `${uid}:${gid}`;
}

export function modeOf({ mode }: Pick<Stat, 'mode'>): string {
  return (mode & 0o7777).toString(8).padStart(4, '0');
}

export function timeOf({ seconds, nanoseconds }: Stat): string {
  return `${seconds}.${String(nanoseconds).padStart(9, '0')}`;
}

export function deviceOf({ major, minor }: Pick<Stat, 'major' | 'minor'>): string {
  return `${major}:${minor}`;
}

export function targetOf(dir: number, name: ByteString): ByteString {
  const buffer = Buffer.allocUnsafe(4096);
  return fromBytes(buffer, 0, readlinkat(dir, toBytes(name), buffer, buffer.length));
}

/**
 * The values in hexadecimal, empty where the kernel keeps one to itself. The label of SELinux and the like are left out:
 * they are this machine's and not the image's. Throws `SyscallError` when the disk does not tell.
 */
export function xattrsOf(dir: number, name: ByteString, shownPath: ByteString): Map<string, string> {
  const path = toBytes(`/proc/self/fd/${dir}/${name}`);
  const names = namesFrom(shownPath, (list) =>
    name === '.' ? flistxattr.try(dir, list, list.length) : llistxattr.try(path, list, list.length),
  );
  const value = Buffer.allocUnsafe(65536);
  const hex = (it: ByteString) => {
    const bytes = lgetxattr.try(path, toBytes(it), value, value.length);
    if (bytes < 0 && !keptBack.includes(-bytes)) throw new SyscallError('lgetxattr', -bytes, shown(shownPath));
    return value.toString('hex', 0, Math.max(0, bytes));
  };
  return new Map(
    names.filter((it) => it !== 'security.selinux' && !isOfFilesystem(it)).map((it) => [shown(it), hex(it)]),
  );
}

/**
 * What getxattr(2) gives of an attribute that this process may not see, whose ids are not in its user namespace
 * (EINVAL, EOVERFLOW), or that another process has removed since it was listed.
 */
const keptBack = [EPERM, EACCES, EOPNOTSUPP, EINVAL, EOVERFLOW, ENODATA, ENOENT];

export function xattrText(xattrs: Map<string, string>): string {
  return [...xattrs]
    .map(([name, hex]) => `${name}=${hex}`)
    .sort()
    .join(' ');
}
