/** Memory outside of the JavaScript heap. It keeps its address, and a child can share it. */

import { viewMemory } from '../ffi/ffi.js';
import { ftruncate, mmap } from './calls.js';
import { MAP, PROT } from './constants.js';

/**
 * An address for memory that another program has to map at the same place: far from where the kernel maps things by
 * itself.
 */
const quietPlace = 0x10_0000_0000;

/** A region to allocate from, front to back. Untouched pages take no memory. It lives as long as the process. */
export class Arena {
  readonly address: number;
  readonly bytes: Buffer;
  private used = 0;

  /** `file` is a memory file for the region; without one the region is anonymous memory. */
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
    const offset = this.used;
    this.used += (size + 15) & ~15;
    if (this.used > this.bytes.length) throw new RangeError(`arena of ${this.bytes.length} bytes is full`);
    return offset;
  }
}
