/**
 * All HTTP of this program goes through `Http.exchange`: one request, one response, nothing followed and nothing
 * decoded. Redirects, tokens and retries are built on top, in files of their own.
 */
import { setDefaultAutoSelectFamilyAttemptTimeout } from 'node:net';
import type { Dispatcher } from 'undici';
import pkg from '../../package.json' with { type: 'json' };
import { errnoName, Failure } from '../pipe/failure.js';
import { tracing } from '../pipe/trace.js';
import { Dispatchers } from './dispatchers.js';
import {
  bodyTooLarge,
  encodingFailure,
  endlessInterim,
  RegistryFailure,
  tooSlow,
  transportFailure,
} from './failures.js';
import type { Guard } from './guard.js';
import { type LeastPace, Pace } from './pace.js';
import { loginOf, proxyFor } from './proxy-env.js';
import { secretsIn, withoutSecrets } from './secrets.js';
import { hiddenIn } from './url.js';

export interface Outgoing {
  method: 'GET' | 'POST';
  url: URL;
  /** Names in lower case. */
  headers: Record<string, string>;
  body?: string;
  /** What is secret in the body. */
  secret?: string[];
}

export interface Incoming {
  /** Where the response came from. */
  url: URL;
  status: number;
  /** Whether a user name and a password went along with the request. */
  hadLogin: boolean;
  /** The first value of a header, by its name in lower case. */
  header(name: string): string | undefined;
  /** All values of a header. */
  headers(name: string): string[];
  /**
   * Hands on the body as it comes; while a promise that `onChunk` returned is not fulfilled, no more is read. Once, and
   * only one of these three may be called; one must be.
   */
  stream(onChunk: OnChunk): Promise<void>;
  /** The whole body; throws `Failure` 76 when it is longer than `limit` bytes, or compressed for the transfer. */
  bytes(limit: number): Promise<Buffer>;
  /** A text of the server's with what it quotes of our credentials, or of a signed link, as `***`. */
  quote(text: string): string;
  /** Reads on without looking, or hangs up when that would be long. Never rejects. */
  drop(): Promise<void>;
}

type OnChunk = (chunk: Buffer) => Promise<void> | undefined;

/** Seconds; 0 waits for ever. */
export interface Timeouts {
  /** Until TCP and TLS are up. */
  connect: number;
  /** From the request to the last response header. */
  headers: number;
  /** Without any byte of the body. */
  idle: number;
}

export interface HttpOptions {
  timeouts: Timeouts;
  /** Bytes of a body in a second, on average over the idle time-out, below which it has stalled; 0 for no limit. */
  minSpeed: number;
  /** Certificates (PEM) that are trusted beside the system's. */
  ca: string | undefined;
  /** Hosts, with port where they have one, whose certificate is not checked. */
  insecure: string[];
  /** Decides where else than to the registry itself requests may go. */
  guard: Guard | undefined;
}

export const defaultTimeouts: Timeouts = { connect: 15, headers: 60, idle: 60 };
/** Six connections over a telephone line have more each. */
export const defaultMinSpeed = 100;

/**
 * Milliseconds for one address of a host that has several, where it needs patience: longer than it takes for a SYN that
 * was lost to be sent again, and again.
 */
const addressTimeout = 5000;
const userAgent = `md/${pkg.version}`;
/** A body that nobody wants is read up to here, so that its connection can be used again. */
const dropLimit = 64 * 1024;

/** Room for a body of which it is not known how long it is: most manifests have less. */
const firstBytes = 16 * 1024;

/** Interim answers (1xx), of which each has its own time to come. */
const maxInterim = 20;

export class Http {
  readonly #options: HttpOptions;
  readonly #dispatchers: Dispatchers;
  #tracer: Promise<void> | undefined;
  #known = { needsPatience: false, needsSystem: false };

  constructor(options: Partial<HttpOptions> = {}) {
    const defaults = { timeouts: defaultTimeouts, minSpeed: defaultMinSpeed };
    this.#options = { ...defaults, ca: undefined, insecure: [], guard: undefined, ...options };
    this.#dispatchers = new Dispatchers(this.#options);
  }

  /**
   * Sends a request and resolves when the response's headers are in.
   * Throws `Failure` 69 when the host cannot be reached or does not answer in time, 76 when it speaks no HTTP.
   */
  async exchange(request: Outgoing): Promise<Incoming> {
    if (tracing()) {
      this.#tracer ??= import('./http-trace.js').then(({ traceHttp }) => traceHttp());
      await this.#tracer;
    }
    await this.#options.guard?.check(request.url);
    const known = this.#known;
    try {
      return await this.#dispatch(request);
    } catch (error) {
      const lesson = error instanceof RegistryFailure ? lessonOf(error) : undefined;
      if (!lesson || known[lesson]) throw error;
      // Of requests at the same time the first one learns for all.
      this.#known = { ...this.#known, [lesson]: true };
      if (lesson === 'needsPatience') setDefaultAutoSelectFamilyAttemptTimeout(addressTimeout);
      return this.exchange(request);
    }
  }

