/** Memory for machine code. */
import { errnoText, Failure } from '../../base/failure.js';
import { Status } from '../../base/status.js';
import { viewMemory } from '../ffi/ffi.js';
import { mmap, mprotect } from '../syscalls/calls.js';
import { MAP, PROT } from '../syscalls/constants.js';
import { SyscallError } from '../syscalls/syscall.js';

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
