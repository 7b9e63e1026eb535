/**
 * Sparse files: which stretches of a file are in the archive; everything else is a hole. Source: GNU tar manual,
 * "Storing Sparse Files": the old GNU format (type `S`), and the PAX formats 0.0, 0.1 and 1.0.
 */
import { fromBytes } from './bytes.js';
import { damaged, numberField } from './fields.js';
import { type PaxRecords, paxNumber } from './pax.js';

export interface Stretch {
  offset: number;
  length: number;
}

export interface SparseMap {
  stretches: Stretch[];
  /** Bytes of the file with its holes. */
  realSize: number;
}

/** The map in a PAX header of format 0.0 or 0.1; `undefined` when there is none. */
export function paxSparseMap(records: PaxRecords): SparseMap | undefined {
  const map = records.get('GNU.sparse.map');
  const count = paxNumber(records, 'GNU.sparse.numblocks');
  // In format 0.0 a file that is one single hole has no record of a stretch.
  if (map === undefined && count !== 0) return undefined;
  const realSize = paxNumber(records, 'GNU.sparse.size');
  if (realSize === undefined) throw damaged('a sparse file has no size');
  const numbers = !map || map.length === 0 ? [] : fromBytes(map).split(',').map(decimal);
  if (count !== undefined && count * 2 !== numbers.length) throw damaged('a sparse map is not as long as it says');
  return { stretches: pairs(numbers), realSize };
}

/**
 * Whether the PAX header announces format 1.0, where the map comes before the content. Throws `Failure` 65 for a later
 * format: read as a plain file, it would have its map as content.
 */
export function isSparse10(records: PaxRecords): boolean {
  const major = paxNumber(records, 'GNU.sparse.major') ?? 0;
  const minor = paxNumber(records, 'GNU.sparse.minor') ?? 0;
  if (major > 1 || (major === 1 && minor > 0)) throw damaged(`a sparse file of the unknown format ${major}.${minor}`);
  return major === 1;
}

/** Reads the map of format 1.0 block by block: one decimal number a line. */
export class Sparse10Reader {
  private text = '';
  private wanted: number | undefined;
  private numbers: number[] = [];

  /** Takes a block; true when the map is complete, which is then `stretches`. */
  push(block: Buffer): boolean {
    const lines = (this.text + fromBytes(block)).split('\n');
    this.text = lines.pop()!;
    for (const line of lines) {
      if (this.wanted === undefined) {
        this.wanted = decimal(line) * 2;
        if (this.wanted > maxStretches * 2) throw damaged('a sparse map is too long');
      } else {
        this.numbers.push(decimal(line));
      }
      if (this.numbers.length === this.wanted) return true;
    }
    // A number has at most 16 digits: a block without a line end holds none.
    if (this.text.length > 512) throw damaged('a sparse map is not a list of numbers');
    return false;
  }

  get stretches(): Stretch[] {
    return pairs(this.numbers);
  }
}

/**
 * The map is kept in memory: 60 MB for so many stretches. A map in a PAX header is shorter, since the header is
 * limited.
 */
export const maxStretches = 500_000;

/** The stretches in a block of the old GNU format: `count` pairs of 12-byte numbers at `at`. */
export function oldStretches(block: Buffer, at: number, count: number): Stretch[] {
  const found: Stretch[] = [];
  for (let i = 0; i < count; i++, at += 24) {
    if (block[at] === 0) break;
    const offset = numberField(block, at, 12);
    const length = numberField(block, at + 12, 12);
    if (offset === undefined || length === undefined) throw damaged('a sparse map holds what is not a number');
    found.push({ offset, length });
  }
  return found;
}

/** Throws `Failure` 65 unless the stretches are in order, inside the file, and together as long as the content. */
export function checkSparse({ stretches, realSize }: SparseMap, packed: number): void {
  let end = 0;
  let total = 0;
  for (const { offset, length } of stretches) {
    if (offset < end || offset + length > realSize) throw damaged('a sparse map is out of order or leaves the file');
    end = offset + length;
    total += length;
  }
  if (total !== packed) throw damaged('a sparse map does not fit the content of its file');
}

function pairs(numbers: number[]): Stretch[] {
  if (numbers.length % 2 !== 0) throw damaged('a sparse map has an offset without a length');
  const found: Stretch[] = [];
  for (let i = 0; i < numbers.length; i += 2) found.push({ offset: numbers[i]!, length: numbers[i + 1]! });
  return found;
}

function decimal(text: string): number {
  if (!/^[0-9]{1,16}$/.test(text)) throw damaged('a sparse map holds what is not a number');
  return Number(text);
}
