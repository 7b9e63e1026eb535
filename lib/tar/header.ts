/**
 * One 512-byte header block of an archive (POSIX.1-1988 ustar, GNU tar, v7). Most blocks are plain and decoded here
 * alone. For all others `Header` of the `tar` package checks the sum and decodes times before 1970. It does not suffice
 * for the rest: names are bytes, GNU headers have device numbers, and a wrong number has to be an error. (It reads a
 * size of `12x` as 10 and an owner of `x` as none, which would be root. It takes a file whose name ends in a slash to
 * be empty, and so its content for the next header.)
 */
import { Header } from 'tar/header';
import type { ByteString } from './bytes.js';
import { blockSize, damaged, numberField, sumOf, textField } from './fields.js';

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

/** Decodes the block at `at`; `undefined` for a block of zeros. Throws `Failure` 65 for what is no header. */
export function decodeHeader(block: Buffer, at: number): RawHeader | undefined {
  const ustar = hasMagic(block, at + 257, 'ustar');
  const numbers = plainNumbers(block, at) ?? oddNumbers(block, at);
  if (!numbers) return undefined;
  const flag = block[at + 156]!;
  const prefix = ustar ? prefixOf(block, at) : '';
  const name = textField(block, at, 100);
  return {
    // One by one: a spread takes V8 ten times as long, for every entry.
    mode: numbers.mode,
    uid: numbers.uid,
    gid: numbers.gid,
    size: numbers.size,
    mtime: numbers.mtime,
    name: prefix === '' ? name : `${prefix}/${name}`,
    linkname: textField(block, at + 157, 100),
    typeflag: flag === 0 ? '0' : String.fromCharCode(flag),
    // `Header` reads device numbers only after the magic of POSIX, not after that of GNU.
    major: ustar ? deviceField(block, at + 329) : 0,
    minor: ustar ? deviceField(block, at + 337) : 0,
  };
}

/** star has times after what comes before the name. */
const prefixBytes = 155;
const starPrefixBytes = 131;

/**
 * What comes before a long name. After the magic of GNU tar there are times in this place, but Go until 1.8 wrote the
 * prefix there all the same: in layers that docker made then, for files with a large id and a long name. Such a prefix
 * is no number. Go's archive/tar, and so every other tool for images, reads these to this day.
 */
function prefixOf(block: Buffer, at: number): ByteString {
  const isGnu = block[at + 262] !== 0;
  if (isGnu && isTime(block, at + 345) && isTime(block, at + 357)) return '';
  const length = !isGnu && hasMagic(block, at + 508, 'tar\0') ? starPrefixBytes : prefixBytes;
  const prefix = textField(block, at + 345, length);
  return isGnu && /[\x80-\xff]/.test(prefix) ? '' : prefix;
}

/** Whether the field of a time that is only sometimes given is one, or is empty. */
function isTime(block: Buffer, at: number): boolean {
  return block[at] === 0 || numberField(block, at, 12) !== undefined || isBlank(block, at, 12);
}

/**
 * -1 when it is not a number, which is not an error here: entries that are no devices may have anything in this field.
 */
function deviceField(block: Buffer, at: number): number {
  const plain = octal(block, at, 8);
  return plain >= 0 ? plain : (numberField(block, at, 8) ?? (isBlank(block, at, 8) ? 0 : -1));
}

type Numbers = Pick<RawHeader, 'mode' | 'uid' | 'gid' | 'size' | 'mtime'>;

/**
 * The numbers of a plain block: all are octal, and the sum is right. `undefined` for any other block; there are few.
 * This takes a tenth of the time of `Header`, and a layer has tens of thousands of blocks.
 */
function plainNumbers(block: Buffer, at: number): Numbers | undefined {
  const sum = octal(block, at + 148, 8);
  if (sum < 0 || sum !== sumOf(block, at)) return undefined;
  const mode = octal(block, at + 100, 8);
  const uid = octal(block, at + 108, 8);
  const gid = octal(block, at + 116, 8);
  const size = octal(block, at + 124, 12);
  const mtime = octal(block, at + 136, 12);
  if (mode < 0 || uid < 0 || gid < 0 || size < 0 || mtime < 0) return undefined;
  return { mode: mode & 0o7777, uid, gid, size, mtime };
}

/** A number in octal digits, from the first byte up to a NUL or a blank; -1 for anything else. */
function octal(block: Buffer, at: number, length: number): number {
  let value = 0;
  for (let i = at; i < at + length; i++) {
    const byte = block[i]!;
    if (byte >= 0x30 && byte <= 0x37) value = value * 8 + (byte - 0x30);
    else return i > at && (byte === 0 || byte === 0x20) ? value : -1;
  }
  return value;
}

/** The same for all other blocks: base-256, blanks in front, fields left empty, and what is damaged. */
function oddNumbers(block: Buffer, at: number): Numbers | undefined {
  if (isZero(block, at)) return undefined;
  const header = decode(block, at);
  if (!header.cksumValid && !hasSignedSum(block, at)) throw damaged('the checksum of a header is wrong');
  const isBefore1970 = (block[at + 136]! & 0xc0) === 0xc0;
  return {
    mode: numberIn(block, at + 100, 8, 'mode') & 0o7777,
    uid: numberIn(block, at + 108, 8, 'user id'),
    gid: numberIn(block, at + 116, 8, 'group id'),
    size: numberIn(block, at + 124, 12, 'size'),
    mtime: isBefore1970 ? seconds(header.mtime) : numberIn(block, at + 136, 12, 'time'),
  };
}

/** 0 for a field that is left empty. */
function numberIn(block: Buffer, at: number, length: number, what: string): number {
  const value = numberField(block, at, length);
  if (value === undefined && !isBlank(block, at, length)) throw damaged(`a header has a ${what} that is not a number`);
  return value ?? 0;
}

/** Some old programs summed signed bytes, as `char` in their C was. GNU tar and Go read those archives as well. */
function hasSignedSum(block: Buffer, at: number): boolean {
  let sum = sumOf(block, at);
  for (let i = at; i < at + blockSize; i++) if (block[i]! > 0x7f) sum -= 0x100;
  return numberField(block, at + 148, 8) === sum;
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

function isBlank(block: Buffer, at: number, length: number): boolean {
  for (let i = at; i < at + length; i++) if (block[i] !== 0 && block[i] !== 0x20) return false;
  return true;
}

function hasMagic(block: Buffer, at: number, magic: string): boolean {
  for (let i = 0; i < magic.length; i++) if (block[at + i] !== magic.charCodeAt(i)) return false;
  return true;
}

function isZero(block: Buffer, at: number): boolean {
  for (let i = at; i < at + blockSize; i++) if (block[i] !== 0) return false;
  return true;
}
