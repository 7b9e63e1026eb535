/** The memory that holds Node's program file: elf(5), getauxval(3). */
import { viewMemory } from '../ffi/ffi.js';
import { kernelBytes } from '../procfs/status.js';
import { madvise } from '../syscalls/calls.js';
import { MADV } from '../syscalls/constants.js';
import { hasNodeOptions } from './exit.js';

const AT = { PHDR: 3, PHNUM: 5, PAGESZ: 6 } as const;
const PT = { LOAD: 1, PHDR: 6 } as const;
const PF = { W: 2 } as const;
/** Of a program header, for 64 bits. */
const headerBytes = 56;

/**
 * Takes the pages of the program file out of this process, which are 32 of the 45 MB that a start of Node leaves
 * resident. They stay in the kernel's cache, and come back one by one when they are touched: what a process that waits
 * for another does not use, it does not hold. This takes two milliseconds.
 *
 * Only segments are taken that are never writable: what the dynamic linker has changed would come back as it is in the
 * file. With --use-largepages Node's code is in memory of no file, and would not come back at all.
 */
export function releaseProgramPages(): void {
  const [table, count, pageSize] = auxiliaryValues(AT.PHDR, AT.PHNUM, AT.PAGESZ);
  if (table === undefined || count === undefined || pageSize === undefined || hasNodeOptions()) return;
  const headers = programHeaders(viewMemory(table, count * headerBytes));
  const own = headers.find(({ type }) => type === PT.PHDR);
  if (own === undefined) return;
  for (const { type, flags, address, size } of headers) {
    if (type !== PT.LOAD || (flags & PF.W) !== 0) continue;
    const start = table - own.address + address;
    const before = start % pageSize;
    // Where it is refused, as for pages that are locked, they stay: nothing else depends on it.
    madvise.try(start - before, before + size, MADV.DONTNEED);
  }
}

/** What the kernel has told the program of these keys, where it shows that. */
function auxiliaryValues(...keys: number[]): (number | undefined)[] {
  const pairs = kernelBytes('/proc/self/auxv') ?? Buffer.alloc(0);
  const vector = new Map<number, number>();
  for (let at = 0; at + 16 <= pairs.length; at += 16) vector.set(u64(pairs, at), u64(pairs, at + 8));
  return keys.map((key) => vector.get(key));
}

/** With the addresses of the file. Those in memory may all be higher by the same. */
function programHeaders(table: Buffer) {
  return Array.from({ length: table.length / headerBytes }, (_, i) => {
    const at = i * headerBytes;
    return {
      type: table.readUInt32LE(at),
      flags: table.readUInt32LE(at + 4),
      address: u64(table, at + 16),
      size: u64(table, at + 40),
    };
  });
}

function u64(bytes: Buffer, at: number): number {
  return Number(bytes.readBigUInt64LE(at));
}
