/** Requests through a proxy. Loaded only when the environment names one. */
import type { Dispatcher } from 'undici';
import connect from 'undici/lib/api/api-connect.js';
import Pool from 'undici/lib/dispatcher/pool.js';
import ProxyAgent from 'undici/lib/dispatcher/proxy-agent.js';
import { loginOf } from './proxy-env.js';

/** How TLS is spoken: options of Node's. */
export interface Tls {
  ca?: string[];
  cert?: string[];
  key?: string[];
  rejectUnauthorized?: boolean;
}

/**
 * A dispatcher that asks the proxy at `uri`. `timeout` is for a connection to come up, in milliseconds. https goes through
 * a tunnel (CONNECT), plain http as a request for the whole URL, as with curl. What is trusted with the registry or given
 * to it (`requestTls`) is one thing, and the proxy that gets a password is another.
 */
export function proxyAgent(uri: string, requestTls: Tls, proxyTls: Tls, timeout: number): Dispatcher {
  const login = loginOf(uri);
  return new ProxyAgent({
    uri,
    ...(login === undefined ? {} : { token: login }),
    requestTls: { ...requestTls, timeout },
    proxyTls: { ...proxyTls, timeout },
    proxyTunnel: false,
    // undici adds `connect` to its dispatchers where all of it is loaded, and here only a part is. A proxy that does not
    // answer CONNECT would keep it waiting for five minutes.
    clientFactory: (origin, options) =>
      Object.assign(new Pool(origin, { ...options, headersTimeout: timeout }), { connect }),
  });
}