  async #dispatch(request: Outgoing): Promise<Incoming> {
    const { url, method, body } = request;
    // What a proxy resolves and reaches is for the proxy to judge.
    const proxy = proxyFor(url);
    const dispatcher = await this.#dispatchers.for(url, proxy, this.#known.needsSystem);
    const { minSpeed, timeouts } = this.#options;
    const { headers, idle } = timeouts;
    return new Promise((resolve, reject) => {
      dispatcher.dispatch(
        {
          origin: url.origin,
          path: url.pathname + url.search,
          method,
          headers: { 'user-agent': userAgent, ...request.headers },
          body: body ?? null,
          headersTimeout: headers * 1000,
          bodyTimeout: idle * 1000,
        },
        new Exchange(request, proxy, { speed: minSpeed, over: idle }, resolve, reject),
      );
    });
  }

  /** Hangs up. Exchanges under way fail. */
  close(): Promise<void> {
    return this.#dispatchers.close();
  }
}

/**
 * What a failure tells of the network or the registry that it takes too long to provide for from the start: reading the
 * system's authorities is longer than a whole exchange, and where an address is never reached, such as one of IPv6 where
 * there is none, each connection waits until Node gives it up, which is after 250 ms.
 */
function lessonOf({ untrusted, cause }: RegistryFailure): 'needsPatience' | 'needsSystem' | undefined {
  if (untrusted) return 'needsSystem';
  const failures: unknown[] = cause instanceof AggregateError ? cause.errors : [];
  return failures.some((it) => errnoName(it) === 'ETIMEDOUT') ? 'needsPatience' : undefined;
}

/** One exchange, as undici reports it. The body waits until somebody has said what to do with it. */
class Exchange implements Dispatcher.DispatchHandler, Incoming {
  status = 0;
  #interim = 0;
  #headers: Record<string, string | string[] | undefined> = {};
  #controller: Dispatcher.DispatchController | undefined;
  #onChunk: OnChunk | undefined;
  #pace: Pace | undefined;
  readonly #early: Buffer[] = [];
  #settle: { resolve: () => void; reject: (error: Error) => void } | undefined;
  #thrown: Error | undefined;
  #outcome: Error | 'complete' | undefined;

  constructor(
    private readonly request: Outgoing,
    private readonly proxy: string | undefined,
    private readonly least: LeastPace,
    readonly resolve: (incoming: Incoming) => void,
    readonly reject: (error: Error) => void,
  ) {}

  get url(): URL {
    return this.request.url;
  }

  get hadLogin(): boolean {
    return this.request.headers.authorization?.startsWith('Basic ') ?? false;
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    headers: Record<string, string | string[] | undefined>,
  ): void {
    if (status < 200) {
      this.#interim += 1;
      if (this.#interim > maxInterim) controller.abort(endlessInterim(this.url));
      return;
    }
    this.status = status;
    this.#headers = headers;
    controller.pause();
    this.resolve(this);
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    // undici's way through an http proxy does not pass on the pause, and one chunk may come too soon.
    if (this.#onChunk) this.#hand(controller, chunk);
    else this.#early.push(chunk);
  }

  #hand(controller: Dispatcher.DispatchController | undefined, chunk: Buffer): void {
    this.#pace?.came(chunk.length);
    try {
      const wait = this.#onChunk?.(chunk);
      if (!wait) return;
      controller?.pause();
      this.#pace?.hold();
      wait.then(() => {
        this.#pace?.goOn();
        controller?.resume();
      });
    } catch (error) {
      // What the receiver throws is no trouble of the network, and is passed on as it is.
      this.#thrown = error instanceof Error ? error : new Error(String(error));
      controller?.abort(this.#thrown);
    }
  }

  onResponseEnd(): void {
    this.#outcome = 'complete';
    this.#pace?.stop();
    // undici takes a connection back one turn of the event loop after this. Who asks sooner gets, and pays for, a new one.
    setImmediate(() => setImmediate(() => this.#settle?.resolve()));
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    const ours = this.#thrown ?? (error instanceof RegistryFailure ? error : undefined);
    const failure = ours ?? transportFailure(error, this.url, this.proxy);
    this.#outcome = failure;
    this.#pace?.stop();
    this.reject(failure);
    this.#settle?.reject(failure);
  }

  header(name: string): string | undefined {
    return this.headers(name)[0];
  }

  headers(name: string): string[] {
    const value = Object.hasOwn(this.#headers, name) ? this.#headers[name] : undefined;
    return value === undefined ? [] : Array.isArray(value) ? value : [value];
  }

  quote(text: string): string {
    const { headers, secret = [], url } = this.request;
    const proxyLogin = this.proxy === undefined ? undefined : loginOf(this.proxy);
    const logins = [headers.authorization, proxyLogin].flatMap(secretsIn);
    return withoutSecrets(text, [...logins, ...secret, ...hiddenIn(url)]);
  }

  stream(onChunk: OnChunk): Promise<void> {
    this.#onChunk = onChunk;
    const ended = new Promise<void>((resolve, reject) => {
      this.#settle = { resolve, reject };
      if (this.#outcome === 'complete') resolve();
      else if (this.#outcome) reject(this.#outcome);
    });
    const stalled = (bytes: number) => this.#controller?.abort(tooSlow(this.url, bytes, this.least.over));
    if (!this.#outcome) this.#pace = new Pace(this.least, stalled);
    for (const chunk of this.#early) this.#hand(this.#controller, chunk);
    this.#controller?.resume();
    return ended;
  }

  async bytes(limit: number): Promise<Buffer> {
    const encoded = encodingFailure(this);
    if (encoded) {
      await this.drop();
      throw encoded;
    }
    // Copied at once: a chunk may be of one byte, and keeps all alive that came with it.
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
      // How a body ends that nobody wants is of no interest.
      if (!(error instanceof Failure)) throw error;
    }
  }
}
