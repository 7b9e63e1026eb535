/**
 * The stream reader for archives: it takes bytes in pieces of any size and calls the sink for each entry in order. It
 * reads ustar, v7, GNU (long names, sparse, base-256) and PAX. A directory, link or device has no content, whatever
 * size its header gives: Go's archive/tar reads it so, and with it every tool that is written in Go.
 */
import { type ByteString, fromBytes } from './bytes.js';
import { blockSize, damaged, numberField } from './fields.js';
import { decodeHeader, type RawHeader } from './header.js';
import { type PaxRecords, PaxState, parsePax, paxNumber, paxText, paxTime, type Time } from './pax.js';
import {
  checkSparse,
  isSparse10,
  maxStretches,
  oldStretches,
  paxSparseMap,
  Sparse10Reader,
  type SparseMap,
  type Stretch,
} from './sparse.js';

export type EntryType = 'file' | 'directory' | 'symlink' | 'hardlink' | 'char' | 'block' | 'fifo';

export function isDevice(type: EntryType): type is 'char' | 'block' {
  return type === 'char' || type === 'block';
}

export interface Entry {
  type: EntryType;
  /** The name as it stands in the archive: not cleaned, not trusted. */
  path: ByteString;
  /** The target of a symlink or hard link, exactly as it stands in the archive. */
  target: ByteString;
  /** The permission bits, 07777 at most. */
  mode: number;
  uid: number;
  gid: number;
  /** Bytes of content, holes included; 0 for everything but a file. */
  size: number;
  mtime: Time;
  major: number;
  minor: number;
  xattrs: Map<ByteString, Buffer> | undefined;
}

/** Receives the entries. After `entry` for a file come `content` and `hole` in the order of the file, then `end`. */
export interface TarSink {
  entry(entry: Entry): void;
  content(bytes: Buffer): void;
  hole(length: number): void;
  end(): void;
}

const typeOfFlag: Record<string, EntryType> = {
  '0': 'file',
  '7': 'file',
  S: 'file',
  '1': 'hardlink',
  '2': 'symlink',
  '3': 'char',
  '4': 'block',
  '5': 'directory',
  '6': 'fifo',
};

