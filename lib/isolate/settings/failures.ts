import { Failure } from '../../base/failure.js';
import { Status } from '../../base/status.js';

/** A word of the command line is wrong: `what` names it. */
export function usage(what: string, why: string, hint?: string): Failure {
  return new Failure(Status.usage, what, why, { hint });
}

/** No container can be made with that: `what` names it. */
export function refused(what: string, why: string, hint?: string): Failure {
  return new Failure(Status.isolate, what, why, { hint });
}
