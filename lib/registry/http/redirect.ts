/** Redirects, followed by hand: undici's own would follow https to http, and a registry's token must not go along. */
import { Status } from '../../base/status.js';
import { redactUrl } from '../names/redaction.js';
import { RegistryFailure } from '../transport/failure.js';
import type { Http } from './http.js';
import type { Incoming, Outgoing } from './message.js';

const maxRedirects = 10;
const redirects = new Set([301, 302, 303, 307, 308]);

/**
 * Sends a request and follows redirects. Only the first origin gets `authorization`. A redirect leads to storage with
 * signed URLs, which refuses a second kind of authentication, or to a stranger, who must not have it.
 */
export async function exchangeFollowing(http: Http, first: Outgoing): Promise<Incoming> {
  let request = first;
  for (let count = 0; ; count++) {
    const response = await http.exchange(request);
    const location = redirects.has(response.status) ? response.location : undefined;
    if (location === undefined) return response;
    await response.drop();
    if (count === maxRedirects) {
      throw new RegistryFailure(Status.protocol, redactUrl(first.url), `more than ${maxRedirects} redirects`);
    }
    request = redirected(request, location);
  }
}

function redirected(request: Outgoing, location: string): Outgoing {
  const { url: from } = request;
  const refuse = (why: string) => new RegistryFailure(Status.protocol, redactUrl(from), why);
  if (!URL.canParse(location, from.href)) throw refuse('it redirects to what is not a URL');
  const url = new URL(location, from);
  if (url.protocol !== 'https:' && url.protocol !== 'http:') throw refuse(`it redirects to a ${url.protocol} URL`);
  if (from.protocol === 'https:' && url.protocol === 'http:') {
    throw refuse(`it redirects from https to plain http (${redactUrl(url)}), which is refused`);
  }
  const { authorization: _, ...open } = request.headers;
  return { ...request, url, headers: url.origin === from.origin ? request.headers : open };
}
