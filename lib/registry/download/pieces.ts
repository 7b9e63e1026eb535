/** The rest of a large blob in pieces: several connections fetch one piece each, and they are passed on in order. */
import { monotonic } from '../../base/clock.js';
import { Failure } from '../../base/failure.js';
import { Status } from '../../base/status.js';
import { received } from '../../sys/libraries/garbage-collection.js';
import type { Incoming } from '../http/message.js';
import { responseFailure } from '../http/response-failures.js';
import { RegistryFailure } from '../transport/failure.js';
import type { Connections } from './connections.js';
import type { PiecePolicy } from './piece-policy.js';
import { isFilled, type Piece, PieceQueue } from './piece-queue.js';
import { type GetPart, isRange, rangeHeader } from './range.js';

interface PiecesRequest {
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

type Verdict = 'pays' | 'does not pay' | 'unclear';
type Write = (chunk: Buffer) => Promise<void> | undefined;

export class Pieces {
  private readonly queue: PieceQueue;
  private helpers = 0;
  private own = false;
  private pays = false;
  private isOver = false;
  /** Why the download's own connection has failed. */
  private failure: unknown;
  /** Thrown into what is under way when this object wants no more: nothing that the registry has done. */
  private readonly cancelled: RegistryFailure;
  private readonly change = new Change();

  /** The caller has begun the help. This object gives back the connection for that, and ends it. */
  constructor(private readonly request: PiecesRequest) {
    this.queue = new PieceQueue(request.start, request.size, request.policy);
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
    const piece = this.queue.begin(trial);
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
        const chunk = this.queue.nextChunk();
        if (chunk) await write(chunk);
        else if (this.queue.release()) this.change.tell();
        else if (this.helpers > 0 || this.own) await this.change.wait();
        else break;
      }
    } finally {
      this.cancel();
    }
    if (!this.queue.isPassedOn && this.failure) throw this.failure;
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
    const { queue } = this;
    for (;;) {
      if (this.isOver) return undefined;
      const left = queue.takeLeft();
      if (left) return left;
      if (queue.isFetched || !mayBegin()) return undefined;
      if (queue.hasRoom) return queue.begin(this.nextLength());
      await this.change.wait();
    }
  }

  /**
   * The length of the next piece. Towards the end they become smaller, so that all connections end at about the same
   * time.
   */
  private nextLength(): number {
    const { size } = this.request.policy;
    const share = Math.ceil(this.queue.rest / (this.helpers + 2));
    return Math.min(size, Math.max(share, size >> 2));
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
      if (!isFilled(piece)) {
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
    if (this.helpers === 0 && !this.own) this.request.connections.endHelp();
    this.change.tell();
  }
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
