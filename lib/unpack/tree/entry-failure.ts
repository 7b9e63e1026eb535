import { errnoName, Failure, failureOf } from '../../base/failure.js';
import { Status } from '../../base/status.js';
import { lackingHint } from '../../sys/refusals/confinement.js';
import { type ByteString, shown } from '../../tar/bytes.js';

/**
 * The failure of an entry. A name or size that no filesystem takes is the archive's fault (65), everything else the
 * disk's.
 */
export function entryFailure(error: unknown, path: ByteString, size = 0): Failure {
  const name = errnoName(error);
  const failure = failureOf(error, shown(path), { hint: hintFor(name) });
  const isArchives = name === 'ENAMETOOLONG' || (name === 'EFBIG' && size > largestFile);
  return isArchives ? new Failure(Status.data, failure.what, failure.why, { cause: error }) : failure;
}

/**
 * Bytes that a file of ext4 may have, the least of the filesystems that have all that an image needs. FAT ends at 4
 * GiB, and RLIMIT_FSIZE where it likes.
 */
const largestFile = 2 ** 44;

function hintFor(errno: string | undefined): string | undefined {
  if (errno === 'EACCES') return lackingHint(['DAC_OVERRIDE']);
  return errno === 'EPERM' ? (lackingHint(['FOWNER']) ?? unable) : undefined;
}

/**
 * symlink(2), link(2), mknod(2), and chmod(2) of setuid. What a privilege is needed for is not a failure (unset.ts).
 */
const unable =
  'its filesystem lacks it, as FAT has no links and modes: ext4, xfs, btrfs and tmpfs have all that an image needs';
