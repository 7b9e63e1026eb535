/** Retries with exponential back-off and jitter, or after the time in Retry-After. */
import { Status } from '../../base/status.js';
import { warn } from '../../base/trace.js';
import { RegistryFailure } from '../transport/failure.js';

export interface RetryPolicy {
  /** How often a request is sent again before it fails; progress resets the count. */
  retries: number;
  /** How many bytes since the last failure count as progress. */
  leastProgress: number;
  /**
   * Whether to retry when the host does not answer or asks to come back later. False when there is another host to ask.
   */
  insist: boolean;
  /** Milliseconds before the first retry. Each further one doubles it. */
  firstDelay: number;
  /** The longest delay in milliseconds, unless Retry-After asks for more. */
  maxDelay: number;
  /** The longest Retry-After that is waited for, in seconds. With a longer one the command ends with status 75. */
  maxRetryAfter: number;
}

export const defaultRetryPolicy: RetryPolicy = {
  retries: 4,
  leastProgress: 1,
  insist: true,
  firstDelay: 300,
  maxDelay: 10_000,
  maxRetryAfter: 30,
};

/**
 * Runs `attempt` until it succeeds, fails for good, or has failed too often. `progress` says how far the work has ever
 * come: when it has grown by enough since the last failure, the count starts again.
 */
export async function retrying<T>(
  policy: RetryPolicy,
  attempt: () => Promise<T>,
  progress: () => number = () => 0,
): Promise<T> {
  let failures = 0;
  let reached = progress();
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof RegistryFailure) || !error.retryable) throw error;
      if (!policy.insist && (error.unreachable || error.status === Status.tryLater)) throw error;
      if (progress() >= reached + policy.leastProgress) failures = 0;
      reached = progress();
      failures += 1;
      if (failures > policy.retries || (error.retryAfter ?? 0) > policy.maxRetryAfter)
        throw error.afterRetries(failures - 1);
      const delay = delayOf(policy, failures, error.retryAfter);
      // A single retry often helps, and is not worth a line. Several without a word would look like a command that hangs.
      if (error.status === Status.tryLater || failures > 1)
        warn(`${error.what}: ${error.why}; retry ${failures} of ${policy.retries} in ${(delay / 1000).toFixed(1)} s`);
      await new Promise((resolve) => setTimeout(resolve, delay));
    }
  }
}

/** Milliseconds to wait. Half of it is random, so that clients that failed together do not come back together. */
function delayOf({ firstDelay, maxDelay }: RetryPolicy, failures: number, retryAfter: number | undefined): number {
  if (retryAfter !== undefined) return retryAfter * 1000 + Math.random() * firstDelay;
  const full = Math.min(maxDelay, firstDelay * 2 ** (failures - 1));
  return full / 2 + (Math.random() * full) / 2;
}
