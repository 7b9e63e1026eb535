/**
 * Gets permission to pull. The registry's challenge says how: Bearer, a token from the service that it names, or Basic.
 * Sources: distribution's "Token Authentication Specification" and "OAuth2"; distribution-spec.
 */
import { asObject, asString, optional } from '../../base/check.js';
import { Failure } from '../../base/failure.js';
import { Status } from '../../base/status.js';
import type { Http } from '../http/http.js';
import type { Incoming } from '../http/message.js';
import { exchangeFollowing } from '../http/redirect.js';
import { loginHint, responseFailure } from '../http/response-failures.js';
import { redactUrl } from '../names/redaction.js';
import { RegistryFailure } from '../transport/failure.js';
import type { Challenge } from './challenge.js';

/** A user's credentials for one registry. A secret. */
export type Credentials =
  /** User name, colon and password in base64, as in a Basic header: docker's `auth`, in whatever encoding that is. */
  | { kind: 'password'; basic: string }
  /** An OAuth2 refresh token, docker's `identitytoken`. The user name may be empty. */
  | { kind: 'refresh'; username: string; token: string }
  /** A token for the registry itself, docker's `registrytoken`. */
  | { kind: 'bearer'; token: string };

export function passwordLogin(username: string, password: string): Credentials & { kind: 'password' } {
  return { kind: 'password', basic: Buffer.from(`${username}:${password}`).toString('base64') };
}

export interface AuthTarget {
  /** Origin of the registry's API. */
  origin: string;
  repository: string;
}

/** Permission to pull. */
interface Grant {
  /** The value of the Authorization header; null when none is needed. A secret. */
  authorization: string | null;
  /** For a token: for how many seconds from now it is valid. */
  lifetime?: number;
}

/** Permission by a token of a service. */
interface TokenGrant extends Grant {
  authorization: string;
  lifetime: number;
}

const tokenBodyLimit = 1024 * 1024;
/**
 * Answers of token services that know no POST, or none with a refresh token: Google's has 404, JFrog Artifactory's 401,
 * Azure's 400. They take the refresh token as a password. A service that refuses the token itself will refuse it once
 * more.
 */
const knowsNoPost = new Set([400, 401, 404, 405]);
/** Seconds a token is valid when the service does not say: "Token Authentication Specification", "expires_in". */
const defaultLifetime = 60;

/**
 * Gets the grant that `challenges` ask for; without challenges that is none. `credentials` is called only when a
 * challenge needs them. Throws `Failure` 77 when the token service or the registry wants a login and there is none, 76
 * when it answers nonsense.
 */
export async function answerChallenges(
  http: Http,
  challenges: Challenge[],
  target: AuthTarget,
  credentials: () => Promise<Credentials | undefined>,
): Promise<Grant> {
  const bearer = challenges.find(isBearer);
  if (bearer) {
    const login = await credentials();
    if (login?.kind === 'bearer') return { authorization: `Bearer ${login.token}` };
    return fetchToken(http, bearer, target, login);
  }
  if (wantsPassword(challenges)) {
    return { authorization: basicOrDenied(target, await credentials()) };
  }
  if (challenges.length === 0) return { authorization: null };
  if (challenges.some(({ scheme }) => scheme === 'bearer')) {
    throw new RegistryFailure(Status.protocol, target.origin, 'its challenge names no token service');
  }
  const schemes = challenges.map(({ scheme }) => scheme).join(', ');
  throw new RegistryFailure(
    Status.protocol,
    target.origin,
    `it asks for authentication by ${schemes}, not Bearer or Basic`,
  );
}

/** Whether the challenges can only be answered with a user name and a password. */
export function wantsPassword(challenges: Challenge[]): boolean {
  return challenges.some(({ scheme }) => scheme === 'basic') && !challenges.some(isBearer);
}

/** Whether a challenge names a token service. */
export function isBearer({ scheme, parameters }: Challenge): boolean {
  return scheme === 'bearer' && Boolean(parameters.get('realm'));
}

function basicOrDenied({ origin }: AuthTarget, credentials: Credentials | undefined): string {
  if (credentials?.kind === 'password') return `Basic ${credentials.basic}`;
  throw new RegistryFailure(Status.notPermitted, origin, 'the registry wants a user name and a password', {
    hint: loginHint,
  });
}

/**
 * Gets a token from the service that a Bearer challenge names, for nobody in particular without `credentials`. Throws as
 * `answerChallenges` does.
 */
export async function fetchToken(
  http: Http,
  challenge: Challenge,
  target: AuthTarget,
  credentials: Credentials | undefined,
): Promise<TokenGrant> {
  const url = realmUrl(challenge, target);
  const wish = { service: challenge.parameters.get('service'), scopes: scopesFor(challenge, target) };
  let response: Incoming;
  if (credentials?.kind === 'refresh') {
    response = await postRefreshToken(http, url, wish, credentials.token);
    if (knowsNoPost.has(response.status)) {
      await response.drop();
      response = await getToken(http, url, wish, passwordLogin(credentials.username, credentials.token));
    }
  } else {
    response = await getToken(http, url, wish, credentials?.kind === 'password' ? credentials : undefined);
  }
  if (response.status !== 200) throw await responseFailure(response);
  return readToken(await response.bytes(tokenBodyLimit), url);
}

