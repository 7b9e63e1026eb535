/** What the kernel says of this process in /proc/self/status: proc_pid_status(5). */
import { readFileSync } from 'node:fs';

export function ownStatus(): string {
  return readFileSync('/proc/self/status', 'latin1');
}

/** A set that the status shows as a mask in hexadecimal: the numbers of its bits. */
export function statusBits(status: string, field: string): number[] {
  const mask = BigInt(`0x${new RegExp(`^${field}:\\s*([0-9a-f]+)$`, 'm').exec(status)?.[1] ?? '0'}`);
  return Array.from({ length: 64 }, (_, bit) => bit).filter((bit) => (mask >> BigInt(bit)) & 1n);
}
