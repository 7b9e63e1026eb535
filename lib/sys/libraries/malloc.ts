/** Settings of the C library's malloc. */
import { libraryFunctions } from '../ffi/ffi.js';

/** malloc.h of the GNU C library. */
const trimThreshold = -1;

/**
 * Lets the process keep up to so many freed bytes for later use. Memory that was given back to the kernel would cost a
 * page fault for each 4 KiB, and be cleared again. Does nothing without the GNU C library. Source: mallopt(3),
 * M_TRIM_THRESHOLD.
 */
export function keepFreedMemory(bytes: number): void {
  const libc = libraryFunctions(null);
  if (libc?.has('mallopt')) libc.plain('mallopt', ['int64_t', 'int64_t'])(trimThreshold, bytes);
}
