/** Memory outside the JavaScript heap: it keeps its address, and what is shared with a child stays shared. */
import { ftruncate, mmap, mprotect } from './calls.js';
import { MAP, PROT } from './constants.js';
import { viewMemory } from './ffi.js';

/** A hint where to map what another image is to map at the same address: far from where the kernel puts things by itself. */
const quietPlace = 0x10_0000_0000;

/** A region to allocate from, front to back. Pages that nobody touches cost nothing. Lives as long as the process. */
export class Arena {
  readonly address: number;
  readonly bytes: Buffer;
  #used = 0;

  /** `file` is a memory file to be the region; without one it is anonymous. */
  constructor(size: number, file?: number) {
    if (file === undefined) {
      this.address = mmap(null, size, PROT.READ | PROT.WRITE, MAP.SHARED | MAP.ANONYMOUS, -1, 0);
    } else {
      ftruncate(file, size);
      this.address = mmap(quietPlace, size, PROT.READ | PROT.WRITE, MAP.SHARED, file, 0);
    }
    this.bytes = viewMemory(this.address, size);
  }

  /** Zeroed memory of `size` bytes, aligned to 16; returns its offset. Throws RangeError when the arena is full. */
  allocate(size: number): number {
    const offset = this.#used;
    this.#used += (size + 15) & ~15;
    if (this.#used > this.bytes.length) throw new RangeError(`arena of ${this.bytes.length} bytes is full`);
    return offset;
  }
}

/**
 * Maps machine code for execution and returns its address. Written first and made executable afterwards, never both at
 * once; changing the protection also makes the kernel bring instruction and data caches into line on arm64.
 */
export function mapCode(code: Buffer): number {
  const address = mmap(null, code.length, PROT.READ | PROT.WRITE, MAP.PRIVATE | MAP.ANONYMOUS, -1, 0);
  viewMemory(address, code.length).set(code);
  mprotect(address, code.length, PROT.READ | PROT.EXEC);
  return address;
}
