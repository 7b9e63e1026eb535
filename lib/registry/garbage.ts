/**
 * Memory of long transfers. Each chunk of a body is a buffer outside V8's heap, and V8 lets some 64 MB of dead ones pile
 * up before it looks. A collection of the young every few megabytes takes less than a millisecond and keeps it flat.
 */
const bytesBetween = 16 * 1024 * 1024;

let since = 0;
let collect: ((options: { type: 'minor' }) => void) | undefined;

/** Counts bytes that came; collects when it is time. */
export function countGarbage(bytes: number): void {
  since += bytes;
  if (since < bytesBetween) return;
  since = 0;
  collect ??= exposeCollector();
  collect({ type: 'minor' });
}

/** V8 hands out its `gc` to contexts that are made while the flag is set. */
function exposeCollector(): (options: { type: 'minor' }) => void {
  process.getBuiltinModule('node:v8').setFlagsFromString('--expose-gc');
  return process.getBuiltinModule('node:vm').runInNewContext('gc');
}
