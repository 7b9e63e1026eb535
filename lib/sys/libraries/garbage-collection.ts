/**
 * Keeps memory small during downloads. Their chunks are Buffers outside of V8's heap that live only for a moment, but
 * V8 frees them only after some 64 MB. A minor garbage collection more often takes no time that could be measured, and
 * saves 20 to 60 MB.
 */

/** Bytes between two collections. */
const interval = 8 << 20;
/** Bytes of freed memory that the process keeps for the next chunks. */
const kept = 64 << 20;

let since = 0;
let collect: ((options: { type: 'minor' }) => void) | undefined;

/** To be called when so many bytes have come that will soon be garbage. */
export function received(bytes: number): void {
  since += bytes;
  if (since < interval) return;
  since = 0;
  if (!collect) {
    collect = collector();
    // Not awaited, since it only makes a long download faster.
    void import('./malloc.js').then(({ keepFreedMemory }) => keepFreedMemory(kept));
  }
  collect({ type: 'minor' });
}

/** The function `gc` of V8. It exists only in contexts that are made after the flag is set. */
function collector(): typeof collect & {} {
  process.getBuiltinModule('node:v8').setFlagsFromString('--expose-gc');
  return process.getBuiltinModule('node:vm').runInNewContext('gc');
}
