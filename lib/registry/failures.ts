/** Failures of the network and of registries, as one line: where, what, and what to do. */
import { asArray, asObject, optional } from '../pipe/check.js';
import { errnoName, errnoText, Failure, type FailureOptions } from '../pipe/failure.js';
import { Status } from '../pipe/status.js';
import type { Incoming } from './message.js';
import { quotaOf } from './quota.js';
import { redactUrl } from './url.js';

/** Error bodies longer than this are not read: a registry's JSON has a few hundred bytes. */
const errorBodyLimit = 1024 * 1024;

export interface RegistryFailureOptions extends FailureOptions {
  /** Whether the same request may succeed when sent again. */
  retryable?: boolean;
  /** No connection came up, or no answer. */
  unreachable?: boolean;
  /** The certificate was issued by an unknown authority. */
  untrusted?: boolean;
  /** What the registry asked for with Retry-After, in seconds. */
  retryAfter?: number | undefined;
}

/** A `Failure` that knows whether trying again may help. */
export class RegistryFailure extends Failure {
  readonly retryable: boolean;
  readonly unreachable: boolean;
  readonly untrusted: boolean;
  readonly retryAfter: number | undefined;

  constructor(
    status: number,
    what: string,
    why: string,
    private readonly options: RegistryFailureOptions = {},
  ) {
    super(status, what, why, options);
    this.retryable = options.retryable ?? false;
    this.unreachable = options.unreachable ?? false;
    this.untrusted = options.untrusted ?? false;
    this.retryAfter = options.retryAfter;
  }

  /** The same failure, told about `what`, which is what the user asked for. */
  during(what: string): RegistryFailure {
    return new RegistryFailure(this.status, what, `${this.what}: ${this.why}`, { ...this.options, cause: this });
  }

  /** The same failure, with at most so many seconds to wait before a retry. */
  waitingAtMost(seconds: number): RegistryFailure {
    const { retryAfter } = this;
    if (retryAfter === undefined || retryAfter <= seconds) return this;
    return new RegistryFailure(this.status, this.what, this.why, { ...this.options, retryAfter: seconds, cause: this });
  }

  /**
   * One failure for several places where the same was looked for. It names all of them; the last one gives the status.
   */
  among(failures: RegistryFailure[]): RegistryFailure {
    const others = failures.filter((it) => it !== this).map(({ what, why }) => `${what}: ${why}`);
    const status = failures.at(-1)?.status ?? this.status;
    return new RegistryFailure(status, this.what, [this.why, ...others].join('; '), { cause: this });
  }
}

