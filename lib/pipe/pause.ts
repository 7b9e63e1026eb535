/** Stands still for some milliseconds, with the whole event loop: for what has to be tried again before anything else. */
export function pause(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}
