import { ppoll } from './calls.js';

const POLLERR = 8;

/**
 * Whether the pipe that `fd` writes to still has a reader: poll(2) reports POLLERR when it has none. True for anything
 * but a pipe. Throws `SyscallError`.
 */
export function hasReader(fd: number): boolean {
  const pollfd = Buffer.alloc(8);
  pollfd.writeInt32LE(fd, 0);
  const noWait = Buffer.alloc(16);
  ppoll(pollfd, 1, noWait, null, 8);
  return (pollfd.readInt16LE(6) & POLLERR) === 0;
}