/** What a token is to be good for. */
interface Wish {
  service: string | undefined;
  scopes: string[];
}

/** "Token Authentication Specification", "Query Parameters": several scopes are as many parameters. */
function getToken(
  http: Http,
  realm: URL,
  { service, scopes }: Wish,
  login: { basic: string } | undefined,
): Promise<Incoming> {
  const url = new URL(realm);
  if (service !== undefined) url.searchParams.set('service', service);
  url.searchParams.delete('scope');
  for (const scope of scopes) url.searchParams.append('scope', scope);
  const headers = { accept: 'application/json', ...(login ? { authorization: `Basic ${login.basic}` } : {}) };
  return exchangeFollowing(http, { method: 'GET', url, headers });
}

/**
 * RFC 6749, 6; "OAuth2": several scopes are one parameter, a list. No redirect is followed: the body is a secret.
 */
function postRefreshToken(http: Http, url: URL, { service, scopes }: Wish, token: string): Promise<Incoming> {
  const wish = { ...(service === undefined ? {} : { service }), scope: scopes.join(' ') };
  const form = { grant_type: 'refresh_token', client_id: 'md', ...wish, refresh_token: token };
  return http.exchange({
    method: 'POST',
    url,
    headers: { accept: 'application/json', 'content-type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams(form).toString(),
    secret: [token],
  });
}

function realmUrl(challenge: Challenge, { origin }: AuthTarget): URL {
  const realm = challenge.parameters.get('realm') ?? '';
  const refuse = (why: string) => new RegistryFailure(Status.protocol, origin, why);
  if (!URL.canParse(realm)) throw refuse('its challenge names a token service that is not a URL');
  const url = new URL(realm);
  const plain = url.protocol === 'http:';
  if (!plain && url.protocol !== 'https:') throw refuse(`its challenge names a ${url.protocol} URL as token service`);
  if (plain && origin.startsWith('https:')) {
    throw refuse(`its challenge names a token service without TLS (${redactUrl(url)}), which is refused`);
  }
  return url;
}

/**
 * The scopes that a pull needs: those of the challenge, and of each repository no more than pulling. A registry in front
 * of another one may know a repository by another name, which only its challenge tells. That the repository has for this
 * client is asked for as well, since a challenge may be wrong, and what is not granted is no error. A scope of a
 * registry's own form ("aws") is taken as it is. Source: distribution's "Token Scope Documentation".
 */
function scopesFor(challenge: Challenge, { repository }: AuthTarget): string[] {
  const asked = (challenge.parameters.get('scope') ?? '').split(' ').flatMap(onlyPulling);
  const isOwnForm = asked.some((scope) => !scope.startsWith('repository'));
  return isOwnForm ? asked : [...new Set([...asked, `repository:${repository}:pull`])];
}

/** A scope without what pulling does not need. The name of a repository may have a port in it. */
function onlyPulling(scope: string): string[] {
  const [, resource] = /^(repository(?:\([a-z0-9]+\))?:.+):[^:]*$/.exec(scope) ?? [];
  if (resource !== undefined) return [`${resource}:pull`];
  return scope === '' || /^(?:repository|registry)[(:]/.test(scope) ? [] : [scope];
}

function readToken(body: Buffer, url: URL): TokenGrant {
  const wrong = (why: string) =>
    new RegistryFailure(Status.protocol, redactUrl(url), `the token service's answer ${why}`);
  let token: string | undefined;
  let lifetime: unknown;
  try {
    const it = asObject(JSON.parse(body.toString()), 'answer');
    lifetime = it.expires_in;
    token = optional(it.token, 'token', asString) || optional(it.access_token, 'access_token', asString);
  } catch (error) {
    if (error instanceof SyntaxError) throw wrong('is not JSON');
    if (error instanceof Failure) throw wrong('has no usable token');
    throw error;
  }
  // A token goes into a header, where a line break would forge another. RFC 6750, 2.1 knows fewer characters; some
  // services give tokens with a colon or a bar.
  if (!token || !/^[\x21-\x7e]+$/.test(token)) throw wrong('has no usable token');
  return { authorization: `Bearer ${token}`, lifetime: asLifetime(lifetime) };
}

/**
 * The lifetime in seconds, counted from now. `issued_at` is not used, since one of the two clocks may be wrong. If the
 * token expires earlier, it is refused and then renewed.
 */
function asLifetime(seconds: unknown): number {
  return typeof seconds === 'number' && seconds > 0 ? seconds : defaultLifetime;
}
