/** undici's dispatchers: one for each way to send a request, that is, proxy, trust and certificates. */
import type { buildConnector, Dispatcher } from 'undici';
import { isHost } from '../names/hosts.js';
import { authorities, systemAuthorities } from './authorities.js';
import { findCertificates, readCertificates } from './certificates.js';
import { endPausesAtEnd } from './end-of-socket.js';
import type { Guard } from './guard.js';
import type { Tls } from './proxy.js';

/**
 * Bytes of all headers of an answer. Node's own limit is 16 KiB, and gateways send policies for browsers that are longer.
 * That of curl is 300 KB, and that of Go 10 MB.
 */
const maxHeaderSize = 256 * 1024;

/** How connections are made. */
export interface TransportOptions {
  /** `connect`: seconds until TCP and TLS are up; 0 waits for ever. */
  timeouts: { connect: number };
  /** Certificates (PEM) that are trusted beside the system's. */
  ca: string | undefined;
  /** Hosts, with port where they have one, whose certificate is not checked. */
  insecure: string[];
  /** Decides where else than to the registry itself requests may go. */
  guard: Guard | undefined;
}

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
  private readonly dispatchers = new Map<string, Promise<Dispatcher>>();
  /** The directories with certificates, by origin; undefined when an origin has none. */
  private readonly certificates = new Map<string, string | undefined>();

  constructor(private readonly options: TransportOptions) {}

  /** The dispatcher for a request. Requests that are sent in the same way share one, and its connections. */
  for(url: URL, proxy: string | undefined, trustsSystem: boolean): Promise<Dispatcher> {
    const { insecure, guard } = this.options;
    const way: Way = {
      insecure: insecure.some((host) => isHost(url, host)),
      trustsSystem: trustsSystem && url.protocol === 'https:',
      certificates: url.protocol === 'https:' ? this.certificatesFor(url) : undefined,
      proxy,
      lookup: guard?.lookupFor(url),
    };
    const key = JSON.stringify(way);
    const known = this.dispatchers.get(key);
    if (known) return known;
    const made = this.make(way);
    this.dispatchers.set(key, made);
    return made;
  }

  /** Looked up on the disk once for each origin. */
  private certificatesFor(url: URL): string | undefined {
    if (!this.certificates.has(url.origin)) this.certificates.set(url.origin, findCertificates(url));
    return this.certificates.get(url.origin);
  }

  private async make({ insecure, trustsSystem, certificates, proxy, lookup }: Way): Promise<Dispatcher> {
    const { timeouts, ca, guard } = this.options;
    const shared = [...(ca === undefined ? [] : [ca]), ...(trustsSystem ? systemAuthorities() : [])];
    const own = certificates === undefined ? undefined : readCertificates(certificates);
    const tls: Tls = {
      ...(insecure ? { rejectUnauthorized: false } : {}),
      ...trusting([...shared, ...(own?.ca ?? [])]),
      ...(own && own.cert.length > 0 ? { cert: own.cert, key: own.key } : {}),
    };
    const timeout = timeouts.connect * 1000;
    const Agent = await loadAgent();
    await endPausesAtEnd();
    if (proxy !== undefined) {
      const { proxyAgent } = await import('./proxy.js');
      return proxyAgent(proxy, tls, trusting(shared), { timeout, maxHeaderSize });
    }
    const resolving = guard && lookup ? { lookup: guard[lookup] } : {};
    return new Agent({ maxHeaderSize, connect: await connector({ ...tls, ...resolving, timeout }) });
  }
}

function trusting(more: string[]): Tls {
  return more.length === 0 ? {} : { ca: authorities(more) };
}

/**
 * Makes connections. With TLS 1.3 a server tells that it does not accept our certificate, or misses one, only after a
 * request is on its way; then it closes the connection. undici reports the close. This adds the first error as its
 * cause.
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
 * Loads undici, which takes most of the time of a start: so only when a registry is to be asked. A stage of the pipe
 * calls this early, while the stage above is still working.
 */
export async function loadAgent() {
  keepParserSimple();
  const { default: Agent } = await import('undici/lib/dispatcher/agent.js');
  return Agent;
}

/**
 * Keeps V8 from optimizing undici's HTTP parser, which is WebAssembly. That would take 70 ms of processor time and 35
 * MB of memory, at once or after half a gigabyte, for a parser that sees a few hundred headers: bodies do not pass
 * through it.
 */
function keepParserSimple(): void {
  const { setFlagsFromString } = process.getBuiltinModule('node:v8');
  // The order matters: without dynamic tiering, V8 would optimize everything at once unless tier-up is off already.
  setFlagsFromString('--no-wasm-tier-up');
  setFlagsFromString('--no-wasm-dynamic-tiering');
}
