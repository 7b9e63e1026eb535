/**
 * The rest of a large blob in pieces: several connections fetch one piece each, and they are passed on in order. A
 * piece is begun only when there is a buffer for it, and there are only a few, so that memory stays bounded.
 */
import { monotonic } from '../../base/clock.js';
import { Failure } from '../../base/failure.js';
import { Status } from '../../base/status.js';
import { received } from '../../pipe/garbage-collection.js';
import type { Incoming } from '../http/message.js';
import { responseFailure } from '../http/response-failures.js';
import { RegistryFailure } from '../transport/failure.js';
import type { Connections } from './connections.js';
import { type GetPart, isRange, rangeHeader } from './range.js';

/** When further connections are tried, and how much they may hold. */
export interface PiecePolicy {
  /** Milliseconds that a download goes on over one connection before more are considered, and between trials. */
  after: number;
  /** The milliseconds that the rest must take at the present rate, so that a trial is worth while. */
  remaining: number;
  /** Milliseconds that the first piece may take: after that the download's own connection reaches its beginning. */
  lead: number;
  /**
   * The longest Retry-After, in seconds, that is waited for. What the registry refuses to several connections, it may
   * well grant to one.
   */
  maxWait: number;
  /** The utilization of the event loop, from 0 to 1, above which this process itself is the slow part. */
  busy: number;
  /** Bytes per millisecond of all downloads above which hashing and the disk are the limit. */
  fast: number;
  /** What part of the first piece's bytes must be a gain, that is, not missing from the other connections. */
  gain: number;
  /** Bytes of a piece. */
  size: number;
  /** How many pieces may be in memory. */
  count: number;
}

export const defaultPiecePolicy: PiecePolicy = {
  after: 500,
  remaining: 4000,
  lead: 1000,
  maxWait: 30,
  busy: 0.5,
  fast: 100_000,
  gain: 0.5,
  size: 5 << 19,
  count: 6,
};

export interface PiecesRequest {
  /** The blob, for messages. */
  what: string;
  /** Bytes of the blob. */
  size: number;
  /** Where the first piece begins. */
  start: number;
  /** Bytes of the first piece, which shows whether a second connection adds anything. */
  trial: number;
  /** ETag of the response whose rest this is. */
  etag: string | undefined;
  get: GetPart;
  connections: Connections;
  policy: PiecePolicy;
}

export type Verdict = 'pays' | 'does not pay' | 'unclear';
type Write = (chunk: Buffer) => Promise<void> | undefined;

interface Piece {
  /** Its offset in the blob. */
  start: number;
  /** Its buffer, exactly as long as the piece. */
  bytes: Buffer;
  filled: number;
  handedOn: number;
  isBusy: boolean;
}

/** Bytes to copy at a time. They are copied since the buffer is used again before the disk has them. */
const copyBytes = 64 << 10;

export class Pieces {
  private readonly request: PiecesRequest;
  /** Pieces that have been begun and not been passed on completely, in order. */
  private readonly pieces: Piece[] = [];
  private readonly free: Buffer[] = [];
  private buffers = 0;
  private next: number;
  private helpers = 0;
  private own = false;
  private pays = false;
  private isOver = false;
  /** Why the download's own connection has failed. */
  private failure: unknown;
  /** Thrown into what is under way when this object wants no more: nothing that the registry has done. */
  private readonly cancelled: RegistryFailure;
  private readonly change = new Change();

  /** The caller has taken one spare connection and set `areHelping`. This object gives back both. */
  constructor(request: PiecesRequest) {
    this.request = request;
    this.next = request.start;
    this.cancelled = new RegistryFailure(Status.unavailable, request.what, 'this piece is not needed any more');
  }

  get start(): number {
    return this.request.start;
  }

  /** Whether everything from `start` on comes in pieces, so that the download's own connection can stop there. */
  get arePromised(): boolean {
    return this.pays && this.helpers > 0;
  }

