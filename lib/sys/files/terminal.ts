import { ioctlMemory } from '../syscalls/calls.js';
import { TC } from '../syscalls/constants.js';
import { isErrno } from '../syscalls/syscall.js';

/** Whether a descriptor is a terminal, tested as isatty(3) does it. Node's own function would load several modules. */
export function isTerminal(fd: number): boolean {
  return !isErrno(ioctlMemory.try(fd, TC.GETS, Buffer.alloc(64)));
}
