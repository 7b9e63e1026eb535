import { Failure } from '../pipe/failure.js';
import { Status } from '../pipe/status.js';

/** What an image may take, against archives that are made to fill a disk. */
export interface Limits {
  /** Entries of all layers together. */
  entries: number;
  /** Bytes of file content of all layers together. */
  bytes: number;
  /** Directories inside each other. */
  depth: number;
}

export const defaultLimits: Limits = { entries: 10_000_000, bytes: Number.POSITIVE_INFINITY, depth: 512 };

/** An image that is larger than the user allows: nothing is wrong with it. */
export class LimitExceeded extends Failure {
  constructor(what: string, why: string, flag: string) {
    super(Status.data, what, why, { hint: `${flag} sets the limit` });
  }
}
