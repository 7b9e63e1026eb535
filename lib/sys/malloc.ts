/** Memory of the C library's. */
import { libraryFunctions } from './ffi.js';

/** malloc.h of the GNU C library. */
const trimThreshold = -1;

/**
 * Lets the process keep so many bytes that were freed, for the next that it wants: given back, they cost a page fault for
 * each 4 KiB and are cleared once more. Without the GNU C library nothing changes. Source: mallopt(3), M_TRIM_THRESHOLD.
 */
export function keepFreedMemory(bytes: number): void {
  const libc = libraryFunctions(null);
  if (libc?.has('mallopt')) libc.plain('mallopt', ['int64_t', 'int64_t'])(trimThreshold, bytes);
}
