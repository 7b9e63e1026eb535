/**
 * One 512-byte header block of an archive (POSIX.1-1988 ustar, GNU tar, v7). `Header` of the `tar` package checks the
 * sum and decodes octal and base-256 numbers. What it does not do is here: names as bytes, device numbers of GNU
 * headers, and a size that is exact or refused (it reads `12x` as 10, and 0 for a file whose name ends in a slash: then
 * what follows would be taken for a header).
 */
import { Header } from 'tar/header';
import { Failure } from '../pipe/failure.js';
import { Status } from '../pipe/status.js';
import { type ByteString, fromBytes } from './bytes.js';

export const blockSize = 512;

export interface RawHeader {
  name: ByteString;
  linkname: ByteString;
  /** The type flag as it stands in the block; NUL is `'0'`. */
  typeflag: string;
  mode: number;
  uid: number;
  gid: number;
  size: number;
  /** Seconds since the epoch. */
  mtime: number;
  major: number;
  minor: number;
}

export function damaged(why: string, cause?: unknown): Failure {
  return new Failure(Status.data, 'archive', why, { cause });
}

/** Decodes the block at `at`; `undefined` for a block of zeros. Throws `Failure` 65 for what is no header. */
export function decodeHeader(block: Buffer, at: number): RawHeader | undefined {
  const header = decode(block, at);
  if (header.nullBlock && isZero(block, at)) return undefined;
  if (!header.cksumValid) throw damaged('the checksum of a header is wrong');
  const size = numberField(block, at + 124, 12);
  if (size === undefined && !isBlank(block, at + 124, 12)) throw damaged('a header has a size that is no number');
  const ustar = fromBytes(block, at + 257, at + 262) === 'ustar';
  const flag = block[at + 156]!;
  const posix = ustar && block[at + 262] === 0;
  const prefix = posix ? field(block, at + 345, 155) : '';
  const name = field(block, at, 100);
  return {
    name: prefix === '' ? name : `${prefix}/${name}`,
    linkname: field(block, at + 157, 100),
    typeflag: flag === 0 ? '0' : String.fromCharCode(flag),
    mode: (header.mode ?? 0) & 0o7777,
    uid: header.uid ?? 0,
    gid: header.gid ?? 0,
    size: size ?? 0,
    mtime: seconds(header.mtime),
    major: ustar ? device(block, at + 329) : 0,
    minor: ustar ? device(block, at + 337) : 0,
  };
}

function decode(block: Buffer, at: number): Header {
  try {
    return new Header(block, at);
  } catch (error) {
    throw damaged('a header has a number that is out of range', error);
  }
}

function seconds(time: Date | undefined): number {
  const value = time === undefined ? 0 : time.getTime() / 1000;
  return Number.isFinite(value) ? Math.floor(value) : 0;
}

/** Bytes up to the first NUL. */
function field(block: Buffer, at: number, length: number): ByteString {
  let end = at;
  while (end < at + length && block[end] !== 0) end += 1;
  return fromBytes(block, at, end);
}

function isBlank(block: Buffer, at: number, length: number): boolean {
  for (let i = at; i < at + length; i++) if (block[i] !== 0 && block[i] !== 0x20) return false;
  return true;
}

function isZero(block: Buffer, at: number): boolean {
  for (let i = at; i < at + blockSize; i++) if (block[i] !== 0) return false;
  return true;
}

/** A device number, octal or base-256. `Header` knows it only behind the magic of POSIX, not that of GNU. */
function device(block: Buffer, at: number): number {
  return numberField(block, at, 8) ?? 0;
}

/**
 * A number of `length` bytes at `at`: octal with spaces and NULs around it, or base-256 (GNU tar, first bit set).
 * `undefined` when it is empty, damaged, negative or beyond what JavaScript holds exactly.
 */
export function numberField(block: Buffer, at: number, length: number): number | undefined {
  if (block[at]! & 0x80) {
    let value = block[at]! & 0x7f;
    for (let i = at + 1; i < at + length; i++) value = value * 256 + block[i]!;
    return Number.isSafeInteger(value) && !(block[at]! & 0x40) ? value : undefined;
  }
  const text = field(block, at, length).trim();
  return /^[0-7]+$/.test(text) ? Number.parseInt(text, 8) : undefined;
}
