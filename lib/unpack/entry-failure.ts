import { errnoName, Failure, failureOf } from '../pipe/failure.js';
import { Status } from '../pipe/status.js';
import { RLIMIT } from '../sys/constants.js';
import { softLimit } from '../sys/rlimit.js';
import { type ByteString, shown } from './bytes.js';

/** What failed for an entry: names and sizes that no filesystem takes are the archive's fault, all else is the disk's. */
export function entryFailure(error: unknown, path: ByteString): Failure {
  const failure = failureOf(error, shown(path));
  const isArchives = errnoName(error) === 'ENAMETOOLONG' || (errnoName(error) === 'EFBIG' && !isLimited());
  return isArchives ? new Failure(Status.data, failure.what, failure.why, { cause: error }) : failure;
}

/** setrlimit(2): beyond RLIMIT_FSIZE it is EFBIG as well, and no fault of the archive. */
function isLimited(): boolean {
  return softLimit(RLIMIT.FSIZE) !== Number.POSITIVE_INFINITY;
}
