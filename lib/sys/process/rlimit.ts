/** Limits of this process: getrlimit(2). */
import { prlimit64 } from '../syscalls/calls.js';

/** RLIM_INFINITY. */
const none = 0xffff_ffff_ffff_ffffn;

/** The soft limit of a resource; Infinity when there is none. */
export function softLimit(resource: number): number {
  const limit = Buffer.alloc(16);
  prlimit64(0, resource, null, limit);
  const soft = limit.readBigUInt64LE();
  return soft === none ? Number.POSITIVE_INFINITY : Number(soft);
}
