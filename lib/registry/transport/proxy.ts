/** Requests through a proxy. Loaded only when the environment names one. */
import { isIP } from 'node:net';
import type { buildConnector, Dispatcher } from 'undici';
import connect from 'undici/lib/api/api-connect.js';
import build from 'undici/lib/core/connect.js';
import Pool from 'undici/lib/dispatcher/pool.js';
import ProxyAgent from 'undici/lib/dispatcher/proxy-agent.js';
import { bareHost } from '../names/hosts.js';
import { loginOf } from './proxy-env.js';
import { proxyFailure } from './transport-failures.js';

/** How TLS is spoken: options of Node's. */
export interface Tls {
  ca?: string[];
  cert?: string[];
  key?: string[];
  rejectUnauthorized?: boolean;
}

interface Limits {
  /** For connecting, in milliseconds. */
  timeout: number;
  /** Bytes. */
  maxHeaderSize: number;
}

/**
 * A dispatcher that uses the proxy at `uri`. https goes through a tunnel (CONNECT), plain http as a request for the
 * whole URL, as with curl. `requestTls` is for the registry. The proxy has options of its own, so that a certificate for
 * the registry is not shown to it, and its own is checked even with --insecure.
 */
export function proxyAgent(uri: string, requestTls: Tls, proxyTls: Tls, limits: Limits): Dispatcher {
  const { timeout, maxHeaderSize } = limits;
  const login = loginOf(uri);
  const toProxy = connector({ ...proxyTls, timeout });
  return new ProxyAgent({
    uri,
    ...(login === undefined ? {} : { token: login }),
    requestTls: { ...requestTls, timeout },
    proxyTls: { ...proxyTls, timeout },
    proxyTunnel: false,
    maxHeaderSize,
    // `connect` has to be added, since undici does that only when all of it is loaded. And by default it would wait
    // five minutes for a proxy that does not answer CONNECT.
    clientFactory: (origin, options) => {
      const pool = new Pool(origin, { ...options, maxHeaderSize, connect: toProxy, headersTimeout: timeout });
      return Object.assign(pool, { connect: (tunnel: Dispatcher.ConnectOptions) => connectOnce(pool, tunnel, uri) });
    },
  });
}

/**
 * Makes connections to the proxy. undici would send its address as the name that TLS asks for, which RFC 6066, 3
 * forbids.
 */
function connector(options: buildConnector.BuildOptions): buildConnector.connector {
  const connectTo = build(options);
  return (where, callback) => {
    const servername = where.servername && !isIP(bareHost(where.servername)) ? where.servername : '';
    connectTo({ ...where, servername }, callback);
  };
}

/**
 * Makes a tunnel, or fails. undici's own error of a proxy that hangs up has a code by which undici would try again, for
 * ever and without a pause.
 */
async function connectOnce(pool: Dispatcher, tunnel: Dispatcher.ConnectOptions, uri: string) {
  try {
    return await connect.call(pool, tunnel);
  } catch (error) {
    throw error instanceof Error ? proxyFailure(error, uri) : error;
  }
}
