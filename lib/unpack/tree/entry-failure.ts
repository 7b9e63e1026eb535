import { errnoName, Failure, failureOf } from '../../pipe/failure.js';
import { Status } from '../../pipe/status.js';
import { RLIMIT } from '../../sys/constants.js';
import { softLimit } from '../../sys/rlimit.js';
import { type ByteString, shown } from '../../tar/bytes.js';

/**
 * The failure of an entry. A name or size that no filesystem takes is the archive's fault (65), everything else the
 * disk's.
 */
export function entryFailure(error: unknown, path: ByteString): Failure {
  const failure = failureOf(error, shown(path));
  const isArchives = errnoName(error) === 'ENAMETOOLONG' || (errnoName(error) === 'EFBIG' && !isLimited());
  return isArchives ? new Failure(Status.data, failure.what, failure.why, { cause: error }) : failure;
}

/** EFBIG may also come from RLIMIT_FSIZE (setrlimit(2)), and is then no fault of the archive. */
function isLimited(): boolean {
  return softLimit(RLIMIT.FSIZE) !== Number.POSITIVE_INFINITY;
}
