/** Failures before there is an answer: of the resolver, TCP, TLS, a proxy, and what undici's parser does not accept. */
import { errnoName, errnoText } from '../../base/failure.js';
import { Status } from '../../base/status.js';
import { isHub, isLoopback } from '../names/hosts.js';
import { redactUrl } from '../names/redaction.js';
import { RegistryFailure, type RegistryFailureOptions } from './failure.js';

const cutShort = 'the transfer was cut short';
const undiciTexts: Record<string, string> = {
  UND_ERR_CONNECT_TIMEOUT: 'no connection in time',
  UND_ERR_HEADERS_TIMEOUT: 'no answer in time',
  UND_ERR_BODY_TIMEOUT: 'the transfer stalled',
  UND_ERR_SOCKET: 'the connection was closed',
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: cutShort,
};
const unreachableCodes = new Set([
  'UND_ERR_CONNECT_TIMEOUT',
  'ECONNREFUSED',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EAI_AGAIN',
]);
const unknownIssuer = new Set([
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
]);
const withoutTls = new Set(['ERR_SSL_WRONG_VERSION_NUMBER', 'ERR_SSL_PACKET_LENGTH_TOO_LONG']);
const resolverTexts: Record<string, string> = {
  ENOTFOUND: 'no such host',
  EAI_AGAIN: 'the name server does not answer',
};

/** How far an exchange has come. */
interface Progress {
  /** The URL of the proxy, if there is one. */
  proxy?: string | undefined;
  /** The headers of the answer are there. */
  isAnswered?: boolean;
}

/** The failure for an error of undici, the resolver, TCP or TLS. */
export function transportFailure(error: Error, url: URL, progress: Progress = {}): RegistryFailure {
  if (error.cause instanceof Error && isTls(codeOf(error.cause))) return transportFailure(error.cause, url, progress);
  if (isShortOfAddresses(error)) return shortOfAddresses(error);
  const { proxy, isAnswered = false } = progress;
  const code = codeOf(error);
  const what = originOf(url);
  const cause = error;
  const answer = proxyAnswer.exec(error.message)?.[1];
  if (proxy !== undefined && answer !== undefined) return refusedByProxy(proxy, Number(answer), url, error);
  // For plain http the proxy is what we connect to, and what may speak TLS. A tunnel to https fails by itself.
  const isProxys = proxy !== undefined && url.protocol === 'http:' && (unreachableCodes.has(code) || isTls(code));
  if (isProxys) return proxyFailure(error, proxy);
  if (code === 'UND_ERR_HEADERS_OVERFLOW') {
    return new RegistryFailure(Status.protocol, what, 'the response headers are too long', { cause });
  }
  // Where the parser objects to headers behind a length, undici compares that with the body, of which nothing has come.
  if (code === 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH' && !isAnswered) {
    const hint = 'is Content-Length there twice, or together with chunks?';
    return malformed(url, 'its headers cannot be parsed', { cause, hint });
  }
  // undici does not take 100 from a server that was not asked to go on, though RFC 9110, 15.2, would have it ignored.
  if (code === 'UND_ERR_SOCKET' && error.message === 'bad response') {
    return malformed(url, 'it begins with 100 Continue, which was not asked for', { cause });
  }
  if (error.name === 'HTTPParserError') return parserFailure(error, url);
  if (isTls(code)) return tlsFailure(error, code, what);
  const why = undiciTexts[code] ?? resolverTexts[code] ?? (errnoName(error) ? errnoText(code) : error.message);
  const unreachable = unreachableCodes.has(code) || code === 'UND_ERR_HEADERS_TIMEOUT';
  const hint = unreachableCodes.has(code) && proxy === undefined ? unreachableHint(url) : undefined;
  return new RegistryFailure(Status.unavailable, what, why, {
    cause,
    hint,
    retryable: code !== 'ENOTFOUND',
    unreachable,
  });
}

function unreachableHint({ hostname, host, protocol }: URL): string | undefined {
  if (isLoopback(hostname)) return undefined;
  // Docker Hub is where a name leads that has no registry: nobody has typed that one.
  const doubt = isHub(hostname) ? 'is there a way to the network?' : `is ${host} right?`;
  return `${doubt} behind a proxy, set ${protocol === 'https:' ? 'HTTPS_PROXY' : 'HTTP_PROXY'}`;
}

/** The failure for an error of the connection to a proxy. */
export function proxyFailure(error: Error, proxy: string): RegistryFailure {
  const url = new URL(proxy);
  const failure = transportFailure(error, url);
  return failure.hinting(proxyHint(error, failure, url), `proxy ${failure.what}`);
}

