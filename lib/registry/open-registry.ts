/** Makes the client of a registry, with its mirrors, from a document and flags. */
import { asObject, asString, type JsonObject, optional, secret } from '../base/check.js';
import { Failure, failingAs } from '../base/failure.js';
import { readNamed } from '../base/named-file.js';
import { Status } from '../base/status.js';
import { trace } from '../base/trace.js';
import { type Credentials, passwordLogin } from './auth/auth.js';
import { RegistryClient, type RegistryOptions } from './client.js';
import type { Connections } from './download/connections.js';
import { defaultHttpOptions, type HttpOptions } from './http/options.js';
import { defaultRetryPolicy } from './http/retry.js';
import type { Registry } from './mirrors.js';
import { apiHost, isHost, isLoopback } from './names/hosts.js';
import { isManifestName, tryReference } from './names/reference.js';
import { type Network, splitMirror } from './network.js';
import { asAuthorities } from './transport/authorities.js';
import { findCertificates } from './transport/certificates.js';
import { Guard } from './transport/guard.js';

interface RegistryDocument extends JsonObject {
  registry: string;
  repository: string;
  authorization?: string | null;
  /** User name and password from `--username`, for renewing the token. A secret. */
  login?: unknown;
}

/** Where an image is. */
type Place = Pick<RegistryOptions, 'registry' | 'repository' | 'origin'>;

/**
 * Throws `Failure` 65 for an impossible registry or repository and for a CA file without a CA, 74 when that cannot be
 * read.
 */
export async function openRegistry(
  document: RegistryDocument,
  network: Network,
  connections: Connections | undefined,
): Promise<Registry> {
  checkNames(document);
  const { registry, repository, authorization } = document;
  const shared = { ...sharedOptions(network), connections };
  const client = (place: Place, more: Partial<RegistryOptions>, login?: Credentials) => {
    const guard = new Guard(new URL(place.origin), network.allowPrivate);
    return new RegistryClient({ ...shared, ...more, ...place, credentials: credentialsFor(place, login), guard });
  };
  const own = { registry, repository, origin: originOf(apiHost(registry), network) };
  const origin = client(own, { authorization: authorization ?? null }, asLogin(document.login));
  const mirrors = (network.mirrors ?? []).map((mirror) => {
    const { scheme, host, path } = splitMirror(mirror);
    // There is no use in waiting for a mirror that is down, since the registry itself can be asked.
    const retry = { ...shared.retry, insist: false };
    const origin = scheme === '' ? originOf(host, network) : `${scheme}${host}`;
    const itsRepository = path === '' ? repository : `${path}/${repository}`;
    return client({ registry: host, repository: itsRepository, origin }, { retry });
  });
  if (mirrors.length === 0) return origin;
  const { Mirrored } = await import('./mirrors.js');
  return new Mirrored(mirrors, origin);
}

/** Finds the credentials for a place: `login`, which is that of --username, or those that docker and podman keep. */
function credentialsFor({ registry, repository }: Place, login: Credentials | undefined) {
  // Where there is no login it is not looked for again: each search warns, and asks helpers that may be slow.
  let isNone = false;
  return async (): Promise<Credentials | undefined> => {
    if (login) trace(`* the login for ${registry} is the one of --username`);
    if (login || isNone) return login;
    const { findCredentials } = await import('./auth/credentials.js');
    const found = await findCredentials(registry, repository);
    isNone = found === undefined;
    return found;
  };
}

/** Checks what becomes a part of URLs, since a document may come from anywhere. */
function checkNames({ registry, repository, reference }: RegistryDocument): void {
  const named = tryReference(`${registry}/${repository}`);
  const wrong = (field: string, value: unknown) =>
    new Failure(Status.data, `document on stdin: ${field}`, `${JSON.stringify(value)} is not valid`);
  if (!named || named.registry !== registry || named.repository !== repository) {
    throw wrong('registry and repository', `${registry}/${repository}`);
  }
  const isWhole = reference === undefined || (typeof reference === 'string' && isManifestName(reference));
  if (!isWhole) throw wrong('reference', reference);
}

/**
 * The origin of a host: plain http for loopback and for --plain-http. For loopback, flags and certificates for TLS mean
 * https.
 */
function originOf(host: string, { plainHttp = [], insecure = [], caFile }: Network): string {
  const [plain, secure] = [`http://${host}`, `https://${host}`];
  if (plainHttp.some((it) => isHost(new URL(plain), it))) return plain;
  if (!isLoopback(host) || caFile !== undefined) return secure;
  const url = new URL(secure);
  return insecure.some((it) => isHost(url, it)) || findCertificates(url) !== undefined ? secure : plain;
}

/** Seconds, about 24 days. Node's timers fire at once when they are set to more. */
const longestTimeout = 2 ** 31 / 1000 - 1;

function sharedOptions(network: Network): Partial<HttpOptions> & { retry: { retries: number } } {
  const { timeouts: usual, minSpeed } = defaultHttpOptions;
  const { connectTimeout = usual.connect, headerTimeout = usual.headers, idleTimeout = usual.idle } = network;
  const within = (seconds: number) => Math.min(seconds, longestTimeout);
  return {
    timeouts: { connect: within(connectTimeout), headers: within(headerTimeout), idle: within(idleTimeout) },
    minSpeed: network.minSpeed ?? minSpeed,
    insecure: network.insecure ?? [],
    retry: { retries: network.retries ?? defaultRetryPolicy.retries },
    ca: network.caFile === undefined ? undefined : readCa(network.caFile),
  };
}

function readCa(path: string): string {
  const what = `CA file ${path}`;
  return asAuthorities(
    failingAs(what, () => readNamed(path, what).toString()),
    what,
  );
}

/** The field `login` of a document: a user name and a password. */
function asLogin(value: unknown): Credentials | undefined {
  const it = optional(value, 'login', secret(asObject));
  if (!it) return undefined;
  const username = secret(asString)(it.username, 'login.username');
  return passwordLogin(username, secret(asString)(it.password, 'login.password'));
}
