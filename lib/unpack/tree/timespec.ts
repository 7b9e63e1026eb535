/** Times as the kernel takes them: utimensat(2). */
import type { Time } from '../../tar/pax.js';

/** Bytes of `struct timespec[2]`: access and modification. */
export const timespecsBytes = 32;

const shared = Buffer.alloc(timespecsBytes);

/** `struct timespec[2]` with both times set to `time`; valid until the next call. */
export function timespecs(time: Time): Buffer {
  writeTimespecs(shared, 0, time);
  return shared;
}

/** The same into a buffer of the caller's. */
export function writeTimespecs(buffer: Buffer, at: number, { seconds, nanoseconds }: Time): void {
  for (let to = at; to < at + timespecsBytes; to += 16) {
    writeInt64(buffer, seconds, to);
    writeInt64(buffer, nanoseconds, to + 8);
  }
}

/** Without BigInt, which would take longer than the system call. */
function writeInt64(buffer: Buffer, value: number, at: number): void {
  const high = Math.floor(value / 2 ** 32);
  buffer.writeUInt32LE(value - high * 2 ** 32, at);
  buffer.writeInt32LE(high, at + 4);
}
