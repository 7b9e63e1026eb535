/**
 * The chunks of a download are Buffers that live for a moment, outside of V8's heap. V8 itself looks for dead ones when
 * some 64 MB of them have come, which is most of what it takes; a look at the youngest objects, more often, costs
 * nothing that can be measured and saves 30 to 60 MB.
 */
const interval = 8 << 20;
/** Bytes of dead chunks that the next ones take the place of. */
const kept = 64 << 20;

let since = 0;
let collect: ((options: { type: 'minor' }) => void) | undefined;

/** Tells that so many bytes have come and will soon be of no use. */
export function received(bytes: number): void {
  since += bytes;
  if (since < interval) return;
  since = 0;
  if (!collect) {
    collect = collector();
    // Not waited for: it makes a long download faster, and nothing else.
    void import('../sys/malloc.js').then(({ keepFreedMemory }) => keepFreedMemory(kept));
  }
  collect({ type: 'minor' });
}

/** V8 shows `gc` in contexts that are made after the flag was set. */
function collector(): typeof collect & {} {
  process.getBuiltinModule('node:v8').setFlagsFromString('--expose-gc');
  return process.getBuiltinModule('node:vm').runInNewContext('gc');
}