const undiciTexts: Record<string, string> = {
  UND_ERR_CONNECT_TIMEOUT: 'no connection in time',
  UND_ERR_HEADERS_TIMEOUT: 'no answer in time',
  UND_ERR_BODY_TIMEOUT: 'the transfer stalled',
  UND_ERR_SOCKET: 'the connection was closed',
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: 'the transfer was cut short',
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
const clockHint = 'is the clock of this machine right?';
const tlsHints: Record<string, string> = {
  CERT_HAS_EXPIRED: clockHint,
  CERT_NOT_YET_VALID: clockHint,
};
const resolverTexts: Record<string, string> = {
  ENOTFOUND: 'no such host',
  EAI_AGAIN: 'the name server does not answer',
};

/** The failure for an error of undici, the resolver, TCP or TLS. `proxy` is the URL of the proxy, if there is one. */
export function transportFailure(error: Error, url: URL, proxy?: string): RegistryFailure {
  if (error.cause instanceof Error && isTls(codeOf(error.cause))) return transportFailure(error.cause, url, proxy);
  const code = codeOf(error);
  const what = originOf(url);
  const cause = error;
  const answer = proxyAnswer.exec(error.message)?.[1];
  if (proxy !== undefined && answer !== undefined) return refusedByProxy(proxy, Number(answer), url, error);
  if (code === 'UND_ERR_HEADERS_OVERFLOW') {
    return new RegistryFailure(Status.protocol, what, 'the response headers are too long', { cause });
  }
  const objection = error.name === 'HTTPParserError' ? parserObjection.exec(error.message)?.[1] : undefined;
  if (objection !== undefined) {
    return new RegistryFailure(Status.protocol, what, `its answer is malformed HTTP: ${objection}`, { cause });
  }
  if (error.name === 'HTTPParserError') {
    return new RegistryFailure(Status.protocol, what, 'what answers there speaks no HTTP', {
      cause,
      hint: url.protocol === 'http:' ? 'does it speak https?' : undefined,
    });
  }
  if (isTls(code)) return tlsFailure(error, code, what);
  const why = undiciTexts[code] ?? resolverTexts[code] ?? (errnoName(error) ? errnoText(code) : error.message);
  const unconnected = unreachableCodes.has(code);
  const unreachable = unconnected || code === 'UND_ERR_HEADERS_TIMEOUT';
  // With a proxy, that is what we connect to.
  const where = unconnected && proxy !== undefined ? `proxy ${originOf(new URL(proxy))}` : what;
  return new RegistryFailure(Status.unavailable, where, why, { cause, retryable: code !== 'ENOTFOUND', unreachable });
}

function tlsFailure(error: Error, code: string, what: string): RegistryFailure {
  const plain = withoutTls.has(code);
  const untrusted = unknownIssuer.has(code);
  // OpenSSL's own messages contain names of its source files, so only its reason is shown.
  const isOpenssl = 'library' in error && 'reason' in error;
  const why = isOpenssl ? String(error.reason) : error.message;
  return new RegistryFailure(Status.unavailable, what, plain ? 'it speaks no TLS' : `TLS: ${why}`, {
    cause: error,
    untrusted,
    hint: tlsHint(code, new URL(what).host),
  });
}

function tlsHint(code: string, host: string): string | undefined {
  if (withoutTls.has(code)) return `for a registry without TLS pass --plain-http ${host}`;
  if (unknownIssuer.has(code))
    return `a private CA is given with --ca-file FILE or as ${certificateFile(host, 'ca.crt')}`;
  return code === 'ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED' ? clientHint(host) : tlsHints[code];
}

function clientHint(host: string): string {
  return `a client certificate is given as ${certificateFile(host, 'client.cert')}, with client.key`;
}

/** A path for a certificate: of the possible places the best known one. */
function certificateFile(host: string, name: string): string {
  return `/etc/docker/certs.d/${host}/${name}`;
}

const noLoginHint = 'the repository does not exist or needs a login: run docker login or pass --username';
/** For a login that has expired, too: then even public images are refused. */
const refusedLoginHint = 'the login is not accepted: log in again, or log out where none is needed';

const tlsHere = 'it speaks TLS: pass --ca-file FILE or --insecure HOST, and leave out --plain-http';

/** What undici's parser objects to in an answer that begins as HTTP does; other answers are of something else. */
const parserObjection = /\((?!Expected HTTP\/)(.+)\)$/;

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

/**
 * The failure for a body that was compressed for the transfer although nobody asked for that: its digest would be
 * wrong. Undefined for any other body.
 */
export function encodingFailure(response: Incoming): RegistryFailure | undefined {
  const encoding = response.header('content-encoding')?.toLowerCase();
  if (!encoding || encoding === 'identity') return undefined;
  const why = `it comes compressed (Content-Encoding: ${encoding}), and nobody has asked for that`;
  return new RegistryFailure(Status.protocol, redactUrl(response.url), why, { hint: 'does a proxy stand between?' });
}

export function bodyTooLarge(url: URL, limit: number): RegistryFailure {
  return new RegistryFailure(Status.protocol, redactUrl(url), `the body is longer than ${limit} bytes`);
}

/** The failure for a body that came too slowly: so many bytes in so many seconds. */
export function tooSlow(url: URL, bytes: number, seconds: number): RegistryFailure {
  const why = `the transfer stalled: ${bytes} bytes in ${seconds} s, fewer than --min-speed asks for`;
  return new RegistryFailure(Status.unavailable, originOf(url), why, { retryable: true });
}

export function endlessInterim(url: URL): RegistryFailure {
  return new RegistryFailure(Status.protocol, redactUrl(url), 'it announces an answer again and again, and sends none');
}

/** The failure for a response that is no success. Reads the registry's own words from its body. */
export async function responseFailure(response: Incoming): Promise<RegistryFailure> {
  const { status } = response;
  const words = shorten(response.quote(await errorWords(response)));
  const why = `HTTP ${status}${words === '' ? '' : ` (${words})`}`;
  const what = redactUrl(response.url);
  if (status === 401 || status === 403) {
    const hint = status === 401 && response.hadLogin ? refusedLoginHint : noLoginHint;
    return new RegistryFailure(Status.notPermitted, what, `denied: ${why}`, { hint });
  }
  if (status === 400 && words.includes('SSL certificate')) {
    return new RegistryFailure(Status.notPermitted, what, `denied: ${why}`, { hint: clientHint(response.url.host) });
  }
  if (status === 400 && response.url.protocol === 'http:' && words.includes('HTTPS')) {
    return new RegistryFailure(Status.protocol, what, why, { hint: tlsHere });
  }
  if (status === 404 || status === 410) {
    return new RegistryFailure(Status.unavailable, what, `not found: ${why}`, { hint: missingHint(words) });
  }
  const quota = quotaOf(response);
  // The date of Retry-After is compared with the server's own clock, since ours may differ.
  const now = Date.parse(response.header('date') ?? '') || Date.now();
  const retryAfter = parseRetryAfter(response.header('retry-after'), now);
  if (status === 429 || (status === 503 && retryAfter !== undefined)) {
    return new RegistryFailure(
      Status.tryLater,
      what,
      `${status === 429 ? 'too many requests' : 'overloaded'}: ${why}`,
      {
        retryable: true,
        retryAfter,
        hint: retryAfter === undefined ? undefined : `try again in ${retryAfter} s`,
        details: { retryAfter, quota },
      },
    );
  }
  if (status >= 500 || status === 408) return new RegistryFailure(Status.unavailable, what, why, { retryable: true });
  return new RegistryFailure(Status.protocol, what, why);
}

/** A registry explains in its body what is not there: distribution-spec, "Error Codes". */
function missingHint(words: string): string | undefined {
  if (words === '') return 'is this a registry, or something in front of it?';
  return /^(?:MANIFEST|NAME)_UNKNOWN/.test(words)
    ? 'check its name, and its tag, which is latest where none is given'
    : undefined;
}

/** The failure when a host refuses the link that a registry has signed for it. No login there would help. */
export async function linkFailure(response: Incoming, registry: string): Promise<RegistryFailure> {
  const { status, why } = await responseFailure(response);
  return new RegistryFailure(status, redactUrl(response.url), why, {
    hint: `${response.url.host} does not take the link that ${registry} gave: does a proxy stand between, or is one of the clocks wrong?`,
  });
}

/** Retry-After in whole seconds from `now` (milliseconds). RFC 9110, 10.2.3: seconds or a date. */
export function parseRetryAfter(value: string | undefined, now: number): number | undefined {
  if (value === undefined) return undefined;
  if (/^[0-9]+$/.test(value)) return Math.min(Number(value), Number.MAX_SAFE_INTEGER);
  // Date.parse would take -1 for a year.
  const date = /^[A-Z][a-z]+,? /.test(value) ? Date.parse(value) : Number.NaN;
  return Number.isNaN(date) ? undefined : Math.max(0, Math.ceil((date - now) / 1000));
}

/**
 * distribution-spec, "Error Codes": `{"errors":[{"code","message","detail"}]}`; token services use it too. Object stores
 * write XML: `<Error><Code>AccessDenied</Code><Message>Request has expired</Message>`.
 */
async function errorWords(response: Incoming): Promise<string> {
  let body = '';
  try {
    body = (await response.bytes(errorBodyLimit)).toString();
    return wordsOf(JSON.parse(body));
  } catch (error) {
    // Many error bodies are HTML, and some are cut. The HTTP status says what matters.
    if (error instanceof SyntaxError) return /<Message>([^<]+)</.exec(body)?.[1] ?? pageWords(body);
    if (error instanceof Failure) return '';
    throw error;
  }
}

/**
 * The words of a web server itself: that it got no client certificate, does not trust it, or expects TLS. nginx has
 * them in the title of a page, Go in plain text. Other pages give an empty string.
 */
function pageWords(page: string): string {
  const [, title] = /<title>[0-9]+ ([^<]{1,200})</.exec(page) ?? [];
  const words = title ?? /^[^<]{1,200}/.exec(page)?.[0].trim() ?? '';
  return /SSL certificate|HTTPS (?:server|port)/.test(words) ? words : '';
}

function shorten(text: string): string {
  return text.length > 200 ? `${text.slice(0, 197)}...` : text;
}

function wordsOf(body: unknown): string {
  try {
    const it = asObject(body, 'error');
    const first = optional(it.errors, 'errors', asArray)?.[0];
    const { code, message } = asObject(
      first ?? { message: it.details ?? it.message ?? it.error_description ?? it.error },
      'error',
    );
    return [code, message].filter((part) => typeof part === 'string' && part !== '').join(': ');
  } catch (error) {
    // A body of another shape has no words to quote.
    if (error instanceof Failure) return '';
    throw error;
  }
}
