/** Failures that an answer tells of, by its status, its headers and the registry's own words in its body. */
import { asArray, asObject, optional } from '../../base/check.js';
import { Failure, shorten } from '../../base/failure.js';
import { Status } from '../../base/status.js';
import { redactUrl } from '../names/redaction.js';
import { RegistryFailure } from '../transport/failure.js';
import { clientHint } from '../transport/transport-failures.js';
import type { Incoming } from './message.js';
import { quotaOf } from './quota.js';

/** Error bodies longer than this are not read: a registry's JSON has a few hundred bytes. */
const errorBodyLimit = 64 * 1024;

export const loginHint = 'run docker login, or pass --username and --password-stdin';
const noLoginHint = `the repository does not exist or needs a login: ${loginHint}`;
/** Of a 401 that does not say how to log in: a login that is there cannot be given, and another would not help. */
const unaskedHint =
  'the repository does not exist or needs a login, and the answer has no WWW-Authenticate that says which: is there a proxy?';
/** For a login that has expired, too: then even public images are refused. */
const refusedLoginHint =
  'the login is not accepted (-x tells where it is from): log in again, or log out where none is needed';

/** GHCR, for one, answers 403 to a login that has expired, as to one that lacks a right. */
const unfitLoginHint =
  'the repository does not exist, or the login (-x tells where it is from) is not good for it: log in again, or log out where none is needed';

const tlsHere = 'it speaks TLS: pass --ca-file FILE or --insecure HOST, and leave out --plain-http';

/** The failure for a response that is no success. Reads the registry's own words from its body. */
export async function responseFailure(response: Incoming): Promise<RegistryFailure> {
  const { status } = response;
  const words = shorten(response.quote(await errorWords(response)), 200);
  const why = `HTTP ${status}${words === '' ? '' : ` (${words})`}`;
  const what = redactUrl(response.url);
  if (status === 401 || status === 403) {
    return new RegistryFailure(Status.notPermitted, what, `denied: ${why}`, { hint: deniedHint(response) });
  }
  if (status === 400 && words.includes('SSL certificate')) {
    return new RegistryFailure(Status.notPermitted, what, `denied: ${why}`, { hint: clientHint(response.url.host) });
  }
  if (status === 400 && response.url.protocol === 'http:' && words.includes('HTTPS')) {
    return new RegistryFailure(Status.protocol, what, why, { hint: tlsHere });
  }
  if (status === 404 || status === 410) {
    return new RegistryFailure(Status.missing, what, `not found: ${why}`, { hint: missingHint(words) });
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

function deniedHint({ status, login }: Incoming): string {
  if (login === undefined) return noLoginHint;
  return status === 401 && login === 'password' ? refusedLoginHint : unfitLoginHint;
}

/** A registry explains in its body what is not there: distribution-spec, "Error Codes". */
function missingHint(words: string): string | undefined {
  if (words === '') return 'is this a registry, or something in front of it?';
  // The last one is Harbor's.
  return /^(?:MANIFEST_UNKNOWN|NAME_UNKNOWN|NOT_FOUND)/.test(words)
    ? 'check the name, and the tag, which is latest unless given'
    : undefined;
}

/** The failure for a 401 of a registry that does not say how to log in. */
export async function unaskedFailure(response: Incoming): Promise<RegistryFailure> {
  return (await responseFailure(response)).hinting(unaskedHint);
}

/** The failure when a host refuses the link that a registry has signed for it. No login there would help. */
export async function linkFailure(response: Incoming, registry: string): Promise<RegistryFailure> {
  const why = 'does a proxy stand between, or is one of the clocks wrong?';
  const hint = `${response.url.host} does not take the link that ${registry} gave: ${why}`;
  return (await responseFailure(response)).hinting(hint);
}

/** Retry-After in whole seconds from `now` (milliseconds). RFC 9110, 10.2.3: seconds or a date. */
export function parseRetryAfter(value: string | undefined, now: number): number | undefined {
  if (value === undefined) return undefined;
  if (/^[0-9]+$/.test(value)) return Math.min(Number(value), Number.MAX_SAFE_INTEGER);
  // Date.parse would take -1 for a year, and the form of asctime(3), which says no zone, for local time.
  const date = /^[A-Z][a-z]+,? /.test(value)
    ? Date.parse(/:[0-9]{2} [0-9]{4}$/.test(value) ? `${value} GMT` : value)
    : Number.NaN;
  return Number.isNaN(date) ? undefined : Math.max(0, Math.ceil((date - now) / 1000));
}

/**
 * distribution-spec, "Error Codes": `{"errors":[{"code","message","detail"}]}`; token services use it too. Object
 * stores write XML: `<Error><Code>AccessDenied</Code><Message>Request has expired</Message>`.
 */
async function errorWords(response: Incoming): Promise<string> {
  let body = '';
  try {
    body = (await response.bytes(errorBodyLimit)).toString();
    return wordsOf(JSON.parse(body));
  } catch (error) {
    // Many error bodies are HTML, and some are cut. The HTTP status says what matters.
    if (error instanceof SyntaxError) return /<Message>([^<]+)</.exec(body)?.[1] ?? pageWords(body);
    // Nor has a body of another shape any words to quote.
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

function wordsOf(body: unknown): string {
  const it = asObject(body, 'error');
  const first = optional(it.errors, 'errors', asArray)?.[0];
  const { code, message } = asObject(
    first ?? { message: it.details ?? it.message ?? it.error_description ?? it.error },
    'error',
  );
  return [code, message].filter((part) => typeof part === 'string' && part !== '').join(': ');
}
