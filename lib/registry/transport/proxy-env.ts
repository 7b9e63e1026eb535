/**
 * Finds the proxy for a URL in the environment: http_proxy, https_proxy and no_proxy, each also in capitals.
 * Sources: curl(1), "Environment"; golang.org/x/net/http/httpproxy, `Config`, whose NO_PROXY is what most tools for
 * containers understand.
 */
import { BlockList, isIP } from 'node:net';
import { Failure } from '../../base/failure.js';
import { Status } from '../../base/status.js';
import { bareHost, isLoopback } from '../names/hosts.js';

/**
 * The URL of the proxy, or undefined for none: loopback never has one. Throws `Failure` 64 when the environment names
 * something that cannot be a proxy.
 */
export function proxyFor(url: URL, env: NodeJS.ProcessEnv = process.env): string | undefined {
  const name = url.protocol === 'https:' ? 'https_proxy' : 'http_proxy';
  const text = env[name] || env[name.toUpperCase()];
  if (!text || isLoopback(url.host)) return undefined;
  if ((env.no_proxy || env.NO_PROXY || '').split(/[\s,]+/).some((entry) => isExempt(url, entry))) return undefined;
  // Host and port without a scheme are accepted, as by curl and Go. A backslash in a user name (DOMAIN\USER), which
  // curl takes as it is, would be a slash for URL.
  const proxy = (text.includes('://') ? text : `http://${text}`).replaceAll('\\', '%5C');
  // The value may hold a password, and is not shown.
  if (!/^https?:/i.test(proxy) || !URL.canParse(proxy)) {
    const why = /^socks/i.test(proxy) ? 'a SOCKS proxy is not spoken to here' : 'it names no proxy';
    throw new Failure(Status.usage, name, why, {
      hint: 'http://HOST:PORT, with a login http://USER:PASSWORD@HOST:PORT and %2F for a slash in it',
    });
  }
  // A path says nothing about a proxy. curl and Go pass over it, and undici would refuse it.
  const { protocol, username, password, host } = new URL(proxy);
  return `${protocol}//${username}${password && `:${password}`}${username || password ? '@' : ''}${host}`;
}

/**
 * The login in the URL of a proxy, as a Proxy-Authorization header has it, read as curl does: a percent sign that
 * begins no escape stands for itself, escapes may be any bytes, and the password may be missing. undici would throw, or
 * ignore the login.
 */
export function loginOf(proxy: string): string | undefined {
  const { username, password } = new URL(proxy);
  if (username === '' && password === '') return undefined;
  const bytes = `${username}:${password}`.replace(/%([0-9a-f]{2})/gi, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
  return `Basic ${Buffer.from(bytes, 'latin1').toString('base64')}`;
}

/**
 * Whether an entry of NO_PROXY matches a URL. It is `*`, an address, a network (10.0.0.0/8), `example.com` including
 * what is below it, or `.example.com` or `*.example.com` for what is below it only. All but networks may have a port.
 */
function isExempt(url: URL, entry: string): boolean {
  if (entry === '*') return true;
  const host = bareHost(url.hostname).replace(/\.$/, '');
  const [, net = '', prefix] = /^(.+)\/([0-9]{1,3})$/.exec(entry) ?? [];
  if (prefix !== undefined) return isInNet(host, net, Number(prefix));
  const [, name, port] = isIP(entry) === 6 ? [entry, entry] : (/^(.*?)(?::([0-9]+))?$/.exec(entry) ?? []);
  if (!name || (port !== undefined && port !== (url.port || (url.protocol === 'https:' ? '443' : '80')))) return false;
  const bare = bareHost(name.toLowerCase());
  if (isIP(bare)) return isInNet(host, bare, isIP(bare) === 6 ? 128 : 32);
  const suffix = bare.replace(/^\*(?=\.)/, '');
  return suffix.startsWith('.') ? host.endsWith(suffix) : host === suffix || host.endsWith(`.${suffix}`);
}

function isInNet(host: string, net: string, prefix: number): boolean {
  const [family, own] = [isIP(net), isIP(host)];
  if (family === 0 || own === 0 || prefix > (family === 6 ? 128 : 32)) return false;
  const list = new BlockList();
  list.addSubnet(net, prefix, family === 6 ? 'ipv6' : 'ipv4');
  return list.check(host, own === 6 ? 'ipv6' : 'ipv4');
}
