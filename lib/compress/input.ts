import type { Hash } from 'node:crypto';
import { closeSync, read } from 'node:fs';
import { failingLater } from '../base/failure.js';

/** Large enough that a turn of the event loop takes little time beside it, and small enough for a processor's cache. */
export const chunkBytes = 512 * 1024;

/**
 * Reads an open file once, from its beginning, always one piece in advance. If a hash is given, it hashes what it
 * returns. `close` closes the file.
 */
export class Input {
  private position = 0;
  private coming: Promise<Buffer> | undefined;
  /** One is filled while the other is decompressed. */
  private readonly buffers = [Buffer.allocUnsafeSlow(chunkBytes), Buffer.allocUnsafeSlow(chunkBytes)] as const;
  private turn = 0;
  private closed = false;

  constructor(
    private readonly fd: number,
    readonly path: string,
    private readonly hash?: Hash | undefined,
  ) {}

  /**
   * The next piece of the file, valid until another is asked for; empty at its end, and once this is closed. Throws
   * `Failure` 74 for the disk.
   */
  async read(): Promise<Buffer> {
    this.coming ??= this.readPiece();
    const chunk = await this.coming;
    this.position += chunk.length;
    this.hash?.update(chunk);
    this.coming = this.readPiece(this.position);
    // The next `read` throws an error. Without one it must not count as unhandled.
    this.coming.catch(() => {});
    return chunk;
  }

  /** Bytes read so far. */
  get used(): number {
    return this.position;
  }

  /** Waits for a read that is under way: after the close its descriptor may be that of another file. */
  async close(): Promise<void> {
    this.closed = true;
    await this.coming?.catch(() => {});
    closeSync(this.fd);
  }

  private async readPiece(at = 0): Promise<Buffer> {
    if (this.closed) return Buffer.alloc(0);
    this.turn = 1 - this.turn;
    const buffer = this.buffers[this.turn]!;
    return buffer.subarray(0, await failingLater(this.path, () => readInto(this.fd, buffer, at)));
  }
}

/** Node's own promises for files cost 2 ms of a start. */
function readInto(fd: number, buffer: Buffer, at: number): Promise<number> {
  return new Promise((resolve, reject) => {
    read(fd, buffer, 0, buffer.length, at, (error, bytes) => (error ? reject(error) : resolve(bytes)));
  });
}
