/** Requests through the proxy that the environment names. Loaded only when it names one. */
import type { Dispatcher } from 'undici';
import connect from 'undici/lib/api/api-connect.js';
import EnvHttpProxyAgent from 'undici/lib/dispatcher/env-http-proxy-agent.js';
import Pool from 'undici/lib/dispatcher/pool.js';

/**
 * A dispatcher that asks http_proxy, https_proxy and no_proxy. `timeout` is for a connection to come up, in
 * milliseconds. https goes through a tunnel (CONNECT), plain http as a request for the whole URL, as with curl.
 */
export function proxyAgent(tls: { ca?: string[]; rejectUnauthorized?: boolean }, timeout: number): Dispatcher {
  return new EnvHttpProxyAgent({
    connect: { ...tls, timeout },
    requestTls: { ...tls, timeout },
    proxyTls: { ...tls, timeout },
    proxyTunnel: false,
    // undici adds `connect` to its dispatchers where all of it is loaded, and here only a part is.
    clientFactory: (origin, options) => Object.assign(new Pool(origin, options), { connect }),
  });
}
