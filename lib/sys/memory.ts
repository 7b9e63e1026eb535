/** Memory outside of the JavaScript heap. It keeps its address, and a child can share it. */
import { errnoText, Failure } from '../base/failure.js';
import { Status } from '../base/status.js';
import { ftruncate, mmap, mprotect } from './calls.js';
import { MAP, PROT } from './constants.js';
import { viewMemory } from './ffi.js';
import { SyscallError } from './syscall.js';

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

/**
 * Maps machine code for execution and returns its address. The memory is first writable and then executable, never
 * both. On arm64 the change of protection also makes the kernel synchronize instruction and data caches.
 */
export function mapCode(code: Buffer): number {
  const address = mmap(null, code.length, PROT.READ | PROT.WRITE, MAP.PRIVATE | MAP.ANONYMOUS, -1, 0);
  viewMemory(address, code.length).set(code);
  try {
    mprotect(address, code.length, PROT.READ | PROT.EXEC);
  } catch (error) {
    throw error instanceof SyscallError ? unexecutable(error) : error;
  }
  return address;
}

/**
 * Node itself lives only with --jitless where this is refused. A caller may take EACCES for that of a file, but no
 * `Failure`.
 */
function unexecutable(error: SyscallError): Failure {
  return new Failure(Status.notPermitted, error.call, errnoText(error.code), {
    cause: error,
    hint: 'memory may not be made executable here: MemoryDenyWriteExecute of a unit forbids that, and SELinux without sudo setsebool allow_execmem 1',
  });
}
