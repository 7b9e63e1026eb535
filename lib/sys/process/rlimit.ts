/** Limits of a process: getrlimit(2). */
import { prlimit64 } from '../syscalls/calls.js';

/** RLIM_INFINITY. */
export const unlimited = 2n ** 64n - 1n;

/** `struct rlimit64`. */
export function structRlimit(soft: bigint, hard: bigint): Buffer {
  return Buffer.from(BigUint64Array.of(soft, hard).buffer);
}

/** The limits of a process on a resource; of this one by default. Throws `SyscallError`. */
export function limitsOn(resource: number, pid = 0): { soft: bigint; hard: bigint } {
  const limits = structRlimit(0n, 0n);
  prlimit64(pid, resource, null, limits);
  return { soft: limits.readBigUInt64LE(0), hard: limits.readBigUInt64LE(8) };
}