  /**
   * Fetches the first piece while everything else goes on, to see whether another connection makes the whole faster.
   * `rate` is that of all connections before, in bytes per millisecond. If the others lose what the new one brings, it
   * does not pay. If another download begins or ends meanwhile, the result is unclear.
   */
  async tryOut(rate: number): Promise<Verdict> {
    const { connections, trial, policy } = this.request;
    this.helpers += 1;
    const piece = taken(this.begin(trial));
    const before = { time: 0, others: 0, own: 0, taken: connections.taken };
    const note = () => {
      if (before.own > 0) return;
      before.time = monotonic();
      before.others = connections.received;
      before.own = piece.filled;
    };
    let verdict: Verdict = 'does not pay';
    try {
      await this.fill(piece, note);
      const lost = rate * (monotonic() - before.time) - (connections.received - before.others);
      if (this.isOver || connections.taken !== before.taken) verdict = 'unclear';
      else if (lost < (piece.filled - before.own) * (1 - policy.gain)) verdict = 'pays';
      else connections.noteRate(connections.taken, rate);
    } catch (error) {
      this.judge(error);
    }
    if (verdict === 'pays') {
      this.pays = true;
      void this.help();
      this.hire();
      return verdict;
    }
    this.dismiss();
    return verdict;
  }

  /**
   * Passes on the pieces in order. Resolves when all are passed on, or when no connection is left to fetch the rest.
   * Throws the error of the download's own connection, if a retry may help.
   */
  async handOn(write: Write): Promise<void> {
    void this.workOn();
    try {
      for (;;) {
        const [piece] = this.pieces;
        if (piece && piece.handedOn < piece.filled) await write(copyOf(piece));
        else if (piece && piece.filled === piece.bytes.length) this.release(piece);
        else if (this.helpers > 0 || this.own) await this.change.wait();
        else break;
      }
    } finally {
      this.cancel();
    }
    const isWhole = this.pieces.length === 0 && this.next === this.request.size;
    if (!isWhole && this.failure) throw this.failure;
  }

  /** Ends everything. What is under way is dropped. */
  cancel(): void {
    this.isOver = true;
    this.change.tell();
  }

  /** Lets spare connections help, as many as there are. */
  private hire(): void {
    const { connections, policy } = this.request;
    while (!this.isOver && this.helpers + 2 < policy.count && connections.takeSpare()) {
      this.helpers += 1;
      void this.help();
    }
  }

  /** The work of one spare connection. It is given back when new downloads need it. */
  private async help(): Promise<void> {
    try {
      const { connections } = this.request;
      for (;;) {
        const piece = connections.areScarce ? undefined : await this.take(() => true);
        if (!piece) break;
        await this.fill(piece);
        this.hire();
      }
    } catch (error) {
      this.judge(error);
    }
    this.dismiss();
  }

  /**
   * The work of the download's own connection. When it is alone it begins no pieces: one long response is better then.
   */
  private async workOn(): Promise<void> {
    this.own = true;
    try {
      for (;;) {
        this.hire();
        const piece = await this.take(() => this.helpers > 0);
        if (!piece) break;
        await this.fill(piece);
      }
    } catch (error) {
      this.judge(error);
      if (!(error instanceof RegistryFailure)) this.failure = error;
      else if (error.retryable) this.failure = error.waitingAtMost(this.request.policy.maxWait);
    }
    this.own = false;
    this.settle();
  }

  /** A piece to fetch: one that another connection gave up, or a new one if `mayBegin`. Undefined when none is left. */
  private async take(mayBegin: () => boolean): Promise<Piece | undefined> {
    const { size, policy } = this.request;
    for (;;) {
      if (this.isOver) return undefined;
      const isFilled = ({ bytes, filled }: Piece) => filled === bytes.length;
      const left = this.pieces.find((piece) => !piece.isBusy && !isFilled(piece));
      if (left) return taken(left);
      if (this.next === size && this.pieces.every(isFilled)) return undefined;
      if (!mayBegin()) return undefined;
      const hasRoom = this.free.length > 0 || this.buffers < policy.count;
      if (this.next < size && hasRoom) return taken(this.begin(this.nextLength()));
      await this.change.wait();
    }
  }

