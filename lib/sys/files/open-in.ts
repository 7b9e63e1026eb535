import { openat2 } from '../syscalls/calls.js';
import { EAGAIN } from '../syscalls/errno.js';

/**
 * `openat2` of a path that must stay inside a directory (RESOLVE_IN_ROOT or RESOLVE_BENEATH). Returns a descriptor or a
 * negative errno, but never EAGAIN: the kernel gives that when anybody on the system renames something while it
 * resolves a `..`, and openat2(2) says to try again.
 */
export function openIn(directory: number, path: string | Uint8Array, how: Buffer): number {
  for (;;) {
    const fd = openat2.try(directory, path, how, how.length);
    if (fd !== -EAGAIN) return fd;
  }
}
