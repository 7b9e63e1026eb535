/**
 * GET requests below one repository of a registry: they log in as it wants, renew tokens and follow redirects. Each is
 * made once; client.ts tries again.
 */
import { type AuthTarget, type Credentials, wantsPassword } from './auth/auth.js';
import { Authorization } from './auth/authorization.js';
import { ofNoRepository, parseChallenges } from './auth/challenge.js';
import { Strangers } from './auth/strangers.js';
import { isRefusedLink } from './download/link.js';
import type { Http } from './http/http.js';
import type { Incoming } from './http/message.js';
import { exchangeFollowing } from './http/redirect.js';
import { linkFailure, responseFailure, unaskedFailure } from './http/response-failures.js';

interface RequestOptions {
  http: Http;
  target: AuthTarget;
  /** The Authorization header to begin with, null for none. */
  authorization: string | null;
  /** Called when a challenge needs credentials. */
  credentials: () => Promise<Credentials | undefined>;
}

export class RepositoryRequests {
  private readonly http: Http;
  private readonly target: AuthTarget;
  private readonly credentials: () => Promise<Credentials | undefined>;
  private readonly strangers: Strangers;
  private readonly grant: Authorization;
  /**
   * Whether it is known how the registry wants to be asked: by a login, or since it has given something without one. A
   * document without a header does not tell: the stage above may have found all in the store, or a mirror.
   */
  private isKnown: boolean;
  private asking: Promise<string | null> | undefined;

  constructor({ http, target, authorization, credentials }: RequestOptions) {
    this.http = http;
    this.target = target;
    this.credentials = credentials;
    this.strangers = new Strangers(http);
    this.grant = new Authorization(http, target, authorization, credentials);
    this.isKnown = this.grant.header !== null;
  }

  get authorization(): string | null {
    return this.grant.header;
  }

  /** Whether the registry itself has answered, and not a host that it redirects to. */
  isOwn({ url }: Incoming): boolean {
    return url.origin === this.target.origin;
  }

  /**
   * Asks the registry how it wants to be asked, does that, and returns the Authorization header, null when there is none.
   * Throws `RegistryFailure`, of status 77 when a login is refused.
   */
  async login(): Promise<string | null> {
    const url = new URL('/v2/', this.target.origin);
    const response = await exchangeFollowing(this.http, { method: 'GET', url, headers: {} });
    const challenges = this.challengesOf(response);
    // A host that the registry redirects to will say what it wants when it is asked for something. So will a registry
    // behind a proxy that lets only repositories through: docker goes on then, and containerd never asks here.
    if (challenges.length === 0 && ![200, 401, 403, 404].includes(response.status))
      throw await responseFailure(response);
    await response.drop();
    const isPassword = wantsPassword(challenges);
    const login = isPassword ? await this.credentials() : undefined;
    // Some registries want a password here from everybody, and still give public images without one, as podman knows.
    if (challenges.length > 0 && (login?.kind === 'password' || !isPassword)) {
      await this.grant.askFor(challenges.map(ofNoRepository), login ? async () => login : this.credentials);
    }
    this.isKnown = true;
    return this.grant.header;
  }

  /**
   * One GET below the repository. When it redirects to a host that refuses the link, that may have expired: the
   * registry is asked for a fresh link, once. Throws `RegistryFailure`.
   */
  async get(path: string, headers: Record<string, string>): Promise<Incoming> {
    const first = await this.getWithToken(path, headers);
    if (!this.isExpired(first)) return first;
    await first.drop();
    const second = await this.getWithToken(path, headers);
    if (this.isExpired(second)) throw await linkFailure(second, this.target.origin);
    return second;
  }

  private isExpired(response: Incoming): boolean {
    return isRefusedLink(response) && !this.isOwn(response);
  }

  /**
   * A token is renewed shortly before it expires, and once when it is refused. Without one the registry is simply asked,
   * which spares a round trip where no token is needed: its refusal says how to get one, as containerd knows.
   */
  private async getWithToken(path: string, headers: Record<string, string>): Promise<Incoming> {
    await this.grant.renewIfDue();
    const used = this.grant.header;
    const isStranger = !this.isKnown && used === null;
    const first = await this.send(path, headers, used);
    if (first.status < 400) this.isKnown = true;
    const challenges = this.challengesOf(first);
    if (challenges.length > 0) {
      await first.drop();
      await this.grant.renew(used, challenges);
      this.isKnown = true;
      return this.send(path, headers, this.grant.header);
    }
    if (isStranger && this.isHidden(first) && (await this.hasLoginAfter(first))) {
      await first.drop();
      return this.send(path, headers, this.grant.header);
    }
    if (first.status === 401 && used === null && this.isOwn(first)) throw await unaskedFailure(first);
    return first;
  }

  /** Whether the registry may have what it does not give to a stranger, and has not said what it wants. */
  private isHidden(response: Incoming): boolean {
    return this.isOwn(response) && [401, 403, 404].includes(response.status);
  }

  /** Whether there is a login since that refusal. One of several requests that are refused asks for all. */
  private async hasLoginAfter(refusal: Incoming): Promise<boolean> {
    if (!this.isKnown) {
      this.asking ??= this.login().finally(() => {
        this.asking = undefined;
      });
      try {
        await this.asking;
      } catch (error) {
        await refusal.drop();
        throw error;
      }
    }
    return this.grant.header !== null;
  }

  private async send(path: string, headers: Record<string, string>, authorization: string | null): Promise<Incoming> {
    const url = new URL(`/v2/${this.target.repository}/${path}`, this.target.origin);
    const all = authorization === null ? headers : { ...headers, authorization };
    const { isOfLogin } = this.grant;
    const response = await exchangeFollowing(this.http, { method: 'GET', url, headers: all, isOfLogin });
    const isStrangers = response.status === 401 && !this.isOwn(response);
    return isStrangers ? this.strangers.askAgain(response, headers) : response;
  }

  /** Only the registry itself may ask for credentials: a host that it redirects to may not. */
  private challengesOf(response: Incoming) {
    const asks = response.status === 401 && this.isOwn(response);
    return asks ? parseChallenges(response.headers('www-authenticate')) : [];
  }
}
