/** Bytes that a piece counts for its object, besides its content. Without them millions of tiny pieces could wait. */
const pieceBytes = 4096;

/** A queue of pieces between a producer and a reader, with a bound on the bytes that wait in it. */
export class BoundedQueue {
  private readonly ready: Buffer[] = [];
  private waitingBytes = 0;
  private ended = false;
  private error: unknown;
  private wakeReader: (() => void) | undefined;
  private wakeProducer: (() => void) | undefined;

  constructor(private readonly maxBytes: number) {}

  /** Takes a piece. False when the producer should wait for `room`. */
  offer(chunk: Buffer): boolean {
    const last = this.ready.at(-1);
    const joined = last && joinedTo(last, chunk);
    if (joined) this.ready[this.ready.length - 1] = joined;
    else this.ready.push(chunk);
    this.waitingBytes += joined ? chunk.length : pieceBytes + chunk.length;
    this.wakeReader?.();
    return this.waitingBytes < this.maxBytes;
  }

  /** Resolves when the reader has taken enough, at once when there is room. */
  async room(): Promise<void> {
    if (this.waitingBytes < this.maxBytes) return;
    await new Promise<void>((resolve) => {
      this.wakeProducer = resolve;
    });
  }

  /** No more pieces come: this is the end, or `error` is the reason. */
  end(error?: unknown): void {
    if (this.ended) return;
    this.ended = true;
    this.error = error;
    this.wakeReader?.();
  }

  /** The next piece, or `undefined` at the end. The producer's error is thrown after the pieces before it are read. */
  async next(): Promise<Buffer | undefined> {
    while (this.ready.length === 0) {
      if (this.error) throw this.error;
      if (this.ended) return undefined;
      await new Promise<void>((resolve) => {
        this.wakeReader = resolve;
      });
      this.wakeReader = undefined;
    }
    const chunk = this.ready.shift()!;
    this.waitingBytes -= pieceBytes + chunk.length;
    if (this.waitingBytes <= this.maxBytes / 2) {
      this.wakeProducer?.();
      this.wakeProducer = undefined;
    }
    return chunk;
  }

  /** The reader has gone: what waits is dropped, and the producer is let go. */
  close(): void {
    this.ready.length = 0;
    this.waitingBytes = 0;
    this.end();
    this.wakeProducer?.();
    this.wakeProducer = undefined;
  }

  get closed(): boolean {
    return this.ended;
  }
}

/** Two pieces as one, if they are adjacent in memory: many small ones would make the reader slower. */
function joinedTo(piece: Buffer, next: Buffer): Buffer | undefined {
  if (piece.buffer !== next.buffer || piece.byteOffset + piece.length !== next.byteOffset) return undefined;
  return Buffer.from(piece.buffer, piece.byteOffset, piece.length + next.length);
}
