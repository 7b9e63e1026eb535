/** The directory of a layer: whose it has to be, and what its filesystem has to have. */
import { fstatSync, statfsSync } from 'node:fs';
import { disinherit } from '../../sys/files/disinherit.js';
import { fremovexattr, fsetxattr, mknodat, statx, unlinkat } from '../../sys/syscalls/calls.js';
import { AT, S, STATX, structStatx } from '../../sys/syscalls/constants.js';
import { EINVAL, ENOENT, ENXIO, EOPNOTSUPP } from '../../sys/syscalls/errno.js';
import { notesFile, refusedLayer } from './layer-notes.js';

/** statfs(2). */
const tmpfsMagic = 0x01021994;
const fit = 'ext4, xfs, btrfs and tmpfs have them';

/** `stx_ino`, and `stx_dev_major` with `stx_dev_minor`, of the directory that is locked. */
export interface DirectoryIdentity {
  inode: Uint8Array;
  device: Uint8Array;
}

/** The identity of the open directory at `path`. Throws `Failure` unless it is the caller's alone. */
export function checkedIdentity(path: string, fd: number, isNew: boolean): DirectoryIdentity {
  const { uid, mode } = fstatSync(fd);
  // As with NTFS and the shared folders of virtual machines.
  if (isNew && (uid !== process.geteuid!() || mode & 0o077))
    throw refusedLayer(path, 'its filesystem keeps no owners and modes', fit);
  if (uid !== process.geteuid!()) throw refusedLayer(path, 'it belongs to another user');
  // A set-user-ID program that root of a container made would be one on the host for everybody who can reach it.
  if (mode & 0o077) throw refusedLayer(path, 'other users may enter it', `chmod 700 ${path}`);
  const stat = Buffer.alloc(structStatx.length);
  statx(fd, '', AT.EMPTY_PATH, STATX.INO, stat);
  const field = (at: number) => stat.subarray(at, at + 8);
  return { inode: field(structStatx.ino), device: field(structStatx.dev) };
}

/** Makes a directory fit for a layer that has not begun. Throws `Failure` where its filesystem is not. */
export function prepareDirectory(path: string, fd: number): void {
  disinherit(fd);
  expectAttributes(path, fd);
  expectWhiteouts(path, fd);
}

/**
 * Without extended attributes the kernel makes the overlay all the same, but then no directory of the image can be
 * removed. On tmpfs before Linux 6.6 ordinary users have none. They can live with that.
 */
function expectAttributes(path: string, fd: number): void {
  const name = `${process.geteuid!() === 0 ? 'trusted' : 'user'}.overlay.md`;
  const result = fsetxattr.try(fd, name, Buffer.from('y'), 1, 0);
  if (result >= 0) fremovexattr.try(fd, name);
  else if (result === -EOPNOTSUPP && statfsSync(`/proc/self/fd/${fd}`).type !== tmpfsMagic)
    throw refusedLayer(path, 'its filesystem has no extended attributes', fit);
}

/**
 * Without whiteouts, too, the kernel makes the overlay, but then nothing of the image can be removed: on 9p for
 * example. A whiteout is a device with the number 0, which anyone may make. Here one is made under the name of the
 * notes, which are not written yet: if it stays, they replace it.
 */
function expectWhiteouts(path: string, fd: number): void {
  unlinkat.try(fd, notesFile, 0);
  const result = mknodat.try(fd, notesFile, S.IFCHR, 0);
  // ENOENT: fuse-overlayfs takes it for a whiteout of its own, and hides it.
  if ([-ENXIO, -EINVAL, -EOPNOTSUPP, -ENOENT].includes(result))
    throw refusedLayer(path, 'its filesystem has no device nodes, which stand for what was removed', fit);
  unlinkat.try(fd, notesFile, 0);
}
