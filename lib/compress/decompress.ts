/**
 * The decompressed bytes of a layer. The first bytes of the file tell the compression, whatever the media type claims.
 * Decompression runs a few megabytes ahead of the reader; for large layers it has a thread of its own, so that it goes
 * on while files are written.
 */
import { createHash, type Hash } from 'node:crypto';
import { closeSync, constants, fstatSync, readSync } from 'node:fs';
import { Failure, failureOf } from '../base/failure.js';
import { openRegular } from '../base/regular-file.js';
import { Status } from '../base/status.js';
import { BoundedQueue } from './bounded-queue.js';
import { gunzip } from './gunzip.js';
import { Input } from './input.js';
import { type Compression, compressionOf, foreignCompressionOf, foreignHeadBytes } from './magic.js';
import { copyTo, type Output, QueueOutput } from './output.js';
import { unzstd } from './unzstd.js';

/** Bytes that may wait between decompressing and writing. */
const aheadBytes = 4 * 1024 * 1024;

/** Decompresses all of `input` into `output`. Without `checks` the format's own checksums need not be checked. */
type Decoder = (input: Input, output: Output, checks: boolean) => Promise<void>;

const decoders: Record<Compression, Decoder> = {
  gzip: gunzip,
  zstd: (input, output) => unzstd(input, output),
  none: copy,
};

/** The decompressed bytes of a file, and their digest. */
export interface LayerBytes {
  /** Bytes of the file. */
  readonly size: number;
  /** How many of them have been used so far. */
  readonly used: number;
  /**
   * The next piece, valid until the next call; `undefined` at the end. Throws `Failure` 65 for damaged or cut data, 74 for
   * the disk.
   */
  next(): Promise<Buffer | undefined>;
  /** The digest of all that `next` has returned, in hexadecimal; once, after the end. */
  digest(): string;
  /** Closes the file. */
  close(): Promise<void>;
}

/** A layer file that is open. */
export interface OpenLayer {
  fd: number;
  path: string;
  size: number;
}

/** Decompresses large layers while this thread does other things. */
export interface Decompressor {
  /** Undefined where no other thread can be had: then the caller still has the open file. */
  gunzip(file: OpenLayer, digest: ContentDigest): LayerBytes | undefined;
  /** The smallest file, in bytes, that is worth the effort. */
  readonly worthBytes: number;
}

export interface ContentDigest {
  algorithm: string;
  /** Whether the digest will be compared: then the compression's own checksum need not be checked. */
  isCompared: boolean;
}

interface LayerOptions {
  /** By default sha256, not compared. */
  digest?: ContentDigest;
  decompressor?: Decompressor | undefined;
  /** Hashes the compressed file. It is complete when all content has been read. */
  blobHash?: Hash | undefined;
}

/** Opens a layer file and begins to decompress it. Throws `Failure` 65 when it is no file, 74 for the disk. */
export async function openLayer(
  path: string,
  { digest = { algorithm: 'sha256', isCompared: false }, decompressor, blobHash }: LayerOptions = {},
): Promise<LayerBytes> {
  let fd: number | undefined;
  try {
    fd = openRegular(path, constants.O_RDONLY);
    const file = { fd, path, size: fstatSync(fd).size };
    const compression = compressionIn(fd, path);
    const isWorthAThread = compression === 'gzip' && decompressor && file.size >= decompressor.worthBytes;
    const aside = isWorthAThread && !blobHash ? decompressor.gunzip(file, digest) : undefined;
    return aside ?? new OwnBytes(file, decoders[compression], digest, blobHash);
  } catch (error) {
    if (fd !== undefined) closeSync(fd);
    throw failureOf(error, path);
  }
}

function compressionIn(fd: number, path: string): Compression {
  const buffer = Buffer.alloc(foreignHeadBytes);
  const head = buffer.subarray(0, readSync(fd, buffer, 0, buffer.length, 0));
  const foreign = foreignCompressionOf(head);
  if (foreign) throw new Failure(Status.data, path, `it is compressed with ${foreign}: a layer is plain, gzip or zstd`);
  return compressionOf(head);
}

/** Decompressed and hashed here, with Node's thread pool for zstd. */
class OwnBytes implements LayerBytes {
  readonly size: number;
  private readonly input: Input;
  private readonly ahead = new BoundedQueue(aheadBytes);
  private readonly hash: Hash;

  constructor(
    { fd, path, size }: OpenLayer,
    decode: Decoder,
    { algorithm, isCompared }: ContentDigest,
    blobHash: Hash | undefined,
  ) {
    this.size = size;
    this.input = new Input(fd, path, blobHash);
    this.hash = createHash(algorithm);
    decode(this.input, new QueueOutput(this.ahead), !isCompared).then(
      () => this.ahead.end(),
      (error) => this.ahead.end(error),
    );
  }

  async next(): Promise<Buffer | undefined> {
    const chunk = await this.ahead.next();
    if (chunk) this.hash.update(chunk);
    return chunk;
  }

  get used(): number {
    return this.input.used;
  }

  digest(): string {
    return this.hash.digest('hex');
  }

  async close(): Promise<void> {
    this.ahead.close();
    await this.input.close();
  }
}

async function copy(input: Input, output: Output): Promise<void> {
  for (let chunk = await input.read(); chunk.length > 0 && !output.closed; chunk = await input.read()) {
    await copyTo(output, chunk);
  }
}
