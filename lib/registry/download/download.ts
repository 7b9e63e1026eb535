/**
 * The download of one blob, in order, over as many requests as it takes, beginning where `sink` ends. When it will take
 * long, spare connections fetch later parts in advance.
 */
import type { EventLoopUtilization } from 'node:perf_hooks';
import { monotonic } from '../../base/clock.js';
import { documentLimit } from '../../base/oci.js';
import type { BlobSink } from '../../base/source.js';
import { Status } from '../../base/status.js';
import { codingFailure, isGzip } from '../http/coding.js';
import type { Incoming } from '../http/message.js';
import { responseFailure } from '../http/response-failures.js';
import { RegistryFailure } from '../transport/failure.js';
import type { Connections } from './connections.js';
import type { PiecePolicy } from './piece-policy.js';
import { Pieces } from './pieces.js';
import { type GetPart, isRange, rangeHeader } from './range.js';

interface DownloadRequest {
  /** The blob, for messages. */
  what: string;
  /** Bytes. */
  size: number;
  sink: BlobSink;
  get: GetPart;
  /** What sends requests for other parts of the blob that a response is the rest of. */
  getMore: (response: Incoming) => GetPart;
  connections: Connections;
  pieces: PiecePolicy;
}

/** After a trial that showed no gain, the time until the next one is so many times as long. */
const patience = 4;
/** What part of `policy.lead` a trial should take, and what part of a whole piece it may be. */
const trialTime = 0.4;
const trialPart = 0.5;

export class Download {
  /** The most bytes that there ever were: starting again from 0 is no progress. */
  reached: number;
  /** Whether some of it came in pieces. */
  hadPieces = false;
  private useRanges = true;
  private pieces: Pieces | undefined;
  private interval: number;
  /**
   * Whether the rest is longer than one piece: no other can come in pieces. Only then the pace is measured, since it
   * takes a module of Node that takes 2 ms to load.
   */
  private isLong = false;
  /** The figures when the pace was last measured. */
  private last = { time: 0, offset: 0, received: 0, taken: 0, loop: undefined as EventLoopUtilization | undefined };

  constructor(private readonly request: DownloadRequest) {
    this.reached = request.sink.offset;
    this.interval = request.pieces.after;
  }

  /** Downloads the rest. Throws `RegistryFailure` when it breaks off; then it can be called again. */
  async attempt(): Promise<void> {
    const { sink, size } = this.request;
    if (sink.offset > size) sink.restart();
    try {
      while (sink.offset < size) await this.goOn();
    } finally {
      this.reached = Math.max(this.reached, sink.offset);
    }
  }

  /** One response, and the pieces that follow it if there are any. */
  private async goOn(): Promise<void> {
    const { sink, size, get, what, pieces } = this.request;
    const from = sink.offset;
    const asksForRest = from > 0 && this.useRanges;
    const response = await (asksForRest ? this.getRest(from) : get({}));
    if (!response) return;
    const isCompressed = response.status === 200 && this.compressed(response, size) !== undefined;
    if (isCompressed && isGzip(response) && size <= documentLimit) return this.decompress(response);
    if (!(await this.accept(response, from, asksForRest))) return;
    this.isLong = size - sink.offset > pieces.size;
    if (this.isLong) this.measure();
    const enough = new RegistryFailure(Status.unavailable, what, 'the rest comes in ranges over several connections');
    try {
      await response.stream((chunk) => this.take(chunk, response, enough));
      if (sink.offset < size) throw this.cutShort();
    } catch (error) {
      if (error !== enough || !this.pieces) throw error;
      this.hadPieces = true;
      await this.pieces.handOn((chunk) => this.write(chunk));
    } finally {
      this.pieces?.cancel();
      this.pieces = undefined;
    }
  }

  /**
   * Some storage behind a registry answers 400 to a request for a range, and gives the whole: then this is undefined, and
   * the next request asks for that. What is there already stays until the whole comes.
   */
  private async getRest(from: number): Promise<Incoming | undefined> {
    const { get, size } = this.request;
    try {
      const response = await get(rangeHeader(from, size));
      if (response.status !== 400) return response;
      await response.drop();
    } catch (error) {
      if (!(error instanceof RegistryFailure) || error.status !== Status.protocol) throw error;
    }
    this.useRanges = false;
    return undefined;
  }

  /**
   * The failure for a body that was compressed for the transfer, undefined for any other. Object stores may claim that of
   * a file that is gzip itself: when the length is right, it comes unchanged.
   */
  private compressed(response: Incoming, length: number): RegistryFailure | undefined {
    const header = response.header('content-length');
    return header !== undefined && Number(header) === length ? undefined : codingFailure(response);
  }

