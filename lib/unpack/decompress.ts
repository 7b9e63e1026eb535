/**
 * A layer's bytes without their compression. What the compression is, the first bytes say, whatever the media type
 * claims. Inflating runs in Node's thread pool and ahead of the reader, so that it overlaps with writing files.
 */
import { closeSync, createReadStream, fstatSync, openSync, readSync } from 'node:fs';
import { pipeline, type Readable } from 'node:stream';
import { createGunzip, type Gunzip } from 'node:zlib';
import { Failure, failureOf } from '../pipe/failure.js';
import { Status } from '../pipe/status.js';

/** Large enough that a turn of the event loop is nothing beside it, small enough to stay in a processor's cache. */
const chunkBytes = 256 * 1024;
/** What may wait between inflating and writing. */
const aheadBytes = 8 * 1024 * 1024;

export type Compression = 'gzip' | 'zstd' | 'none';

/** RFC 1952, 2.3.1; RFC 8878, 3.1.1 and 3.1.2 (a skippable frame may come first). */
export function compressionOf(head: Buffer): Compression {
  if (head.length >= 2 && head[0] === 0x1f && head[1] === 0x8b) return 'gzip';
  if (head.length < 4) return 'none';
  const magic = head.readUInt32LE(0);
  return magic === 0xfd2fb528 || (magic & 0xfffffff0) >>> 0 === 0x184d2a50 ? 'zstd' : 'none';
}

/** The decompressed bytes of a file, read ahead up to a bound. */
export interface LayerBytes {
  /** The next piece, or `undefined` at the end. Throws `Failure` 65 for damaged or cut data, 74 for the disk. */
  next(): Promise<Buffer | undefined>;
  /** How many bytes of the file have been used so far. */
  position(): number;
  /** Bytes of the file. */
  readonly size: number;
  /** Lets go of the file. */
  close(): void;
}

/** Opens a layer file and begins to decompress it. */
export function openLayer(path: string): LayerBytes {
  const fd = openFile(path);
  try {
    const head = Buffer.alloc(6);
    const bytes = readSync(fd, head, 0, head.length, 0);
    const { size } = fstatSync(fd);
    switch (compressionOf(head.subarray(0, bytes))) {
      case 'gzip':
        return new Gzipped(path, fd, size);
      case 'none':
        return new Plain(path, fd, size);
      case 'zstd':
        throw new Failure(Status.data, path, 'zstd is not supported yet');
    }
  } catch (error) {
    closeSync(fd);
    throw failureOf(error, path);
  }
}

function openFile(path: string): number {
  try {
    const fd = openSync(path, 'r');
    if (fstatSync(fd).isFile()) return fd;
    closeSync(fd);
  } catch (error) {
    throw failureOf(error, path);
  }
  throw new Failure(Status.data, path, 'a layer is a regular file, and this is none');
}

/** Pieces on their way from a stream to a reader that may be slower or faster. */
abstract class Queued implements LayerBytes {
  private readonly ready: Buffer[] = [];
  private waitingBytes = 0;
  private ended = false;
  private error: unknown;
  private wake: (() => void) | undefined;

  constructor(
    protected readonly path: string,
    protected readonly fd: number,
    readonly size: number,
  ) {}

  abstract position(): number;
  protected abstract readonly output: Readable;
  /** Called at the end of the stream; throws when what the file still holds is wrong. */
  protected checkRest(): void {}

  protected follow(): void {
    this.output.on('data', (chunk: Buffer) => {
      this.ready.push(chunk);
      this.waitingBytes += chunk.length;
      if (this.waitingBytes > aheadBytes) this.output.pause();
      this.wake?.();
    });
  }

  protected settle(error: unknown): void {
    this.ended = true;
    this.error = error;
    this.wake?.();
  }

  async next(): Promise<Buffer | undefined> {
    while (this.ready.length === 0) {
      if (this.error) throw this.failure(this.error);
      if (this.ended) {
        this.checkRest();
        return undefined;
      }
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
      this.wake = undefined;
    }
    const chunk = this.ready.shift()!;
    this.waitingBytes -= chunk.length;
    if (this.waitingBytes <= aheadBytes / 2 && this.output.isPaused()) this.output.resume();
    return chunk;
  }

  private failure(error: unknown): unknown {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (typeof code === 'string' && code.startsWith('Z_')) {
      const why =
        code === 'Z_BUF_ERROR' ? 'the gzip data is cut' : `the gzip data is damaged (${(error as Error).message})`;
      return new Failure(Status.data, this.path, why, { cause: error });
    }
    return failureOf(error, this.path);
  }

  close(): void {
    this.output.destroy();
  }
}

class Plain extends Queued {
  protected readonly output: Readable;
  private done = 0;

  constructor(path: string, fd: number, size: number) {
    super(path, fd, size);
    const file = createReadStream(path, { fd, start: 0, highWaterMark: chunkBytes });
    this.output = file;
    this.follow();
    file.on('end', () => this.settle(undefined)).on('error', (error) => this.settle(error));
  }

  override async next(): Promise<Buffer | undefined> {
    const chunk = await super.next();
    this.done += chunk?.length ?? 0;
    return chunk;
  }

  position(): number {
    return this.done;
  }
}

class Gzipped extends Queued {
  protected readonly output: Gunzip;

  constructor(path: string, fd: number, size: number) {
    super(path, fd, size);
    const file = createReadStream(path, { fd, start: 0, highWaterMark: chunkBytes, autoClose: false });
    this.output = createGunzip({ chunkSize: chunkBytes });
    this.follow();
    pipeline(file, this.output, (error) => this.settle(error ?? undefined));
  }

  position(): number {
    return this.output.bytesWritten;
  }

  /** Node ends at a NUL behind a member and reads on at anything else. Padding with NULs is usual; other bytes are not. */
  protected override checkRest(): void {
    const rest = Buffer.allocUnsafe(64 * 1024);
    for (let at = this.output.bytesWritten; at < this.size; ) {
      const bytes = readSync(this.fd, rest, 0, rest.length, at);
      if (bytes === 0) break;
      if (rest.subarray(0, bytes).some((byte) => byte !== 0)) {
        throw new Failure(Status.data, this.path, 'other data follows the gzip data');
      }
      at += bytes;
    }
    closeSync(this.fd);
  }
}
