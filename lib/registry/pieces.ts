/**
 * The rest of a large blob in pieces: several connections fetch one each, and what has come is handed on in order. Memory
 * is bounded: a piece is begun when there is a buffer for it, and there are a few.
 */
import { monotonic } from '../pipe/clock.js';
import { Failure } from '../pipe/failure.js';
import { received } from '../pipe/garbage.js';
import { Status } from '../pipe/status.js';
import type { Connections } from './connections.js';
import { RegistryFailure, responseFailure } from './failures.js';
import type { Incoming } from './message.js';
import { type GetPart, isRange, rangeHeader } from './range.js';

/** When further connections are tried, and how much they may hold. */
export interface PiecePolicy {
  /** Milliseconds that a download goes on over one connection before it is asked whether more would help; then again. */
  after: number;
  /** Milliseconds that it would have to go on like this, so that it is worth while. */
  remaining: number;
  /** Milliseconds that the first piece may take, before the one connection has come to where it begins. */
  lead: number;
  /**
   * Seconds that are waited at most where the registry asks for it: what it refuses to several connections, it may well
   * grant to one.
   */
  maxWait: number;
  /** The event loop's share of time at which it is this process that is slow, and not what sends. */
  busy: number;
  /** Bytes in a millisecond of all downloads at which no more is to be gained: hashing and the disk come next. */
  fast: number;
  /** The part of what the first piece brings that must not be missing elsewhere meanwhile. */
  gain: number;
  /** Bytes of a piece. */
  size: number;
  /** Pieces that are held at most. */
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
  /** As long as the piece. */
  bytes: Buffer;
  filled: number;
  handedOn: number;
  isBusy: boolean;
}

/** What is copied at a time: the buffer of a piece is used again before the disk has got what it held. */
const copyBytes = 64 << 10;

export class Pieces {
  readonly #request: PiecesRequest;
  /** Those that are begun and not handed on whole, in their order. */
  readonly #pieces: Piece[] = [];
  readonly #free: Buffer[] = [];
  #buffers = 0;
  #next: number;
  #helpers = 0;
  #own = false;
  #pays = false;
  #isOver = false;
  /** Why the download's own connection gave up. */
  #failure: unknown;
  readonly #change = new Change();

  /** The caller has taken one spare connection, and set `areHelping`; both are this object's to give back. */
  constructor(request: PiecesRequest) {
    this.#request = request;
    this.#next = request.start;
  }

  get start(): number {
    return this.#request.start;
  }

  /** Whether the pieces from `start` on come by themselves, so that who arrives there need go no further. */
  get arePromised(): boolean {
    return this.#pays && this.#helpers > 0;
  }

