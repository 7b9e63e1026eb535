/** Extended attributes of an entry: xattr(7). */
import { errnoNameOf } from '../../base/errno-names.js';
import { errnoText, Failure, shorten, statusOfErrno } from '../../base/failure.js';
import { Status } from '../../base/status.js';
import { flistxattr, fremovexattr, fsetxattr, lsetxattr } from '../../sys/syscalls/calls.js';
import { E2BIG, EACCES, EINVAL, ENODATA, ENOENT, EOPNOTSUPP, EPERM, ERANGE } from '../../sys/syscalls/errno.js';
import { SyscallError } from '../../sys/syscalls/syscall.js';
import { type ByteString, fromBytes, shown, toBytes } from '../../tar/bytes.js';
import type { Xattrs } from '../../tar/pax.js';
import { hasForeignId } from './foreign-ids.js';
import type { Unset } from './unset.js';

type Attribute = [name: ByteString, value: Buffer];

/** XATTR_LIST_MAX: limits.h. */
const maxListBytes = 65536;

/**
 * Sets attributes on an open file, or by name on what cannot be opened. Returns those that the kernel did not permit,
 * and those with ids that are not in the user namespace. Throws `Failure` that names `path` and the attribute: 65 for a
 * name or value that no kernel takes, 74 for the disk.
 */
export function applyXattrs(at: number | ByteString, xattrs: Xattrs, path: ByteString): Unset {
  const refused: Attribute[] = [];
  for (const [name, value] of xattrs) {
    if (isLeftOut(name)) continue;
    const key = toBytes(name);
    const result =
      typeof at === 'number'
        ? fsetxattr.try(at, key, value, value.length, 0)
        : lsetxattr.try(toBytes(at), key, value, value.length, 0);
    if (result >= 0) continue;
    const isForeign = result === -EINVAL && hasForeignId(name, value);
    if (!isForeign && !isTolerated(-result)) throw notSet(path, name, -result);
    refused.push([name, value]);
  }
  return recorded(refused);
}

/** The same for a directory from a lower layer: attributes that the new entry does not have are removed. */
export function replaceXattrs(fd: number, xattrs: Xattrs | undefined, path: ByteString): Unset {
  for (const name of namesFrom(path, (list) => flistxattr.try(fd, list, list.length))) {
    if (isLeftOut(name) || isOfFilesystem(name) || xattrs?.has(name)) continue;
    const result = fremovexattr.try(fd, toBytes(name));
    if (result < 0 && result !== -ENODATA && !isTolerated(-result)) {
      throw new SyscallError('fremovexattr', -result, shown(name));
    }
  }
  return xattrs ? applyXattrs(fd, xattrs, path) : {};
}

/** What is put on record where no attribute may be set. */
export function unsetXattrs(xattrs: Xattrs | undefined): Unset {
  return recorded([...(xattrs ?? [])].filter(([name]) => !isLeftOut(name)));
}

function recorded(attributes: Attribute[]): Unset {
  if (attributes.length === 0) return {};
  return { xattrs: Object.fromEntries(attributes.map(([name, value]) => [shown(name), value.toString('base64')])) };
}

/**
 * The names of attributes. `fill` makes the call that lists them in a buffer, and returns its result. There are none
 * where the filesystem has none, or another process has removed the file. Throws `SyscallError` when the disk does not
 * tell: those of a lower layer would stay, and a tree that differs would be called the same.
 */
export function namesFrom(path: ByteString, fill: (list: Buffer) => number): ByteString[] {
  const list = Buffer.allocUnsafe(maxListBytes);
  const bytes = fill(list);
  if (bytes < 0 && bytes !== -ENOENT && !isTolerated(-bytes)) throw new SyscallError('listxattr', -bytes, shown(path));
  return bytes > 0 ? fromBytes(list, 0, bytes).split('\0').slice(0, -1) : [];
}

/**
 * Splits the attributes of a directory. Access control lists are set only when the directory is complete. They could
 * keep this process from filling it, and its default ACL would change the modes of new entries: acl(5).
 */
export function withoutAcls(xattrs: Xattrs | undefined): { plain: Xattrs | undefined; acls: Xattrs | undefined } {
  const isAcl = ([name]: Attribute) => name.startsWith('system.posix_acl_');
  const all = [...(xattrs ?? [])];
  if (!all.some(isAcl)) return { plain: xattrs, acls: undefined };
  // A copy: a small value must not keep its whole header alive.
  const acls = all.filter(isAcl).map(([name, value]): Attribute => [name, Buffer.from(value)]);
  return { plain: new Map(all.filter((it) => !isAcl(it))), acls: new Map(acls) };
}

/** xattr(7): limits of filesystems, which are told from a full disk by nothing else. */
const tooMuch =
  'unless the disk is full, the file has more attributes than its filesystem takes: ext4 takes 4 KB of them, xfs 64 KB each';

/**
 * setxattr(2): EINVAL for a value that its namespace does not understand, ERANGE for a name, E2BIG for a value too
 * long.
 */
function notSet(path: ByteString, name: ByteString, errno: number): Failure {
  const code = errnoNameOf(errno);
  const isArchives = errno === EINVAL || errno === ERANGE || errno === E2BIG;
  return new Failure(
    isArchives ? Status.data : statusOfErrno(code),
    path === '' ? 'root of the tree' : shown(path),
    `xattr ${shown(shorten(name, 60))}: ${errnoText(code)}`,
    { hint: code === 'ENOSPC' ? tooMuch : undefined },
  );
}

/**
 * The SELinux label belongs to the machine where the layer was made. What overlayfs keeps in attributes would take
 * effect when this tree becomes a layer of an overlay.
 */
function isLeftOut(name: ByteString): boolean {
  return name === 'security.selinux' || name.startsWith('trusted.overlay.') || name.startsWith('user.overlay.');
}

/**
 * What some filesystems show as an attribute and no image brings: `system.nfs4_acl`, which is the mode in other words
 * and cannot be removed, `btrfs.compression`, which a directory has from the one around it, and `trusted.SGI_ACL_FILE`,
 * which on XFS is the access control list once more.
 */
export function isOfFilesystem(name: ByteString): boolean {
  return !/^(?:user\.|trusted\.(?!SGI_ACL_)|security\.|system\.posix_acl_(?:access|default)$)/.test(name);
}

function isTolerated(errno: number): boolean {
  return errno === EPERM || errno === EACCES || errno === EOPNOTSUPP;
}
