/** What can be read or written: poll(2), and FIONREAD of pipe(7). */
import { ioctlMemory, ppoll } from '../syscalls/calls.js';
import { TIO } from '../syscalls/constants.js';
import { EINTR } from '../syscalls/errno.js';
import { isErrno, SyscallError } from '../syscalls/syscall.js';

/** POLL*: what is asked for, and what is told. */
export const POLL = { IN: 1, ERR: 8, HUP: 16 } as const;

/**
 * Waits, up to `timeoutNs` or for ever, until one of the descriptors can be read, or has an error or an end. Returns
 * the POLL* of each; 0 when a signal has ended the wait. Throws `SyscallError`.
 */
export function poll(fds: readonly number[], timeoutNs?: number): number[] {
  const asked = Buffer.alloc(8 * fds.length);
  fds.forEach((fd, i) => {
    asked.writeInt32LE(fd, 8 * i);
    asked.writeInt16LE(POLL.IN, 8 * i + 4);
  });
  const timeout = Buffer.alloc(16);
  timeout.writeBigInt64LE(BigInt(timeoutNs ?? 0), 8);
  const ready = ppoll.try(asked, fds.length, timeoutNs === undefined ? null : timeout, null, 8);
  if (isErrno(ready) && ready !== -EINTR) throw new SyscallError('ppoll', -ready, 'ppoll()');
  return fds.map((_, i) => asked.readInt16LE(8 * i + 6));
}

/**
 * Whether the pipe that `fd` writes to still has a reader: poll(2) reports POLLERR when it has none. True for anything
 * but a pipe.
 */
export function hasReader(fd: number): boolean {
  return (poll([fd], 0)[0]! & POLL.ERR) === 0;
}

/** How many bytes are in a pipe and have not been read. 0 for what has no such number. */
export function unreadIn(fd: number): number {
  const bytes = Buffer.alloc(4);
  return isErrno(ioctlMemory.try(fd, TIO.CINQ, bytes)) ? 0 : bytes.readInt32LE();
}
