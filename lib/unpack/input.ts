import type { FileHandle } from 'node:fs/promises';

/** Large enough that a turn of the event loop is nothing beside it, small enough to stay in a processor's cache. */
export const chunkBytes = 512 * 1024;

/** Reads a file once from its beginning, a piece ahead of who asks. */
export class Input {
  private position = 0;
  private coming: Promise<Buffer> | undefined;
  /** One is being read into while the other is being decompressed. */
  private readonly buffers = [Buffer.allocUnsafeSlow(chunkBytes), Buffer.allocUnsafeSlow(chunkBytes)] as const;
  private turn = 0;

  constructor(
    private readonly handle: FileHandle,
    readonly path: string,
    readonly size: number,
  ) {}

  /** The next piece of the file, as long as no other is asked for; empty at its end. */
  async read(): Promise<Buffer> {
    const chunk = await (this.coming ?? this.readPiece());
    this.position += chunk.length;
    this.coming = this.readPiece(this.position);
    // Whoever reads on hears of an error; a reader that has gone does not.
    this.coming.catch(() => {});
    return chunk;
  }

  /** Bytes read so far. */
  get used(): number {
    return this.position;
  }

  private async readPiece(at = 0): Promise<Buffer> {
    this.turn = 1 - this.turn;
    const buffer = this.buffers[this.turn]!;
    const { bytesRead } = await this.handle.read(buffer, 0, buffer.length, at);
    return buffer.subarray(0, bytesRead);
  }
}
