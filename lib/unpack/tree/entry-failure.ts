import { errnoName, Failure, failureOf } from '../../base/failure.js';
import { Status } from '../../base/status.js';
import { RLIMIT } from '../../sys/constants.js';
import { softLimit } from '../../sys/rlimit.js';
import { type ByteString, shown } from '../../tar/bytes.js';

/**
 * The failure of an entry. A name or size that no filesystem takes is the archive's fault (65), everything else the
 * disk's.
 */
export function entryFailure(error: unknown, path: ByteString): Failure {
  const failure = failureOf(error, shown(path), errnoName(error) === 'EPERM' ? { hint: unable } : {});
  const isArchives = errnoName(error) === 'ENAMETOOLONG' || (errnoName(error) === 'EFBIG' && !isLimited());
  return isArchives ? new Failure(Status.data, failure.what, failure.why, { cause: error }) : failure;
}

/** symlink(2), link(2), mknod(2), and chmod(2) of setuid. What a privilege is needed for is no failure (unset.ts). */
const unable =
  'its filesystem lacks it, as FAT has no links and modes: ext4, xfs, btrfs and tmpfs have all that an image needs';

/** EFBIG may also come from RLIMIT_FSIZE (setrlimit(2)), and is then no fault of the archive. */
function isLimited(): boolean {
  return softLimit(RLIMIT.FSIZE) !== Number.POSITIVE_INFINITY;
}