  /**
   * The length of the next piece. Towards the end they become smaller, so that all connections end at about the same
   * time.
   */
  private nextLength(): number {
    const { size, policy } = this.request;
    const share = Math.ceil((size - this.next) / (this.helpers + 2));
    return Math.min(policy.size, Math.max(share, policy.size >> 2));
  }

  private begin(length: number): Piece {
    const { size } = this.request;
    const start = this.next;
    const buffer = this.free.pop() ?? this.newBuffer();
    const bytes = buffer.subarray(0, Math.min(length, size - start));
    this.next += bytes.length;
    const piece = { start, bytes, filled: 0, handedOn: 0, isBusy: false };
    this.pieces.push(piece);
    return piece;
  }

  private newBuffer(): Buffer {
    this.buffers += 1;
    return Buffer.allocUnsafeSlow(this.request.policy.size);
  }

  private release(piece: Piece): void {
    this.pieces.shift();
    this.free.push(Buffer.from(piece.bytes.buffer));
    this.change.tell();
  }

  /** Fetches the rest of a piece. What has come of it stays when the connection breaks. */
  private async fill(piece: Piece, onChunk: () => void = () => {}): Promise<void> {
    const { get, what } = this.request;
    try {
      const from = piece.start + piece.filled;
      const to = piece.start + piece.bytes.length;
      const response = await get(rangeHeader(from, to));
      await this.check(response, from);
      await response.stream((chunk) => {
        if (this.isOver) throw this.cancelled;
        if (chunk.length > piece.bytes.length - piece.filled)
          throw this.wrong('more than the range that it was asked for');
        piece.filled += chunk.copy(piece.bytes, piece.filled);
        received(chunk.length);
        onChunk();
        this.change.tell();
        return undefined;
      });
      if (piece.filled < piece.bytes.length) {
        throw new RegistryFailure(Status.unavailable, what, 'a piece was cut short', { retryable: true });
      }
    } finally {
      piece.isBusy = false;
      this.change.tell();
    }
  }

  private async check(response: Incoming, from: number): Promise<void> {
    const { etag, size } = this.request;
    const its = response.header('etag');
    if (response.status === 206) {
      const isSame = etag === undefined || its === undefined || etag === its;
      if (isSame && isRange(response.header('content-range'), from, size)) return;
    } else if (response.status >= 300 && response.status !== 416) throw await responseFailure(response);
    await response.drop();
    throw this.wrong(`HTTP ${response.status} and not the range that it was asked for`);
  }

  private wrong(sent: string): RegistryFailure {
    return new RegistryFailure(Status.protocol, this.request.what, `the registry sends ${sent}`);
  }

  /**
   * Judges an error. Unless it is a temporary one, the registry does not want further connections. A refusal counts
   * also when nobody waits for that piece any more, since the next trial would get the same.
   */
  private judge(error: unknown): void {
    if (error === this.cancelled) return;
    if (!(error instanceof Failure)) this.failure = error;
    const isPassing = error instanceof RegistryFailure && error.retryable && error.status !== Status.tryLater;
    if (!isPassing) this.request.connections.refuse();
  }

  private dismiss(): void {
    this.helpers -= 1;
    this.request.connections.give();
    this.settle();
  }

  private settle(): void {
    if (this.helpers === 0 && !this.own) this.request.connections.areHelping = false;
    this.change.tell();
  }
}

/** Marks a piece as being fetched, so that no other connection takes it. */
function taken(piece: Piece): Piece {
  piece.isBusy = true;
  return piece;
}

/** Copies the next bytes of a piece, for the receiver to keep. */
function copyOf(piece: Piece): Buffer {
  const end = Math.min(piece.filled, piece.handedOn + copyBytes);
  const copy = Buffer.from(piece.bytes.subarray(piece.handedOn, end));
  piece.handedOn = end;
  return copy;
}

/** Lets several waiters wait until something has changed. */
class Change {
  private waiting: (() => void)[] = [];

  wait(): Promise<void> {
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  tell(): void {
    const waiting = this.waiting;
    this.waiting = [];
    for (const wake of waiting) wake();
  }
}
