/**
 * The pieces of the rest of a blob, in order, in buffers that are used again. A piece is begun only when there is a
 * buffer for it, and there are only a few, so that memory stays bounded.
 */

export interface Piece {
  /** Its offset in the blob. */
  start: number;
  /** Its buffer, exactly as long as the piece. */
  bytes: Buffer;
  filled: number;
  /** Bytes that have been passed on. */
  handedOn: number;
  /** A connection fetches it: no other may take it. */
  isBusy: boolean;
}

/** Bytes to copy at a time. */
const copyBytes = 64 << 10;

export class PieceQueue {
  /** Pieces that have been begun and not been passed on completely, in order. */
  private readonly pieces: Piece[] = [];
  private readonly free: Buffer[] = [];
  private buffers = 0;

  /** `next` is where the first piece begins. */
  constructor(
    private next: number,
    private readonly blobSize: number,
    private readonly limits: { size: number; count: number },
  ) {}

  /** Bytes for which no piece has been begun. */
  get rest(): number {
    return this.blobSize - this.next;
  }

  get isFetched(): boolean {
    return this.rest === 0 && this.pieces.every(isFilled);
  }

  get isPassedOn(): boolean {
    return this.rest === 0 && this.pieces.length === 0;
  }

  /** Whether one can be begun now. */
  get hasRoom(): boolean {
    return this.rest > 0 && (this.free.length > 0 || this.buffers < this.limits.count);
  }

  /** A new piece for a connection, of `length` bytes or as many as are left. */
  begin(length: number): Piece {
    const buffer = this.free.pop() ?? this.newBuffer();
    const bytes = buffer.subarray(0, Math.min(length, this.rest));
    const piece = { start: this.next, bytes, filled: 0, handedOn: 0, isBusy: true };
    this.next += bytes.length;
    this.pieces.push(piece);
    return piece;
  }

  /** For another connection, a piece that one gave up. */
  takeLeft(): Piece | undefined {
    const left = this.pieces.find((piece) => !piece.isBusy && !isFilled(piece));
    if (left) left.isBusy = true;
    return left;
  }

  /** The next bytes to pass on, if they have come. A copy, since the buffer is used again before the disk has them. */
  nextChunk(): Buffer | undefined {
    const [piece] = this.pieces;
    if (!piece || piece.handedOn === piece.filled) return undefined;
    const end = Math.min(piece.filled, piece.handedOn + copyBytes);
    const copy = Buffer.from(piece.bytes.subarray(piece.handedOn, end));
    piece.handedOn = end;
    return copy;
  }

  /** Frees the buffer of the first piece, if that has been passed on completely. Returns whether it has. */
  release(): boolean {
    const [piece] = this.pieces;
    if (!piece || piece.handedOn < piece.bytes.length) return false;
    this.pieces.shift();
    this.free.push(Buffer.from(piece.bytes.buffer));
    return true;
  }

  private newBuffer(): Buffer {
    this.buffers += 1;
    return Buffer.allocUnsafeSlow(this.limits.size);
  }
}

export function isFilled({ bytes, filled }: Piece): boolean {
  return filled === bytes.length;
}