  /**
   * Fetches the first piece while everything else goes on, of which `connections` counts the bytes: `rate` is how many of
   * them came in a millisecond before. A connection that takes from the others what it brings does not pay. When another
   * download ends meanwhile, nothing can be told.
   */
  async tryOut(rate: number): Promise<Verdict> {
    const { connections, trial, policy } = this.#request;
    this.#helpers += 1;
    const piece = taken(this.#begin(trial));
    const before = { time: 0, others: 0, own: 0, taken: connections.taken };
    const note = () => {
      if (before.own > 0) return;
      before.time = monotonic();
      before.others = connections.received;
      before.own = piece.filled;
    };
    let verdict: Verdict = 'does not pay';
    try {
      await this.#fill(piece, note);
      const lost = rate * (monotonic() - before.time) - (connections.received - before.others);
      if (this.#isOver || connections.taken !== before.taken) verdict = 'unclear';
      else if (lost < (piece.filled - before.own) * (1 - policy.gain)) verdict = 'pays';
      else connections.noteRate(connections.taken, rate);
    } catch (error) {
      this.#judge(error);
    }
    if (verdict === 'pays') {
      this.#pays = true;
      void this.#help();
      this.#hire();
      return verdict;
    }
    this.#dismiss();
    return verdict;
  }

  /**
   * Hands on the pieces in order. Resolves when all are, or when further connections are of no more use. Throws what the
   * download's own connection has failed with, if trying again may help.
   */
  async handOn(write: Write): Promise<void> {
    void this.#workOn();
    try {
      for (;;) {
        const [piece] = this.#pieces;
        if (piece && piece.handedOn < piece.filled) await write(copyOf(piece));
        else if (piece && piece.filled === piece.bytes.length) this.#release(piece);
        else if (this.#helpers > 0 || this.#own) await this.#change.wait();
        else break;
      }
    } finally {
      this.cancel();
    }
    const isWhole = this.#pieces.length === 0 && this.#next === this.#request.size;
    if (!isWhole && this.#failure) throw this.#failure;
  }

  /** Ends it; what is under way is dropped. */
  cancel(): void {
    this.#isOver = true;
    this.#change.tell();
  }

  /** Takes on what connections are left over. */
  #hire(): void {
    const { connections, policy } = this.#request;
    while (!this.#isOver && this.#helpers + 2 < policy.count && connections.takeSpare()) {
      this.#helpers += 1;
      void this.#help();
    }
  }

  /** One connection that was left over. It is given back when downloads that begin need it. */
  async #help(): Promise<void> {
    try {
      const { connections } = this.#request;
      for (;;) {
        const piece = connections.areScarce ? undefined : await this.#take(() => true);
        if (!piece) break;
        await this.#fill(piece);
        this.#hire();
      }
    } catch (error) {
      this.#judge(error);
    }
    this.#dismiss();
  }

  /** The connection of the download itself. Alone it begins no more pieces: one long answer is better then. */
  async #workOn(): Promise<void> {
    this.#own = true;
    try {
      for (;;) {
        this.#hire();
        const piece = await this.#take(() => this.#helpers > 0);
        if (!piece) break;
        await this.#fill(piece);
      }
    } catch (error) {
      this.#judge(error);
      if (!(error instanceof RegistryFailure)) this.#failure = error;
      else if (error.retryable) this.#failure = error.waitingAtMost(this.#request.policy.maxWait);
    }
    this.#own = false;
    this.#settle();
  }

  /** One that was given up by another, or a new one if there may be one; undefined when all have come. */
  async #take(mayBegin: () => boolean): Promise<Piece | undefined> {
    const { size, policy } = this.#request;
    for (;;) {
      if (this.#isOver) return undefined;
      const isFilled = ({ bytes, filled }: Piece) => filled === bytes.length;
      const left = this.#pieces.find((piece) => !piece.isBusy && !isFilled(piece));
      if (left) return taken(left);
      if (this.#next === size && this.#pieces.every(isFilled)) return undefined;
      if (!mayBegin()) return undefined;
      const hasRoom = this.#free.length > 0 || this.#buffers < policy.count;
      if (this.#next < size && hasRoom) return taken(this.#begin(this.#nextLength()));
      await this.#change.wait();
    }
  }

  /** Towards the end they become smaller, so that all connections are done at about the same time. */
  #nextLength(): number {
    const { size, policy } = this.#request;
    const share = Math.ceil((size - this.#next) / (this.#helpers + 2));
    return Math.min(policy.size, Math.max(share, policy.size >> 2));
  }

  #begin(length: number): Piece {
    const { size } = this.#request;
    const start = this.#next;
    const buffer = this.#free.pop() ?? this.#newBuffer();
    const bytes = buffer.subarray(0, Math.min(length, size - start));
    this.#next += bytes.length;
    const piece = { start, bytes, filled: 0, handedOn: 0, isBusy: false };
    this.#pieces.push(piece);
    return piece;
  }

  #newBuffer(): Buffer {
    this.#buffers += 1;
    return Buffer.allocUnsafeSlow(this.#request.policy.size);
  }

  #release(piece: Piece): void {
    this.#pieces.shift();
    this.#free.push(Buffer.from(piece.bytes.buffer));
    this.#change.tell();
  }

  /** What has come of a piece stays when its connection breaks. */
  async #fill(piece: Piece, onChunk: () => void = () => {}): Promise<void> {
    const { get, what } = this.#request;
    try {
      const from = piece.start + piece.filled;
      const to = piece.start + piece.bytes.length;
      const response = await get(rangeHeader(from, to));
      await this.#check(response, from);
      await response.stream((chunk) => {
        if (this.#isOver) throw new RegistryFailure(Status.unavailable, what, 'this piece is not needed any more');
        if (chunk.length > piece.bytes.length - piece.filled)
          throw this.#wrong('more than the range that it was asked for');
        piece.filled += chunk.copy(piece.bytes, piece.filled);
        received(chunk.length);
        onChunk();
        this.#change.tell();
        return undefined;
      });
      if (piece.filled < piece.bytes.length) {
        throw new RegistryFailure(Status.unavailable, what, 'a piece was cut short', { retryable: true });
      }
    } finally {
      piece.isBusy = false;
      this.#change.tell();
    }
  }

  async #check(response: Incoming, from: number): Promise<void> {
    const { etag, size } = this.#request;
    const its = response.header('etag');
    if (response.status === 206) {
      const isSame = etag === undefined || its === undefined || etag === its;
      if (isSame && isRange(response.header('content-range'), from, size)) return;
    } else if (response.status >= 300 && response.status !== 416) throw await responseFailure(response);
    await response.drop();
    throw this.#wrong(`HTTP ${response.status} and not the range that it was asked for`);
  }

  #wrong(sent: string): RegistryFailure {
    return new RegistryFailure(Status.protocol, this.#request.what, `the registry sends ${sent}`);
  }

  /** What is no passing trouble is the registry's way to say that it does not want this. */
  #judge(error: unknown): void {
    if (this.#isOver) return;
    if (!(error instanceof Failure)) this.#failure = error;
    const isPassing = error instanceof RegistryFailure && error.retryable && error.status !== Status.tryLater;
    if (!isPassing) this.#request.connections.refuse();
  }

  #dismiss(): void {
    this.#helpers -= 1;
    this.#request.connections.give();
    this.#settle();
  }

  #settle(): void {
    if (this.#helpers === 0 && !this.#own) this.#request.connections.areHelping = false;
    this.#change.tell();
  }
}

/** Nobody else takes it then. */
function taken(piece: Piece): Piece {
  piece.isBusy = true;
  return piece;
}

/** The next bytes of a piece, which are whoever's they are given to. */
function copyOf(piece: Piece): Buffer {
  const end = Math.min(piece.filled, piece.handedOn + copyBytes);
  const copy = Buffer.from(piece.bytes.subarray(piece.handedOn, end));
  piece.handedOn = end;
  return copy;
}

/** What waits until something has changed, and then looks again. */
class Change {
  #waiting: (() => void)[] = [];

  wait(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  tell(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const wake of waiting) wake();
  }
}
