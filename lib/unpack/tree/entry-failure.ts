import { errnoName, Failure, failureOf } from '../../base/failure.js';
import { Status } from '../../base/status.js';
import { lackingHint } from '../../sys/refusals/confinement.js';
import { SyscallError } from '../../sys/syscalls/syscall.js';
import { type ByteString, shown } from '../../tar/bytes.js';

/**
 * The failure of an entry. A name or size that no filesystem takes is the archive's fault (65), everything else the
 * disk's.
 */
export function entryFailure(error: unknown, path: ByteString, size = 0): Failure {
  const name = errnoName(error);
  const failure = failureOf(error, shown(path), { hint: hintFor(error, name) });
  const isArchives = (name === 'ENAMETOOLONG' && isTooLong(path)) || (name === 'EFBIG' && size > largestFile);
  return isArchives ? new Failure(Status.data, failure.what, failure.why, { cause: error }) : failure;
}

/**
 * Bytes that a file of ext4 may have, the least of the filesystems that have all that an image needs. FAT ends at 4
 * GiB, and RLIMIT_FSIZE where it likes.
 */
const largestFile = 2 ** 44;

/** NAME_MAX, and PATH_MAX without its NUL: limits.h. */
const maxNameBytes = 255;
export const maxPathBytes = 4095;

/**
 * Whether a path is longer than the kernel takes, or a part of it longer than any filesystem takes. Some take less: an
 * encrypted one of a name, and XFS of a symlink's target.
 */
export function isTooLong(path: ByteString): boolean {
  return path.length > maxPathBytes || path.split('/').some((part) => part.length > maxNameBytes);
}

function hintFor(error: unknown, errno: string | undefined): string | undefined {
  if (errno === 'ENAMETOOLONG' || (isCreation(error) && badName.has(errno ?? ''))) return unfitName;
  if (errno === 'ENOSPC' && isCreation(error)) return noRoom;
  if (errno === 'EACCES') return lackingHint(['DAC_OVERRIDE']);
  if (errno === 'ENOSYS' || errno === 'EOPNOTSUPP') return unable;
  if (errno === 'EIO' && isCreation(error)) return `the disk is faulty, or ${unable}`;
  return errno === 'EPERM' ? (lackingHint(['FOWNER']) ?? unable) : undefined;
}

/** What FAT, NTFS and others say of a name with a colon, for example, or of one that is not UTF-8. */
const badName = new Set(['EINVAL', 'EILSEQ', 'ENOENT']);

function isCreation(error: unknown): boolean {
  return error instanceof SyscallError && ['openat', 'mkdirat', 'symlinkat', 'mknodat'].includes(error.syscall);
}

/**
 * symlink(2), link(2), mknod(2), and chmod(2) of setuid; ENOSYS, EOPNOTSUPP and EIO are what FUSE and network filesystems
 * say. What a privilege is needed for is not a failure (unset.ts).
 */
const unable =
  'its filesystem lacks it, as FAT has no links and modes: ext4, xfs, btrfs and tmpfs have all that an image needs';

/** Where there is space, an image of many small files has used up the inodes. */
const noRoom = 'df tells how much space its filesystem has left, and df -i how many inodes';

const unfitName =
  'its filesystem takes no such name, or no such target of a symlink: ext4 and tmpfs take all that an image may have';
