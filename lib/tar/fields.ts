/** The fields of a header block. Source: POSIX pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format". */
import { Failure } from '../base/failure.js';
import { Status } from '../base/status.js';
import { type ByteString, fromBytes } from './bytes.js';

export const blockSize = 512;

/** The failure for an archive that cannot be read. */
export function damaged(why: string, cause?: unknown): Failure {
  return new Failure(Status.data, 'archive', why, { cause });
}

/** The sum of a block's bytes. Those of the checksum field count as blanks. */
export function sumOf(block: Buffer, at: number): number {
  let sum = 8 * 0x20;
  for (let i = at; i < at + 148; i++) sum += block[i]!;
  for (let i = at + 156; i < at + blockSize; i++) sum += block[i]!;
  return sum;
}

/** The bytes of a field, up to the first NUL. */
export function textField(block: Buffer, at: number, length: number): ByteString {
  let end = at;
  while (end < at + length && block[end] !== 0) end += 1;
  return fromBytes(block, at, end);
}

/**
 * A number of `length` bytes at `at`: octal with spaces and NULs around it, or base-256 (GNU tar, first bit set).
 * `undefined` when it is empty, damaged, negative or beyond what JavaScript holds exactly.
 */
export function numberField(block: Buffer, at: number, length: number): number | undefined {
  if (block[at]! & 0x80) {
    let value = block[at]! & 0x7f;
    for (let i = at + 1; i < at + length; i++) value = value * 256 + block[i]!;
    // A negative number has its second bit set as well, and is far beyond that.
    return Number.isSafeInteger(value) ? value : undefined;
  }
  const end = at + length;
  let start = at;
  // An old tar wrote the NUL of a field that was full into the next one: GNU tar and Go pass over it as well.
  while (start < end && block[start] === 0) start += 1;
  const text = textField(block, start, end - start).trim();
  return /^[0-7]+$/.test(text) ? Number.parseInt(text, 8) : undefined;
}
