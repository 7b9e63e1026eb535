/**
 * All HTTP of this program goes through `Http.exchange`: one request, one response, and nothing followed. Redirects,
 * tokens and retries are built on top, in files of their own.
 */
import { setDefaultAutoSelectFamilyAttemptTimeout } from 'node:net';
import pkg from '../../../package.json' with { type: 'json' };
import { errnoName } from '../../base/failure.js';
import { once } from '../../base/once.js';
import { tracing } from '../../base/trace.js';
import { Dispatchers } from '../transport/dispatchers.js';
import { RegistryFailure } from '../transport/failure.js';
import { proxyFor } from '../transport/proxy-env.js';
import { Exchange } from './exchange.js';
import type { Incoming, Outgoing } from './message.js';
import { defaultHttpOptions, type HttpOptions } from './options.js';

/**
 * Milliseconds to try one address of a host with several, on a slow network: long enough for a lost SYN to be sent
 * again twice.
 */
const addressTimeout = 5000;
const userAgent = `md/${pkg.version}`;

/** Once for all registries that this process asks: undici tells of every request, whoever sends it. */
const beginTrace = once(async () => (await import('./trace.js')).traceHttp());

export class Http {
  private readonly options: HttpOptions;
  private readonly dispatchers: Dispatchers;
  private known = { needsPatience: false, needsSystem: false };

  constructor(options: Partial<HttpOptions> = {}) {
    this.options = { ...defaultHttpOptions, ...options };
    this.dispatchers = new Dispatchers(this.options);
  }

  /**
   * Sends a request and resolves when the response's headers are in.
   * Throws `Failure` 69 when the host cannot be reached or does not answer in time, 76 when it speaks no HTTP.
   */
  async exchange(request: Outgoing): Promise<Incoming> {
    if (tracing()) await beginTrace();
    await this.options.guard?.check(request.url);
    const known = this.known;
    try {
      const response = await this.dispatch(request);
      this.options.onResponse?.(response);
      return response;
    } catch (error) {
      const lesson = error instanceof RegistryFailure ? lessonOf(error) : undefined;
      if (!lesson || known[lesson]) throw error;
      // When several requests fail at the same time, the first one sets this for all of them.
      this.known = { ...this.known, [lesson]: true };
      if (lesson === 'needsPatience') setDefaultAutoSelectFamilyAttemptTimeout(addressTimeout);
      return this.exchange(request);
    }
  }

  private async dispatch(request: Outgoing): Promise<Incoming> {
    const { url, method, body } = request;
    // With a proxy the guard does not look at addresses: the proxy resolves the names.
    const proxy = proxyFor(url);
    const dispatcher = await this.dispatchers.for(url, proxy, this.known.needsSystem);
    const { minSpeed, timeouts } = this.options;
    const { headers, idle } = timeouts;
    return new Promise((resolve, reject) => {
      dispatcher.dispatch(
        {
          origin: url.origin,
          path: url.pathname + url.search,
          method,
          headers: { 'user-agent': userAgent, 'accept-encoding': 'identity', ...request.headers },
          body: body ?? null,
          headersTimeout: headers * 1000,
          bodyTimeout: idle * 1000,
        },
        new Exchange(request, proxy, { speed: minSpeed, over: idle }, resolve, reject),
      );
    });
  }
}

/**
 * What a failure teaches about the network or the registry. To provide for both from the start would take too long:
 * reading the system's authorities takes longer than a whole exchange, and with more patience each connection would
 * wait longer for an address that is never reached, such as one of IPv6 where there is none. Node gives such an address
 * up after 250 ms.
 */
function lessonOf({ untrusted, cause }: RegistryFailure): 'needsPatience' | 'needsSystem' | undefined {
  if (untrusted) return 'needsSystem';
  const failures: unknown[] = cause instanceof AggregateError ? cause.errors : [];
  return failures.some((it) => errnoName(it) === 'ETIMEDOUT') ? 'needsPatience' : undefined;
}
