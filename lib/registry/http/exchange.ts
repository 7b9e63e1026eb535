/** One request and its response: what undici tells of them, turned into `Incoming` or a failure. */
import { isUtf8 } from 'node:buffer';
import type { Dispatcher } from 'undici';
import { Failure } from '../../base/failure.js';
import { hiddenIn } from '../names/redaction.js';
import { RegistryFailure } from '../transport/failure.js';
import { loginOf } from '../transport/proxy-env.js';
import { endlessInterim, tooSlow, transportFailure } from '../transport/transport-failures.js';
import { bodyTooLarge, codingFailure, gunzipped, isGzip } from './coding.js';
import type { Incoming, OnChunk, Outgoing } from './message.js';
import { type LeastPace, Pace } from './pace.js';
import { redactSecrets, secretsIn } from './secrets.js';

/**
 * Bytes of an unwanted body that are read, so that its connection can be used again. A longer body is not worth that.
 */
const dropLimit = 64 * 1024;

/** Bytes for a body of unknown length, to begin with: most manifests are shorter. */
const firstBytes = 16 * 1024;

/** How many interim answers (1xx) may come. Each starts the timeout for the real answer anew. */
const maxInterim = 20;

/** One exchange, as undici reports it. No body is read before `stream`, `bytes` or `drop` is called. */
export class Exchange implements Dispatcher.DispatchHandler, Incoming {
  status = 0;
  private interim = 0;
  private fields: Record<string, string | string[] | undefined> = {};
  private controller: Dispatcher.DispatchController | undefined;
  private onChunk: OnChunk | undefined;
  private pace: Pace | undefined;
  private readonly early: Buffer[] = [];
  private settle: { resolve: () => void; reject: (error: Error) => void } | undefined;
  private thrown: Error | undefined;
  private outcome: Error | 'complete' | undefined;

  constructor(
    private readonly request: Outgoing,
    private readonly proxy: string | undefined,
    private readonly least: LeastPace,
    private readonly resolve: (incoming: Incoming) => void,
    private readonly reject: (error: Error) => void,
  ) {}

  get url(): URL {
    return this.request.url;
  }

  get login(): Incoming['login'] {
    const { headers, isOfLogin } = this.request;
    if (headers.authorization === undefined) return undefined;
    return headers.authorization.startsWith('Basic ') ? 'password' : isOfLogin ? 'token' : undefined;
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.controller = controller;
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    headers: Record<string, string | string[] | undefined>,
  ): void {
    if (status < 200) {
      this.interim += 1;
      if (this.interim > maxInterim) controller.abort(endlessInterim(this.url));
      return;
    }
    this.status = status;
    this.fields = headers;
    controller.pause();
    this.resolve(this);
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    // Through an http proxy undici does not pass on the pause, so a chunk may come before anybody wants it.
    if (this.onChunk) this.hand(controller, chunk);
    else this.early.push(chunk);
  }

  private hand(controller: Dispatcher.DispatchController | undefined, chunk: Buffer): void {
    this.pace?.came(chunk.length);
    try {
      const wait = this.onChunk?.(chunk);
      if (!wait) return;
      controller?.pause();
      this.pace?.hold();
      wait.then(() => {
        this.pace?.goOn();
        controller?.resume();
      });
    } catch (error) {
      // An error of the receiver has nothing to do with the network: it is passed on unchanged.
      this.thrown = error instanceof Error ? error : new Error(String(error));
      controller?.abort(this.thrown);
    }
  }

  onResponseEnd(): void {
    this.outcome = 'complete';
    this.pace?.stop();
    // undici can use the connection again one turn of the event loop later. An earlier request would open a new one.
    setImmediate(() => setImmediate(() => this.settle?.resolve()));
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    const ours = this.thrown ?? (error instanceof RegistryFailure ? error : undefined);
    const failure = ours ?? transportFailure(error, this.url, { proxy: this.proxy, isAnswered: this.status > 0 });
    this.outcome = failure;
    this.pace?.stop();
    this.reject(failure);
    this.settle?.reject(failure);
  }

  header(name: string): string | undefined {
    return this.headers(name)[0];
  }

  headers(name: string): string[] {
    return this.received(name).map(decodedHeader);
  }

  get location(): string | undefined {
    return this.received('location')[0]?.replace(/[\x80-\xff]/g, encodeByte);
  }

  /** The values of a header as undici has them: it makes a character of each byte. */
  private received(name: string): string[] {
    const value = Object.hasOwn(this.fields, name) ? this.fields[name] : undefined;
    return value === undefined ? [] : Array.isArray(value) ? value : [value];
  }

  quote(text: string): string {
    const { headers, secret = [], url } = this.request;
    const proxyLogin = this.proxy === undefined ? undefined : loginOf(this.proxy);
    const logins = [headers.authorization, proxyLogin].flatMap(secretsIn);
    return redactSecrets(text, [...logins, ...secret, ...hiddenIn(url)]);
  }

  stream(onChunk: OnChunk): Promise<void> {
    this.onChunk = onChunk;
    const ended = new Promise<void>((resolve, reject) => {
      this.settle = { resolve, reject };
      if (this.outcome === 'complete') resolve();
      else if (this.outcome) reject(this.outcome);
    });
    const stalled = (bytes: number) => this.controller?.abort(tooSlow(this.url, bytes, this.least.over));
    if (!this.outcome) this.pace = new Pace(this.least, stalled);
    for (const chunk of this.early) this.hand(this.controller, chunk);
    this.controller?.resume();
    return ended;
  }

  async bytes(limit: number): Promise<Buffer> {
    if (isGzip(this)) return gunzipped(await this.raw(limit), limit, this.url);
    const unreadable = codingFailure(this);
    if (!unreadable) return this.raw(limit);
    await this.drop();
    throw unreadable;
  }

  /** The whole body, as it comes. */
  private async raw(limit: number): Promise<Buffer> {
    // Copied at once: even a chunk of one byte keeps the whole read of the socket in memory.
    let body = Buffer.allocUnsafe(Math.min(limit, firstBytes));
    let length = 0;
    await this.stream((chunk) => {
      if (length + chunk.length > limit) throw bodyTooLarge(this.url, limit);
      if (length + chunk.length > body.length) {
        const larger = Buffer.allocUnsafe(Math.min(limit, 2 * (length + chunk.length)));
        body.copy(larger, 0, 0, length);
        body = larger;
      }
      length += chunk.copy(body, length);
      return undefined;
    });
    return body.subarray(0, length);
  }

  async drop(): Promise<void> {
    let length = 0;
    try {
      await this.stream((chunk) => {
        length += chunk.length;
        if (length > dropLimit) throw bodyTooLarge(this.url, dropLimit);
        return undefined;
      });
    } catch (error) {
      // Nobody wants this body, so nobody cares how it ends.
      if (!(error instanceof Failure)) throw error;
    }
  }
}

/** The text of a header. Where it is not ASCII it is UTF-8 as a rule. */
function decodedHeader(header: string): string {
  const bytes = Buffer.from(header, 'latin1');
  return isUtf8(bytes) ? bytes.toString() : header;
}

/** RFC 3986, 2.1: `%` and the byte in hex. */
function encodeByte(character: string): string {
  return `%${character.charCodeAt(0).toString(16).toUpperCase()}`;
}