/** The longest extended header or long name: the limit of Go's archive/tar, and so of most tools. */
const maxExtendedBytes = 1024 * 1024;
const maxId = 2 ** 32 - 2;

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
  /** What extended headers say about the next file, and about all files after them. */
  private local: Map<ByteString, Buffer> | undefined;
  private readonly pax = new PaxState();
  private longName: ByteString | undefined;
  private longTarget: ByteString | undefined;

  /** The file whose map is not complete yet. */
  private current: Entry | undefined;
  private sparse10 = new Sparse10Reader();
  private sparse: SparseMap | undefined;
  private stretch = 0;
  private position = 0;

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
    if (this.local || this.longName !== undefined || this.longTarget !== undefined) {
      throw damaged('it ends after an extended header');
    }
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
    else if (this.state === 'sparse-old') this.oldSparseBlock(block, at);
    else this.sparse10Block(block.subarray(at, at + blockSize));
  }

  private takeBody(chunk: Buffer, at: number): number {
    const taken = Math.min(this.left > 0 ? this.left : this.padding, chunk.length - at);
    if (this.left === 0) {
      this.padding -= taken;
      return at + taken;
    }
    this.left -= taken;
    if (this.state === 'content') this.content(chunk.subarray(at, at + taken));
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
        this.longName = upToNul(body);
        break;
      case 'K':
        this.longTarget = upToNul(body);
        break;
      case 'g':
        this.pax.addGlobal(body);
        break;
      default:
        this.local = parsePax(body);
    }
  }

  private file(raw: RawHeader, block: Buffer, at: number): void {
    const records = this.pax.over(this.local);
    this.local = undefined;
    const type = typeOfFlag[raw.typeflag];
    if (type === undefined) throw damaged(`an entry of unknown type ${JSON.stringify(raw.typeflag)}`);
    const entry = makeEntry(type, raw, records, this.longName, this.longTarget);
    this.longName = undefined;
    this.longTarget = undefined;
    this.sparse = undefined;
    if (entry.type === 'file') this.begin(entry, raw.typeflag === 'S', records, block, at);
    else this.sink.entry(entry);
  }

  private begin(entry: Entry, oldSparse: boolean, records: PaxRecords | undefined, block: Buffer, at: number): void {
    this.current = entry;
    this.left = entry.size;
    const sparse = records && !oldSparse ? paxSparseMap(records) : undefined;
    if (oldSparse) this.oldSparse(block, at);
    else if (records && isSparse10(records)) this.beginSparse10(records);
    else if (sparse) this.beginSparse(sparse);
    else this.beginFile(entry.size);
  }

  private oldSparse(block: Buffer, at: number): void {
    const realSize = numberField(block, at + 483, 12);
    if (realSize === undefined) throw damaged('a sparse file has no size');
    this.sparse = { stretches: oldStretches(block, at + 386, 4), realSize };
    if (block[at + 482] !== 0) this.state = 'sparse-old';
    else this.beginSparse(this.sparse);
  }

  private oldSparseBlock(block: Buffer, at: number): void {
    const sparse = this.sparse!;
    sparse.stretches.push(...oldStretches(block, at, 21));
    if (sparse.stretches.length > maxStretches) throw damaged('a sparse map is too long');
    if (block[at + 504] === 0) this.beginSparse(sparse);
  }

  private beginSparse10(records: PaxRecords): void {
    // Go, Python and libarchive accept the key of the older formats here, too.
    const realSize = paxNumber(records, 'GNU.sparse.realsize') ?? paxNumber(records, 'GNU.sparse.size');
    if (realSize === undefined) throw damaged('a sparse file has no size');
    this.sparse = { stretches: [], realSize };
    this.sparse10 = new Sparse10Reader();
    this.state = 'sparse-1.0';
  }

  private sparse10Block(block: Buffer): void {
    if (this.left < blockSize) throw damaged('a sparse map is longer than its file');
    this.left -= blockSize;
    if (!this.sparse10.push(block)) return;
    this.beginSparse({ stretches: this.sparse10.stretches, realSize: this.sparse!.realSize });
  }

  private beginSparse(sparse: SparseMap): void {
    checkSparse(sparse, this.left);
    this.sparse = sparse;
    this.current!.size = sparse.realSize;
    this.stretch = 0;
    this.position = 0;
    this.beginFile(this.left);
  }

  private beginFile(packed: number): void {
    this.sink.entry(this.current!);
    this.expect('content', packed);
  }

  private content(bytes: Buffer): void {
    if (this.sparse) this.sparseContent(bytes);
    else this.sink.content(bytes);
  }

  private sparseContent(bytes: Buffer): void {
    for (let at = 0; at < bytes.length; ) {
      const { offset, length } = this.nextStretch();
      this.holeUpTo(offset);
      const taken = Math.min(offset + length - this.position, bytes.length - at);
      this.sink.content(bytes.subarray(at, at + taken));
      this.position += taken;
      at += taken;
    }
  }

  /**
   * The stretch at or after the current position. There is one: `checkSparse` has seen that they add up to the content.
   */
  private nextStretch(): Stretch {
    const { stretches } = this.sparse!;
    for (;;) {
      const stretch = stretches[this.stretch]!;
      if (stretch.length > 0 && this.position < stretch.offset + stretch.length) return stretch;
      this.stretch += 1;
    }
  }

  private holeUpTo(offset: number): void {
    if (offset > this.position) this.sink.hole(offset - this.position);
    this.position = Math.max(this.position, offset);
  }

  private contentEnds(): void {
    if (this.sparse) this.holeUpTo(this.sparse.realSize);
    this.sparse = undefined;
    this.current = undefined;
    this.sink.end();
  }
}

function makeEntry(
  flagType: EntryType,
  raw: RawHeader,
  records: PaxRecords | undefined,
  longName: ByteString | undefined,
  longTarget: ByteString | undefined,
): Entry {
  // An empty long name counts as none, as in Go's archive/tar.
  const path = (longName || (records && (paxText(records, 'GNU.sparse.name') ?? paxText(records, 'path')))) ?? raw.name;
  const size = (records && paxNumber(records, 'size')) ?? raw.size;
  // Before POSIX a directory was a file whose name ends in a slash.
  const type = flagType === 'file' && path.endsWith('/') ? 'directory' : flagType;
  if (type !== flagType && size > 0) throw damaged('a directory by its name is a file by its size');
  return {
    type,
    path,
    target: (longTarget || (records && paxText(records, 'linkpath'))) ?? raw.linkname,
    mode: raw.mode,
    uid: asId((records && paxNumber(records, 'uid')) ?? raw.uid, 'user'),
    gid: asId((records && paxNumber(records, 'gid')) ?? raw.gid, 'group'),
    size: type === 'file' ? size : 0,
    mtime: (records && paxTime(records, 'mtime')) ?? { seconds: raw.mtime, nanoseconds: 0 },
    major: (records && paxNumber(records, 'SCHILY.devmajor')) ?? raw.major,
    minor: (records && paxNumber(records, 'SCHILY.devminor')) ?? raw.minor,
    xattrs: records?.xattrs(),
  };
}

/** 2^32-1 is not an id: chown(2) takes it for "leave this as it is". */
function asId(id: number, whose: string): number {
  if (id < 0 || id > maxId) throw damaged(`the ${whose} id ${id} is out of range`);
  return id;
}

function upToNul(body: Buffer): ByteString {
  const nul = body.indexOf(0);
  return fromBytes(body, 0, nul < 0 ? body.length : nul);
}
