/**
 * Stops this thread, its event loop included, for some milliseconds: for a retry that must come before anything else.
 */
export function pause(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}