function proxyHint(error: Error, { untrusted }: RegistryFailure, { protocol, host }: URL): string | undefined {
  if (withoutTls.has(codeOf(error))) return `name it as http://${host}`;
  if (untrusted) return 'a private CA is given with --ca-file FILE';
  const isClosed = codeOf(error) === 'UND_ERR_SOCKET';
  return isClosed && protocol === 'http:' ? 'does it refuse tunnels (CONNECT), or want https?' : undefined;
}

function tlsFailure(error: Error, code: string, what: string): RegistryFailure {
  const plain = withoutTls.has(code);
  const untrusted = unknownIssuer.has(code);
  // OpenSSL's own messages contain names of its source files, so only its reason is shown.
  const isOpenssl = 'library' in error && 'reason' in error;
  const why = isOpenssl ? String(error.reason) : error.message;
  return new RegistryFailure(Status.unavailable, what, plain ? 'it does not speak TLS' : `TLS: ${why}`, {
    cause: error,
    untrusted,
    hint: tlsHint(code, new URL(what).host),
  });
}

function tlsHint(code: string, host: string): string | undefined {
  if (withoutTls.has(code)) return `for a registry without TLS pass --plain-http ${host}`;
  if (unknownIssuer.has(code))
    return `a private CA is given with --ca-file FILE or as ${certificateFile(host, 'ca.crt')}`;
  if (code === 'ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED') return clientHint(host);
  return ['CERT_HAS_EXPIRED', 'CERT_NOT_YET_VALID'].includes(code) ? 'is the clock of this machine right?' : undefined;
}

export function clientHint(host: string): string {
  return `a client certificate is given as ${certificateFile(host, 'client.cert')}, with client.key`;
}

/** A path for a certificate: of the possible places the best known one. */
function certificateFile(host: string, name: string): string {
  return `/etc/docker/certs.d/${host}/${name}`;
}

function parserFailure(error: Error, url: URL): RegistryFailure {
  // What the parser objects to in an answer that begins as HTTP does. Other answers are of something else.
  const [, objection] = /\((?!Expected HTTP\/)(.+)\)$/.exec(error.message) ?? [];
  // Of a body in chunks (RFC 9112, 7.1) the last one is missing.
  if (objection === 'Invalid EOF state') {
    return new RegistryFailure(Status.unavailable, originOf(url), cutShort, { cause: error, retryable: true });
  }
  if (objection) return malformed(url, objection, { cause: error });
  const hint = url.protocol === 'http:' ? 'does it speak https?' : undefined;
  return new RegistryFailure(Status.protocol, originOf(url), 'what answers there does not speak HTTP', {
    cause: error,
    hint,
  });
}

function malformed(url: URL, why: string, options: RegistryFailureOptions): RegistryFailure {
  return new RegistryFailure(Status.protocol, originOf(url), `its answer is malformed HTTP: ${why}`, options);
}

/** A proxy's own answer. undici has it only in the text of its message. */
const proxyAnswer = /^Proxy (?:response|Authentication Required) \(([0-9]{3})\)/;

function refusedByProxy(proxy: string, answer: number, url: URL, cause: Error): RegistryFailure {
  const status = answer === 403 || answer === 407 ? Status.notPermitted : Status.unavailable;
  return new RegistryFailure(status, `proxy ${originOf(new URL(proxy))}`, `HTTP ${answer} for ${originOf(url)}`, {
    cause,
    retryable: answer >= 500,
    hint: answer === 407 ? 'it wants a login: http://USER:PASSWORD@HOST:PORT' : undefined,
  });
}

function originOf({ protocol, host }: URL): string {
  return `${protocol}//${host}`;
}

function codeOf(error: Error): string {
  return 'code' in error && typeof error.code === 'string' ? error.code : '';
}

function isTls(code: string): boolean {
  return /^(?:ERR_TLS_|ERR_SSL_|CERT_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_)/.test(code) || code === 'EPROTO';
}

/** The failure for a body that came too slowly: so many bytes in so many seconds. */
export function tooSlow(url: URL, bytes: number, seconds: number): RegistryFailure {
  const why = `the transfer stalled: ${bytes} bytes in ${seconds} s, fewer than --min-speed asks for`;
  return new RegistryFailure(Status.unavailable, originOf(url), why, { retryable: true });
}

export function endlessInterim(url: URL): RegistryFailure {
  return new RegistryFailure(Status.protocol, redactUrl(url), 'it announces an answer again and again, and sends none');
}

/** Whether V8 could not reserve the 10 GB of addresses that it wants for WebAssembly, in which undici's parser is. */
function isShortOfAddresses(error: Error): boolean {
  return error instanceof RangeError && /Wasm memory/.test(error.message);
}

function shortOfAddresses(cause: Error): RegistryFailure {
  const why = 'there are too few addresses (ulimit -v) for the parser of HTTP';
  const hint = 'with NODE_OPTIONS=--disable-wasm-trap-handler it needs 10 GB less';
  return new RegistryFailure(Status.io, 'this process', why, { cause, hint });
}
