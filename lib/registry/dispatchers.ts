/** The ways in which requests may be sent: through a proxy or not, and whom to trust. Each has connections of its own. */
import type { buildConnector, Dispatcher } from 'undici';
import { authorities, systemAuthorities } from './authorities.js';
import { findCertificates, readCertificates } from './certificates.js';
import type { Guard } from './guard.js';
import type { HttpOptions } from './http-options.js';
import type { Tls } from './proxy.js';
import { isHost } from './url.js';

/** How a request is sent. */
interface Way {
  insecure: boolean;
  /** Whether the system's authorities are trusted as well as Node's. */
  trustsSystem: boolean;
  /** The directory with certificates for this host alone. */
  certificates: string | undefined;
  /** The URL of a proxy. */
  proxy: string | undefined;
  /** How the guard wants the host's name to be resolved. */
  lookup: ReturnType<Guard['lookupFor']>;
}

export class Dispatchers {
  readonly #dispatchers = new Map<string, Promise<Dispatcher>>();
  /** By origin; undefined where there is none. */
  readonly #certificates = new Map<string, string | undefined>();

  constructor(private readonly options: HttpOptions) {}

  /** Requests that are sent in the same way share connections. */
  for(url: URL, proxy: string | undefined, trustsSystem: boolean): Promise<Dispatcher> {
    const { insecure, guard } = this.options;
    const way: Way = {
      insecure: insecure.some((host) => isHost(url, host)),
      trustsSystem: trustsSystem && url.protocol === 'https:',
      certificates: url.protocol === 'https:' ? this.#certificatesFor(url) : undefined,
      proxy,
      lookup: guard?.lookupFor(url),
    };
    const key = JSON.stringify(way);
    const known = this.#dispatchers.get(key);
    if (known) return known;
    const made = this.#make(way);
    this.#dispatchers.set(key, made);
    return made;
  }

  /** Looked for once: there are many requests. */
  #certificatesFor(url: URL): string | undefined {
    if (!this.#certificates.has(url.origin)) this.#certificates.set(url.origin, findCertificates(url));
    return this.#certificates.get(url.origin);
  }

  /** Hangs up. Exchanges under way fail. */
  async close(): Promise<void> {
    for (const made of await Promise.allSettled(this.#dispatchers.values())) {
      if (made.status === 'fulfilled') await made.value.destroy();
    }
  }

  async #make({ insecure, trustsSystem, certificates, proxy, lookup }: Way): Promise<Dispatcher> {
    const { timeouts, ca, guard } = this.options;
    const shared = [...(ca === undefined ? [] : [ca]), ...(trustsSystem ? systemAuthorities() : [])];
    const own = certificates === undefined ? undefined : readCertificates(certificates);
    const tls: Tls = {
      ...(insecure ? { rejectUnauthorized: false } : {}),
      ...trusting([...shared, ...(own?.ca ?? [])]),
      ...(own && own.cert.length > 0 ? { cert: own.cert, key: own.key } : {}),
    };
    const timeout = timeouts.connect * 1000;
    keepParserSimple();
    if (proxy !== undefined) {
      const { proxyAgent } = await import('./proxy.js');
      return proxyAgent(proxy, tls, trusting(shared), timeout);
    }
    const Agent = await loadAgent();
    const resolving = guard && lookup ? { lookup: guard[lookup] } : {};
    return new Agent({ connect: await connector({ ...tls, ...resolving, timeout }) });
  }
}

function trusting(more: string[]): Tls {
  return more.length === 0 ? {} : { ca: authorities(more) };
}

/**
 * What makes connections. With TLS 1.3 a server that does not like our certificate, or the lack of one, says so when a
 * request is on its way already, and then closes the connection. undici tells of the latter: here it gets its cause.
 */
async function connector(options: buildConnector.BuildOptions): Promise<buildConnector.connector> {
  const { default: build } = await import('undici/lib/core/connect.js');
  const connect = build(options);
  return (where, callback) =>
    connect(where, (...result) => {
      let first: Error | undefined;
      result[1]?.on('error', (error: Error) => {
        if (first) error.cause ??= first;
        first ??= error;
      });
      callback(...result);
    });
}

/**
 * Loads undici, which is most of a start: only where something is to be asked. A stage of the pipe may call it while the
 * stage above is still at work.
 */
export async function loadAgent() {
  const { default: Agent } = await import('undici/lib/dispatcher/agent.js');
  return Agent;
}

/**
 * undici parses HTTP in WebAssembly, and V8 sets its optimizing compiler on that, on other threads, at once or, if told to
 * be slow about it, when half a gigabyte has come: 70 ms of processor time and 35 MB of memory for a parser that sees a
 * few hundred headers, since bodies pass it by.
 */
function keepParserSimple(): void {
  const { setFlagsFromString } = process.getBuiltinModule('node:v8');
  // In this order: what is not optimized step by step is otherwise optimized at once.
  setFlagsFromString('--no-wasm-tier-up');
  setFlagsFromString('--no-wasm-dynamic-tiering');
}