  /** A config, or a layer as small as one: proxies compress JSON, and leave alone what they do not know. */
  private async decompress(response: Incoming): Promise<void> {
    const { sink, size } = this.request;
    const bytes = await response.bytes(documentLimit);
    if (bytes.length !== size) throw this.otherSize(bytes.length);
    if (sink.offset > 0) sink.restart();
    await this.write(bytes);
  }

  /** Whether a response is what was asked for. When it is a wrong range, the next request asks for the whole blob. */
  private async accept(response: Incoming, from: number, askedForRest: boolean): Promise<boolean> {
    const { what, size, sink, connections } = this.request;
    if (response.status === 200) {
      const length = Number(response.header('content-length') ?? size);
      const compressed = this.compressed(response, size);
      if (compressed || length !== size) {
        await response.drop();
        throw compressed ?? this.otherSize(length);
      }
      if (from === 0) return true;
      connections.refuse();
      sink.restart();
      return true;
    }
    const isRest = askedForRest && isRange(response.header('content-range'), from, size);
    if (response.status === 206 && isRest && !this.compressed(response, size - from)) return true;
    if (response.status !== 206 && response.status !== 416) throw await responseFailure(response);
    await response.drop();
    this.useRanges = false;
    if (askedForRest) return false;
    const why = `the registry answers a request for all with HTTP ${response.status} and the wrong range`;
    throw new RegistryFailure(Status.protocol, what, why);
  }

  /** Throws `enough` where the first piece begins. */
  private take(chunk: Buffer, response: Incoming, enough: RegistryFailure): Promise<void> | undefined {
    const { sink } = this.request;
    const ahead = this.pieces;
    if (ahead && sink.offset + chunk.length >= ahead.start) {
      if (ahead.arePromised) {
        this.write(chunk.subarray(0, ahead.start - sink.offset));
        throw enough;
      }
      ahead.cancel();
      this.pieces = undefined;
    }
    const wait = this.write(chunk);
    if (this.isLong && monotonic() - this.last.time >= this.interval) this.considerHelp(response);
    return wait;
  }

  private write(chunk: Buffer): Promise<void> | undefined {
    const { sink, size, what, connections } = this.request;
    if (sink.offset + chunk.length > size) {
      // This is other content, so all of it is wrong.
      sink.restart();
      throw new RegistryFailure(Status.data, what, `more bytes came than the ${size} in its descriptor`);
    }
    connections.received += chunk.length;
    return sink.write(chunk);
  }

  /** Tries a spare connection, when the rest would take long at the pace of this one. */
  private considerHelp(response: Incoming): void {
    const { size, sink, what, getMore, connections, pieces: policy } = this.request;
    const { rate, total, utilization, isSteady } = this.measure();
    const remaining = size - sink.offset;
    // This connection goes on until the first piece has come, so that begins further on by `lead`.
    const trial = Math.ceil(Math.min(rate * policy.lead * trialTime, policy.size * trialPart));
    const lead = Math.ceil(rate * policy.lead) + trial;
    const pays = remaining > rate * policy.remaining && remaining > lead + policy.size;
    if (!pays || !this.useRanges || utilization > policy.busy || total > policy.fast || this.pieces) return;
    // While other downloads begin and end, rates cannot be compared.
    if (!isSteady || connections.areEnough(total)) return;
    if (!connections.beginHelp()) return;
    const start = sink.offset + lead;
    const etag = response.header('etag');
    const ahead = new Pieces({ what, size, start, trial, etag, get: getMore(response), connections, policy });
    this.pieces = ahead;
    void ahead.tryOut(total).then((verdict) => {
      if (verdict === 'pays') return;
      if (verdict === 'does not pay') this.interval *= patience;
      if (this.pieces === ahead) this.pieces = undefined;
    });
  }

  /** Measures since the last call: `rate` of this download and `total` of all, in bytes per millisecond. */
  private measure() {
    const { sink, connections } = this.request;
    const { time: since, offset, received, taken, loop } = this.last;
    const { utilization } = performance.eventLoopUtilization(loop);
    this.last = {
      time: monotonic(),
      offset: sink.offset,
      received: connections.received,
      taken: connections.taken,
      loop: performance.eventLoopUtilization(),
    };
    const time = this.last.time - since;
    const total = (connections.received - received) / time;
    const isSteady = taken === connections.taken;
    // Pieces count as received when they are passed on. Until then more connections would seem to be no faster.
    if (isSteady && !this.pieces) connections.noteRate(taken, total);
    return { utilization, total, isSteady, rate: (sink.offset - offset) / time };
  }

  private otherSize(length: number): RegistryFailure {
    const { what, size } = this.request;
    return new RegistryFailure(Status.data, what, `the registry offers ${length} bytes, not ${size}`);
  }

  private cutShort(): RegistryFailure {
    const { what, size, sink } = this.request;
    return new RegistryFailure(Status.unavailable, what, `it was cut short at ${sink.offset} of ${size} bytes`, {
      retryable: true,
    });
  }
}
