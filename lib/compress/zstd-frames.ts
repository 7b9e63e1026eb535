/**
 * Finds where the frames of zstd data begin and end, without decompressing them: RFC 8878, section 3. So a decoder can
 * be given each frame by itself. It also detects a frame that is cut, which not every decoder does.
 */
import { Failure } from '../base/failure.js';
import { Status } from '../base/status.js';
import { isSkippable, zstdMagic } from './magic.js';

const maxHeader = 18;
/**
 * Bytes of memory that a frame may demand of a decoder: the default of libzstd (zstd.h, ZSTD_WINDOWLOG_LIMIT_DEFAULT).
 */
const maxWindow = 128 * 1024 * 1024;

/** Bytes of a frame; `last` when they end it. */
export interface FramePiece {
  bytes: Buffer;
  last: boolean;
}

/** What comes next in the data: a magic number, the rest of a frame header, a block header, what is to be skipped. */
type State = 'magic' | 'header' | 'block' | 'content' | 'checksum' | 'skippable-size' | 'skippable' | 'padding';

export class FrameWalker {
  private state: State = 'magic';
  /** The bytes of a magic number or header that came so far. */
  private readonly head = Buffer.alloc(maxHeader);
  private headBytes = 0;
  private wanted = 4;
  /** Bytes left of a block, a checksum, a skippable frame. */
  private left = 0;
  private lastBlock = false;
  private hasChecksum = false;

  constructor(private readonly path: string) {}

  /** The pieces of frames in a chunk. Throws `Failure` 65 for what is no zstd data. */
  push(chunk: Buffer): FramePiece[] {
    const pieces: FramePiece[] = [];
    let begin = this.inFrame() ? 0 : -1;
    for (let at = 0; at < chunk.length; ) {
      if (this.state === 'padding') {
        if (chunk.subarray(at).some((byte) => byte !== 0)) throw this.damaged('other data follows the zstd data');
        break;
      }
      if (this.left > 0) {
        const taken = Math.min(this.left, chunk.length - at);
        at += taken;
        this.left -= taken;
      } else {
        this.head[this.headBytes++] = chunk[at++]!;
        if (this.headBytes < this.wanted) continue;
        this.headComplete();
        // A frame begins, and its magic number belongs to it. That of a skippable frame is not passed on.
        if (this.state === 'header' && begin < 0) {
          begin = Math.max(0, at - 4);
          const before = 4 - (at - begin);
          if (before > 0) pieces.push({ bytes: Buffer.from(this.head.subarray(0, before)), last: false });
        }
      }
      if (this.left > 0 || !this.contentComplete()) continue;
      pieces.push({ bytes: chunk.subarray(begin, at), last: true });
      begin = -1;
    }
    if (begin >= 0 && begin < chunk.length) pieces.push({ bytes: chunk.subarray(begin), last: false });
    return pieces;
  }

  /** The data is over. Throws `Failure` 65 when it is cut. */
  finish(): void {
    if (this.state === 'padding') return;
    if (this.state === 'magic' && this.head.subarray(0, this.headBytes).every((byte) => byte === 0)) return;
    throw this.damaged('the zstd data is cut');
  }

  private inFrame(): boolean {
    return ['header', 'block', 'content', 'checksum'].includes(this.state);
  }

  private expect(state: State, wanted: number): void {
    this.state = state;
    this.headBytes = 0;
    this.wanted = wanted;
  }

  private headComplete(): void {
    const { head } = this;
    switch (this.state) {
      case 'magic':
        this.magicComplete(head.readUInt32LE(0));
        break;
      case 'header':
        // The descriptor, its first byte, says how long it is, two bytes at least; then it is read to its end.
        if (this.wanted === 1) {
          this.wanted = headerBytes(head[0]!);
          this.hasChecksum = (head[0]! & 0x04) !== 0;
        } else {
          this.checkHeader();
          this.expect('block', 3);
        }
        break;
      case 'block':
        this.blockComplete(head.readUIntLE(0, 3));
        break;
      default:
        this.state = 'skippable';
        this.left = head.readUInt32LE(0);
    }
  }

  private checkHeader(): void {
    if (dictionaryOf(this.head) !== 0) throw this.damaged('the zstd data needs a dictionary, which no layer has');
    const window = windowOf(this.head);
    if (window > maxWindow) {
      const [needed, allowed] = [window, maxWindow].map((bytes) => Math.ceil(bytes / 1024 / 1024));
      throw this.damaged(`the zstd data needs a window of ${needed} MiB, and no more than ${allowed} are allowed`);
    }
  }

  private magicComplete(value: number): void {
    if (value === zstdMagic) this.expect('header', 1);
    else if (isSkippable(value)) this.expect('skippable-size', 4);
    else if (value === 0) this.state = 'padding';
    else throw this.damaged('other data follows the zstd data');
  }

  /**
   * RFC 8878, 3.1.1.2: last block (1 bit), type (2 bits), size (21 bits); a block of one repeated byte has that byte.
   */
  private blockComplete(header: number): void {
    this.lastBlock = (header & 1) !== 0;
    this.left = ((header >> 1) & 3) === 1 ? 1 : header >> 3;
    this.state = 'content';
  }

  /** A block, checksum or skippable frame is complete: decides what comes next. True at the end of a frame. */
  private contentComplete(): boolean {
    if (this.state === 'content' && !this.lastBlock) this.expect('block', 3);
    else if (this.state === 'content' && this.hasChecksum) {
      this.state = 'checksum';
      this.left = 4;
    } else if (this.state === 'content' || this.state === 'checksum') {
      this.expect('magic', 4);
      return true;
    } else if (this.state === 'skippable') this.expect('magic', 4);
    return false;
  }

  private damaged(why: string): Failure {
    return new Failure(Status.data, this.path, why);
  }
}

/** RFC 8878, 3.1.1.1.3: the number of the dictionary that a complete frame header asks for; 0 for none. */
function dictionaryOf(header: Buffer): number {
  const bytes = dictionaryBytes[header[0]! & 3]!;
  return bytes === 0 ? 0 : header.readUIntLE((header[0]! & 0x20) !== 0 ? 1 : 2, bytes);
}

const dictionaryBytes = [0, 1, 2, 4];

/**
 * RFC 8878, 3.1.1.1.2: how far back a frame may refer, in bytes. A single-segment frame may refer to all of its
 * content.
 */
function windowOf(header: Buffer): number {
  const descriptor = header[0]!;
  if ((descriptor & 0x20) === 0) {
    const base = 2 ** (10 + (header[1]! >> 3));
    return base + (base / 8) * (header[1]! & 7);
  }
  const at = 1 + dictionaryBytes[descriptor & 3]!;
  // A content size in one or two bytes is at most 64 KiB.
  if (descriptor < 0x80) return 0;
  return descriptor < 0xc0 ? header.readUInt32LE(at) : Number(header.readBigUInt64LE(at));
}

/** RFC 8878, 3.1.1.1: descriptor, window descriptor, dictionary id, content size. */
function headerBytes(descriptor: number): number {
  const single = (descriptor & 0x20) !== 0;
  const sizeFlag = descriptor >> 6;
  const contentSize = sizeFlag === 0 ? (single ? 1 : 0) : 1 << sizeFlag;
  return 1 + (single ? 0 : 1) + dictionaryBytes[descriptor & 3]! + contentSize;
}
