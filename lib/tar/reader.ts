/**
 * The stream reader for archives: it takes bytes in pieces of any size and calls the sink for each entry in order. It
 * reads ustar, v7, GNU (long names, sparse, base-256) and PAX. A directory, link or device has no content, whatever
 * size its header gives: Go's archive/tar reads it so, and with it every tool that is written in Go.
 */
import { type ByteString, fromBytes } from './bytes.js';
import { type Entry, type Extensions, makeEntry, type TarSink } from './entry.js';
import { blockSize, damaged } from './fields.js';
import { decodeHeader, type RawHeader } from './header.js';
import { maxExtendedBytes, type PaxRecords, PaxState, parsePax } from './pax.js';
import {
  checkSparse,
  isSparse10,
  OldSparseReader,
  paxSparseMap,
  Sparse10Reader,
  type SparseMap,
  type SparseMapReader,
  WithHoles,
} from './sparse.js';

/** What the bytes at the current position belong to. */
type State = 'header' | 'extended' | 'content' | 'skip' | 'sparse-old' | 'sparse-1.0' | 'end';

export class TarReader {
  private state: State = 'header';
  /** The first part of a block whose second part is still to come. */
  private readonly partial = Buffer.alloc(blockSize);
  private partialBytes = 0;
  /** Bytes left of what `state` names, and of the padding after it. */
  private left = 0;
  private padding = 0;
  private fullPadding = 0;
  private zeroBlocks = 0;

  private extendedFlag = '';
  private extended: Buffer[] = [];
  private extensions: Extensions = {};
  private readonly pax = new PaxState();

  /** The file that begins, and what reads its map, if that has blocks of its own. */
  private current: Entry | undefined;
  private map: SparseMapReader | undefined;
  /** Takes the content of a sparse file. */
  private withHoles: WithHoles | undefined;

  constructor(private readonly sink: TarSink) {}

  /** Takes the next piece. Throws `Failure` 65 when the archive is damaged. */
  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length && this.state !== 'end') {
      if (this.wantsBlock()) at = this.takeBlock(chunk, at);
      else at = this.takeBody(chunk, at);
    }
  }

  /** The stream is over. Throws `Failure` 65 when it was cut. */
  finish(): void {
    if (this.state === 'end') return;
    // `umoci insert` writes layers that end with the last byte of content, without padding. Half a padding is damage.
    const whole = this.padding === 0 || this.padding === this.fullPadding;
    if (this.state !== 'header' || !whole) throw damaged('it is cut inside a file');
    if (this.partialBytes > 0) throw damaged('its last block is short');
    if (Object.keys(this.extensions).length > 0) throw damaged('it ends after an extended header');
  }

  private wantsBlock(): boolean {
    if (this.padding > 0) return false;
    return this.state === 'header' || this.state === 'sparse-old' || this.state === 'sparse-1.0';
  }

  private takeBlock(chunk: Buffer, at: number): number {
    if (this.partialBytes === 0 && chunk.length - at >= blockSize) {
      this.block(chunk, at);
      return at + blockSize;
    }
    const taken = chunk.copy(this.partial, this.partialBytes, at, at + blockSize - this.partialBytes);
    this.partialBytes += taken;
    if (this.partialBytes === blockSize) {
      this.partialBytes = 0;
      this.block(this.partial, 0);
    }
    return at + taken;
  }

  private block(block: Buffer, at: number): void {
    if (this.state === 'header') this.header(block, at);
    else this.mapBlock(block.subarray(at, at + blockSize));
  }

  private takeBody(chunk: Buffer, at: number): number {
    const taken = Math.min(this.left > 0 ? this.left : this.padding, chunk.length - at);
    if (this.left === 0) {
      this.padding -= taken;
      return at + taken;
    }
    this.left -= taken;
    if (this.state === 'content') (this.withHoles ?? this.sink).content(chunk.subarray(at, at + taken));
    // A copy, since the memory of the chunk may be used again, and a small piece must not keep all of it alive.
    else if (this.state === 'extended') this.extended.push(Buffer.from(chunk.subarray(at, at + taken)));
    if (this.left === 0) this.bodyEnds();
    return at + taken;
  }

  private bodyEnds(): void {
    const { state } = this;
    this.state = 'header';
    if (state === 'extended') this.extendedEnds();
    else if (state === 'content') this.contentEnds();
  }

  private expect(state: State, bytes: number): void {
    this.state = state;
    this.left = bytes;
    this.padding = (blockSize - (bytes % blockSize)) % blockSize;
    this.fullPadding = this.padding;
    if (bytes === 0) this.bodyEnds();
  }

  private header(block: Buffer, at: number): void {
    const raw = decodeHeader(block, at);
    if (!raw) {
      this.zeroBlocks += 1;
      if (this.zeroBlocks === 2) this.state = 'end';
      return;
    }
    this.zeroBlocks = 0;
    switch (raw.typeflag) {
      case 'x':
      case 'X':
      case 'g':
      case 'L':
      case 'K':
        if (raw.size > maxExtendedBytes) throw damaged(`an extended header of ${raw.size} bytes`);
        this.extendedFlag = raw.typeflag;
        this.extended = [];
        this.expect('extended', raw.size);
        break;
      case 'V':
        this.expect('skip', raw.size);
        break;
      default:
        this.file(raw, block, at);
    }
  }

  private extendedEnds(): void {
    const body = Buffer.concat(this.extended);
    this.extended = [];
    switch (this.extendedFlag) {
      case 'L':
        this.extensions.name = upToNul(body);
        break;
      case 'K':
        this.extensions.target = upToNul(body);
        break;
      case 'g':
        this.pax.addGlobal(body);
        break;
      default:
        this.extensions.records = parsePax(body);
    }
  }

  private file(raw: RawHeader, block: Buffer, at: number): void {
    const records = this.pax.over(this.extensions.records);
    const entry = makeEntry(raw, records, this.extensions);
    this.extensions = {};
    if (entry.type === 'file') this.begin(entry, raw.typeflag === 'S' ? block.subarray(at) : undefined, records);
    else this.sink.entry(entry);
  }

  /** `header` is the block of a file of GNU's old sparse format, where the map begins. */
  private begin(entry: Entry, header: Buffer | undefined, records: PaxRecords | undefined): void {
    this.current = entry;
    this.left = entry.size;
    const map = header ? undefined : paxSparseMap(records);
    if (header) {
      this.state = 'sparse-old';
      this.map = new OldSparseReader();
      this.mapBlock(header);
    } else if (isSparse10(records)) {
      this.state = 'sparse-1.0';
      this.map = new Sparse10Reader(records);
    } else if (map) this.beginSparse(map);
    else this.beginFile(entry.size);
  }

  private mapBlock(block: Buffer): void {
    if (this.state === 'sparse-1.0') {
      // There the map is a part of the content.
      if (this.left < blockSize) throw damaged('a sparse map is longer than its file');
      this.left -= blockSize;
    }
    const map = this.map!.push(block);
    if (map) this.beginSparse(map);
  }

  private beginSparse(map: SparseMap): void {
    checkSparse(map, this.left);
    this.withHoles = new WithHoles(map, this.sink);
    this.current!.size = map.realSize;
    this.beginFile(this.left);
  }

  private beginFile(packed: number): void {
    this.sink.entry(this.current!);
    this.expect('content', packed);
  }

  private contentEnds(): void {
    this.withHoles?.end();
    this.withHoles = undefined;
    this.current = undefined;
    this.sink.end();
  }
}

function upToNul(body: Buffer): ByteString {
  const nul = body.indexOf(0);
  return fromBytes(body, 0, nul < 0 ? body.length : nul);
}
