/** The ways in which requests may be sent: through a proxy or not, and whom to trust. Each has connections of its own. */
import type { Dispatcher } from 'undici';
import { authorities, systemAuthorities } from './authorities.js';
import type { Guard } from './guard.js';
import type { HttpOptions } from './http.js';
import { isHost } from './url.js';

/** How a request is sent. */
interface Way {
  insecure: boolean;
  /** Whether the system's authorities are trusted as well as Node's. */
  trustsSystem: boolean;
  /** The URL of a proxy. */
  proxy: string | undefined;
  /** How the guard wants the host's name to be resolved. */
  lookup: ReturnType<Guard['lookupFor']>;
}

export class Dispatchers {
  readonly #dispatchers = new Map<string, Promise<Dispatcher>>();

  constructor(private readonly options: HttpOptions) {}

  /** Requests that are sent in the same way share connections. */
  for(url: URL, proxy: string | undefined, trustsSystem: boolean): Promise<Dispatcher> {
    const { insecure, guard } = this.options;
    const way: Way = {
      insecure: insecure.some((host) => isHost(url, host)),
      trustsSystem: trustsSystem && url.protocol === 'https:',
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

  /** Hangs up. Exchanges under way fail. */
  async close(): Promise<void> {
    for (const dispatcher of this.#dispatchers.values()) await (await dispatcher).destroy();
  }

  async #make({ insecure, trustsSystem, proxy, lookup }: Way): Promise<Dispatcher> {
    const { timeouts, ca, guard } = this.options;
    const more = [...(ca === undefined ? [] : [ca]), ...(trustsSystem ? systemAuthorities() : [])];
    const tls = {
      ...(insecure ? { rejectUnauthorized: false } : {}),
      ...(more.length === 0 ? {} : { ca: authorities(more) }),
    };
    const timeout = timeouts.connect * 1000;
    keepParserSimple();
    if (proxy !== undefined) {
      const { proxyAgent } = await import('./proxy.js');
      return proxyAgent(proxy, tls, timeout);
    }
    const Agent = await loadAgent();
    return new Agent({ connect: { ...tls, timeout, ...(guard && lookup ? { lookup: guard[lookup] } : {}) } });
  }
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
