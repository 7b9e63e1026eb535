import { openat2 } from './calls.js';
import { EAGAIN } from './errno.js';

/**
 * `openat2` of a path that is to stay in a directory (RESOLVE_IN_ROOT or RESOLVE_BENEATH): a descriptor, or a negative errno,
 * but not EAGAIN. That comes when a rename anywhere on the system, in a container too, runs beside a `..`; openat2(2) says to
 * try again.
 */
export function openIn(directory: number, path: string | Uint8Array, how: Buffer): number {
  for (;;) {
    const fd = openat2.try(directory, path, how, how.length);
    if (fd !== -EAGAIN) return fd;
  }
}
