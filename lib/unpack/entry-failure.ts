import { errnoName, Failure, failureOf } from '../pipe/failure.js';
import { Status } from '../pipe/status.js';
import { type ByteString, shown } from './bytes.js';

/** What failed for an entry: names and sizes that no filesystem takes are the archive's fault, all else is the disk's. */
export function entryFailure(error: unknown, path: ByteString): Failure {
  const isArchives = errnoName(error) === 'ENAMETOOLONG' || errnoName(error) === 'EFBIG';
  const failure = failureOf(error, shown(path));
  return isArchives ? new Failure(Status.data, failure.what, failure.why, { cause: error }) : failure;
}
