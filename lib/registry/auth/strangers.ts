/**
 * A registry may only redirect to another one. That one gives public images to everybody who brings one of its tokens.
 * Such a token is asked for without credentials: the user's are for the first registry, and it must not send them
 * elsewhere.
 */

import type { Http } from '../http/http.js';
import type { Incoming } from '../http/message.js';
import { exchangeFollowing } from '../http/redirect.js';
import { fetchToken, isBearer } from './auth.js';
import { parseChallenges } from './challenge.js';

export class Strangers {
  /** Authorization headers by origin and repository. */
  private readonly tokens = new Map<string, string>();

  constructor(private readonly http: Http) {}

  /**
   * Repeats a request that the target of a redirect has refused, with a token of that host, if it is a registry that
   * gives one.
   */
  async askAgain(refused: Incoming, headers: Record<string, string>): Promise<Incoming> {
    const { url } = refused;
    const challenge = parseChallenges(refused.headers('www-authenticate')).find(isBearer);
    const [, repository] = /^\/v2\/(.+)\/(?:manifests|blobs)\/[^/]+$/.exec(url.pathname) ?? [];
    if (challenge === undefined || repository === undefined) return refused;
    await refused.drop();
    const ask = (authorization: string) =>
      exchangeFollowing(this.http, { method: 'GET', url, headers: { ...headers, authorization } });
    const name = `${url.origin}/${repository}`;
    const known = this.tokens.get(name);
    if (known) {
      const again = await ask(known);
      if (again.status !== 401) return again;
      await again.drop();
    }
    const { authorization } = await fetchToken(this.http, challenge, { origin: url.origin, repository }, undefined);
    this.tokens.set(name, authorization);
    return ask(authorization);
  }
}
