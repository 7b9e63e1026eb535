/** Receiving a file descriptor through a socket: unix(7), SCM_RIGHTS; cmsg(3). */

import { Arena } from '../syscalls/arena.js';
import { recvmsg } from '../syscalls/calls.js';
import { MSG } from '../syscalls/constants.js';

/**
 * Waits for one byte with a descriptor; undefined when the other side has gone, or has sent none. Throws
 * `SyscallError`.
 */
export function receiveDescriptor(socket: number): number | undefined {
  const arena = new Arena(4096);
  const at = (size: number) => arena.allocate(size);
  const put = (offset: number, value: number) => arena.bytes.writeBigUInt64LE(BigInt(value), offset);
  const data = at(1);
  const vector = at(16);
  const control = at(24);
  const header = at(56);
  put(vector, arena.address + data);
  put(vector + 8, 1);
  put(header + 16, arena.address + vector);
  put(header + 24, 1);
  put(header + 32, arena.address + control);
  put(header + 40, 24);
  const received = recvmsg(socket, arena.address + header, MSG.CMSG_CLOEXEC);
  // CMSG_LEN(sizeof(int)): the kernel has left it at 0 when there was no descriptor.
  const length = arena.bytes.readBigUInt64LE(control);
  return received === 1 && length === 20n ? arena.bytes.readInt32LE(control + 16) : undefined;
}
