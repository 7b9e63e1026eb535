/** Requests through the proxy that the environment names. Loaded only when it names one. */
import type { buildConnector, Dispatcher } from 'undici';
import connect from 'undici/lib/api/api-connect.js';
import EnvHttpProxyAgent from 'undici/lib/dispatcher/env-http-proxy-agent.js';
import Pool from 'undici/lib/dispatcher/pool.js';
import { Failure } from '../pipe/failure.js';
import { Status } from '../pipe/status.js';

/**
 * A dispatcher that asks http_proxy, https_proxy and no_proxy. `timeout` is for a connection to come up, in
 * milliseconds; `direct` is how hosts are reached that no_proxy names. https goes through a tunnel (CONNECT), plain http
 * as a request for the whole URL, as with curl. Throws `Failure` 64 when the environment names no proxy that can be.
 */
export function proxyAgent(
  tls: { ca?: string[]; rejectUnauthorized?: boolean },
  timeout: number,
  direct: buildConnector.BuildOptions,
): Dispatcher {
  return new EnvHttpProxyAgent({
    ...proxies(),
    connect: direct,
    requestTls: { ...tls, timeout },
    // A registry whose certificate is not checked is one thing, and the proxy that gets a password is another.
    proxyTls: { ...(tls.ca ? { ca: tls.ca } : {}), timeout },
    proxyTunnel: false,
    // undici adds `connect` to its dispatchers where all of it is loaded, and here only a part is. A proxy that does not
    // answer CONNECT would keep it waiting for five minutes.
    clientFactory: (origin, options) =>
      Object.assign(new Pool(origin, { ...options, headersTimeout: timeout }), { connect }),
  });
}

function proxies(): { httpProxy?: string; httpsProxy?: string } {
  const [httpProxy, httpsProxy] = ['http_proxy', 'https_proxy'].map(proxyOf);
  return { ...(httpProxy ? { httpProxy } : {}), ...(httpsProxy ? { httpsProxy } : {}) };
}

/** The proxy that a variable names: a URL, or a host and a port, as curl and Go have it. */
function proxyOf(name: string): string | undefined {
  const text = process.env[name] || process.env[name.toUpperCase()];
  if (!text) return undefined;
  const url = text.includes('://') ? text : `http://${text}`;
  // The value may hold a password, and is not shown.
  if (!/^https?:/i.test(url) || !URL.canParse(url)) {
    throw new Failure(Status.usage, name, 'it names no proxy', { hint: 'http://HOST:PORT' });
  }
  return url;
}
