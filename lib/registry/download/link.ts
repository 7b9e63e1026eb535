/** The link to storage, signed as a rule, to which a registry redirects for a blob. */
import type { Http } from '../http/http.js';
import type { Incoming } from '../http/message.js';
import { exchangeFollowing } from '../http/redirect.js';
import type { GetPart } from './range.js';

/**
 * Answers of object stores to a signed link that has expired. S3 gives 400 for one that was signed with a token, and 410
 * comes from nginx where its `secure_link` is used as documented.
 */
const refused = new Set([400, 401, 403, 410]);

export function isRefusedLink({ status }: Incoming): boolean {
  return refused.has(status);
}

/**
 * Requests for further parts of a blob at `link`, where the first came from: that spares the registry a request for
 * each, and the download a round trip. When the link is refused, as it may expire or need a token of that host, the
 * parts are asked for by `ask` from then on; also when it is not found, since the blob was there.
 */
export function overLink(http: Http, link: URL, ask: GetPart): GetPart {
  let isRefused = false;
  return async (headers) => {
    if (isRefused) return ask(headers);
    const response = await exchangeFollowing(http, { method: 'GET', url: link, headers });
    if (!isRefusedLink(response) && response.status !== 404) return response;
    isRefused = true;
    await response.drop();
    return ask(headers);
  };
}
