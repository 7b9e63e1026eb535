/** What a piece takes besides its bytes: an object, and the memory that it keeps alive. Of tiny ones millions would wait. */
const pieceBytes = 4096;

/** Pieces on their way from a producer to a reader that may be slower or faster, with a bound on what waits between. */
export class Ahead {
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

  /** Nothing more comes: all is well, or `error` is why. */
  end(error?: unknown): void {
    if (this.ended) return;
    this.ended = true;
    this.error = error;
    this.wakeReader?.();
  }

  /** The next piece, or `undefined` at the end. Throws the producer's error once all before it is read. */
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

/** Two pieces as one, where they lie side by side in memory: a reader is slower with many small ones. */
function joinedTo(piece: Buffer, next: Buffer): Buffer | undefined {
  if (piece.buffer !== next.buffer || piece.byteOffset + piece.length !== next.byteOffset) return undefined;
  return Buffer.from(piece.buffer, piece.byteOffset, piece.length + next.length);
}
