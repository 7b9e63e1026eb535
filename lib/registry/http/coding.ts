/**
 * Bodies that are compressed for the transfer. Every request asks for none (`Accept-Encoding: identity`: without that
 * header any would do), and some proxies and caches send them all the same. Digests are those of the content. Source:
 * RFC 9110, 8.4 and 12.5.3.
 */
import { Status } from '../../base/status.js';
import { redactUrl } from '../names/redaction.js';
import { RegistryFailure } from '../transport/failure.js';
import type { Incoming } from './message.js';

/**
 * The codings that compress, by RFC 9110, 8.4.1, and IANA's registry. Object stores also tell of codings that are none:
 * `UTF-8`, and `aws-chunked`, which is one of requests.
 */
const compressions = new Set(['gzip', 'x-gzip', 'deflate', 'compress', 'x-compress', 'br', 'zstd']);

type Headers = Pick<Incoming, 'header' | 'url'>;

/** How a body is compressed; undefined when it is not. */
function codingOf(response: Headers): string | undefined {
  const codings =
    response
      .header('content-encoding')
      ?.toLowerCase()
      .split(/[\s,]+/) ?? [];
  const real = codings.filter((coding) => compressions.has(coding));
  return real.length > 0 ? real.join(', ') : undefined;
}

/** Whether a body is compressed in the one way that proxies use which do not look at what is asked for. */
export function isGzip(response: Headers): boolean {
  return ['gzip', 'x-gzip'].includes(codingOf(response) ?? '');
}

/** The failure for a body that is compressed; undefined for any other. */
export function codingFailure(response: Headers): RegistryFailure | undefined {
  const coding = codingOf(response);
  if (coding === undefined) return undefined;
  const why = `it comes compressed (Content-Encoding: ${coding}), and the request was for what is not`;
  return new RegistryFailure(Status.protocol, redactUrl(response.url), why, { hint: 'does a proxy stand between?' });
}

/** What was compressed by gzip. Throws `Failure` 76 when it is damaged, or longer than `limit` bytes. */
export function gunzipped(body: Buffer, limit: number, url: URL): Buffer {
  // Loaded only now: few proxies compress.
  const { gunzipSync } = process.getBuiltinModule('node:zlib');
  try {
    return gunzipSync(body, { maxOutputLength: limit });
  } catch (cause) {
    if (cause instanceof RangeError) throw bodyTooLarge(url, limit);
    const why = 'it comes as Content-Encoding: gzip, and is no gzip data or damaged';
    throw new RegistryFailure(Status.protocol, redactUrl(url), why, { cause, hint: 'does a proxy stand between?' });
  }
}

export function bodyTooLarge(url: URL, limit: number): RegistryFailure {
  return new RegistryFailure(Status.protocol, redactUrl(url), `the body is longer than ${limit} bytes`);
}
