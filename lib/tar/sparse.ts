/**
 * Sparse files: which stretches of a file are in the archive; everything else is a hole. Source: GNU tar manual,
 * "Storing Sparse Files": the old GNU format (type `S`), and the PAX formats 0.0, 0.1 and 1.0.
 */
import { fromBytes } from './bytes.js';
import type { TarSink } from './entry.js';
import { damaged, numberField } from './fields.js';
import { type PaxRecords, paxNumber } from './pax.js';

interface Stretch {
  offset: number;
  length: number;
}

export interface SparseMap {
  stretches: Stretch[];
  /** Bytes of the file with its holes. */
  realSize: number;
}

/** Reads a map that has blocks of its own in the archive, one at a time. */
export interface SparseMapReader {
  /** Takes the next block. Returns the map when it is complete. */
  push(block: Buffer): SparseMap | undefined;
}

/** The map is kept in memory: 60 MB for so many stretches. A map in a PAX header is shorter: that has a limit. */
const maxStretches = 500_000;

/**
 * The old GNU format: pairs of numbers, 12 bytes each, and behind them a flag that says whether more blocks follow. The
 * first block is the header of the file.
 */
export class OldSparseReader implements SparseMapReader {
  private map: SparseMap | undefined;

  push(block: Buffer): SparseMap | undefined {
    const [start, count] = this.map ? [0, 21] : [386, 4];
    this.map ??= { stretches: [], realSize: asRealSize(numberField(block, 483, 12)) };
    const { stretches } = this.map;
    const end = start + 24 * count;
    for (let at = start; at < end && block[at] !== 0; at += 24) {
      const [offset, length] = [numberField(block, at, 12), numberField(block, at + 12, 12)];
      if (offset === undefined || length === undefined) throw damaged('a sparse map holds what is not a number');
      stretches.push({ offset, length });
    }
    if (stretches.length > maxStretches) throw damaged('a sparse map is too long');
    return block[end] === 0 ? this.map : undefined;
  }
}

/** The map in a PAX header of format 0.0 or 0.1; `undefined` when there is none. */
export function paxSparseMap(records: PaxRecords | undefined): SparseMap | undefined {
  const map = records?.get('GNU.sparse.map');
  const count = paxNumber(records, 'GNU.sparse.numblocks');
  // In format 0.0 a file that is one single hole has no record of a stretch.
  if (map === undefined && count !== 0) return undefined;
  const realSize = asRealSize(paxNumber(records, 'GNU.sparse.size'));
  const numbers = !map || map.length === 0 ? [] : fromBytes(map).split(',').map(decimal);
  if (count !== undefined && count * 2 !== numbers.length) throw damaged('a sparse map is not as long as it says');
  return { stretches: pairs(numbers), realSize };
}

/**
 * Whether the PAX header announces format 1.0, where the map comes before the content. Throws `Failure` 65 for a later
 * format: read as a plain file, it would have its map as content.
 */
export function isSparse10(records: PaxRecords | undefined): boolean {
  const major = paxNumber(records, 'GNU.sparse.major') ?? 0;
  const minor = paxNumber(records, 'GNU.sparse.minor') ?? 0;
  if (major > 1 || (major === 1 && minor > 0)) throw damaged(`a sparse file of the unknown format ${major}.${minor}`);
  return major === 1;
}

/** Format 1.0: one decimal number a line. */
export class Sparse10Reader implements SparseMapReader {
  private text = '';
  private wanted: number | undefined;
  private readonly numbers: number[] = [];
  private readonly realSize: number;

  constructor(records: PaxRecords | undefined) {
    // Go, Python and libarchive accept the key of the older formats here, too.
    this.realSize = asRealSize(paxNumber(records, 'GNU.sparse.realsize') ?? paxNumber(records, 'GNU.sparse.size'));
  }

  push(block: Buffer): SparseMap | undefined {
    const lines = (this.text + fromBytes(block)).split('\n');
    this.text = lines.pop()!;
    for (const line of lines) {
      if (this.wanted === undefined) {
        this.wanted = decimal(line) * 2;
        if (this.wanted > maxStretches * 2) throw damaged('a sparse map is too long');
      } else {
        this.numbers.push(decimal(line));
      }
      if (this.numbers.length === this.wanted) return { stretches: pairs(this.numbers), realSize: this.realSize };
    }
    // A number has at most 16 digits: a block without a line end holds none.
    if (this.text.length > 512) throw damaged('a sparse map is not a list of numbers');
    return undefined;
  }
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

/** Passes on the content of a sparse file, with its holes. */
export class WithHoles {
  /** Where it has come: the number of the stretch, and the offset in the file. */
  private stretch = 0;
  private position = 0;

  /** The map has passed `checkSparse`. */
  constructor(
    private readonly map: SparseMap,
    private readonly sink: TarSink,
  ) {}

  content(bytes: Buffer): void {
    for (let at = 0; at < bytes.length; ) {
      const { offset, length } = this.nextStretch();
      this.holeUpTo(offset);
      const taken = Math.min(offset + length - this.position, bytes.length - at);
      this.sink.content(bytes.subarray(at, at + taken));
      this.position += taken;
      at += taken;
    }
  }

  end(): void {
    this.holeUpTo(this.map.realSize);
  }

  /** The stretch at or after the current position. There is one, since they add up to the content. */
  private nextStretch(): Stretch {
    for (;;) {
      const stretch = this.map.stretches[this.stretch]!;
      if (stretch.length > 0 && this.position < stretch.offset + stretch.length) return stretch;
      this.stretch += 1;
    }
  }

  private holeUpTo(offset: number): void {
    if (offset > this.position) this.sink.hole(offset - this.position);
    this.position = Math.max(this.position, offset);
  }
}

function asRealSize(size: number | undefined): number {
  if (size === undefined) throw damaged('a sparse file has no size');
  return size;
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
