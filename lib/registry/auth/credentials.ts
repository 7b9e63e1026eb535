/**
 * Finds the credentials that docker and podman keep, so that their logins are valid here. Sources: docker's config.json
 * ("auths", "credsStore", "credHelpers") and DOCKER_AUTH_CONFIG; containers-auth.json(5).
 */
import { lstatSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { asFieldValue, asJson, asObject, asString, type JsonObject, optional, secret } from '../../base/check.js';
import { errnoName, errnoText, Failure, ignoringFailure, ignoringSystemErrors } from '../../base/failure.js';
import { readNamed } from '../../base/named-file.js';
import { isOwn } from '../../base/own.js';
import { Status } from '../../base/status.js';
import { trace, warn } from '../../base/trace.js';
import { userHome, xdgDirectory } from '../../base/user-home.js';
import { hub, isHub } from '../names/hosts.js';
import { type Credentials, passwordLogin } from './auth.js';
import { askHelper } from './credential-helper.js';

/** Docker Hub's name in docker's config, and for its credential helpers. */
const hubKey = 'https://index.docker.io/v1/';

/**
 * The credentials for a repository, or undefined when there are none. For a file that cannot be read, or a helper that
 * fails, there is only a warning: most pulls need no login.
 */
export async function findCredentials(
  registry: string,
  repository: string,
  env: NodeJS.ProcessEnv = process.env,
): Promise<Credentials | undefined> {
  for (const [name, config] of credentialConfigs(env)) {
    if (!config) continue;
    try {
      const found = await searchConfig(config, registry, repository, name);
      if (!found) continue;
      trace(`* the login for ${registry} is from ${name}`);
      return found;
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      warn(`${error.message}; going on without`);
    }
  }
  return undefined;
}

/**
 * The configurations, in the order in which they are searched. CI services set the first, a variable with a whole
 * config.json.
 */
function* credentialConfigs(env: NodeJS.ProcessEnv): Generator<[name: string, config: JsonObject | undefined]> {
  const name = 'DOCKER_AUTH_CONFIG';
  const text = env[name];
  if (text) yield [name, parseConfig(text, name)];
  const podmans = podmanFiles(env);
  for (const path of credentialFiles(env)) {
    // podman refuses to go on without the one that is named. Any other need not be there.
    const isNamed = path === env.REGISTRY_AUTH_FILE;
    yield [path, readConfig(path, { isNamed, isPodmans: podmans.includes(path) })];
  }
}

/**
 * The files, in the order in which they are searched: what the environment names, then podman's and docker's, as podman
 * and skopeo do. docker knows no login for a part of a registry, so its file must not hide one that podman has.
 */
export function credentialFiles(env: NodeJS.ProcessEnv): string[] {
  const home = userHome(env);
  const docker = join(env.DOCKER_CONFIG || join(home, '.docker'), 'config.json');
  const config = xdgDirectory(env, 'XDG_CONFIG_HOME') ?? join(home, '.config');
  const podman = [...podmanFiles(env), join(config, 'containers/auth.json')];
  const usual = env.DOCKER_CONFIG ? [docker, ...podman] : [...podman, docker];
  // It may name one of the usual, which is told of once.
  return env.REGISTRY_AUTH_FILE ? [...new Set([env.REGISTRY_AUTH_FILE, ...usual])] : usual;
}

/**
 * Where `podman login` and `skopeo login` put it. Without $XDG_RUNTIME_DIR, as below sudo and su, in cron and in CI, an
 * ordinary user's podman takes that of the user's session, or makes one; skopeo and root's podman have a third place.
 */
function podmanFiles(env: NodeJS.ProcessEnv): string[] {
  const file = 'containers/auth.json';
  const runtime = xdgDirectory(env, 'XDG_RUNTIME_DIR');
  if (runtime !== undefined) return [join(runtime, file)];
  const uid = process.getuid?.() ?? 0;
  const skopeos = `/run/containers/${uid}/auth.json`;
  if (uid === 0) return [skopeos];
  const made = join(env.TMPDIR || '/tmp', `podman-run-${uid}`);
  const stat = ignoringSystemErrors(() => lstatSync(made));
  // Anyone can make one in /tmp, and so choose who logs in here.
  const mades = stat?.isDirectory() && isOwn(stat) ? [join(made, file)] : [];
  return [join(`/run/user/${uid}`, file), ...mades, skopeos];
}

function readConfig(path: string, { isNamed = false, isPodmans = false }): JsonObject | undefined {
  let text: string;
  try {
    text = readNamed(path).toString();
  } catch (error) {
    const name = errnoName(error);
    if (name === undefined) throw error;
    // podman's directory may belong to another user: to root, when only root has used podman, or to the user before su.
    // Then it holds no login of this user, and that is no reason for a warning.
    const isOthers = isPodmans && name === 'EACCES' && isOutOfSight(path);
    const isAbsent = !isNamed && (name === 'ENOENT' || name === 'ENOTDIR');
    if (!isAbsent && !isOthers) warn(`${path}: ${errnoText(name)}; going on without`);
    return undefined;
  }
  return parseConfig(text, path);
}

/** Whether a file is in a directory that this user may not search. */
function isOutOfSight(path: string): boolean {
  try {
    statSync(path);
    return false;
  } catch (error) {
    return errnoName(error) === 'EACCES';
  }
}

function parseConfig(text: string, path: string): JsonObject | undefined {
  // docker and podman take an empty file for one without logins.
  if (text.trim() === '') return undefined;
  const config = ignoringFailure(() => asObject(asJson(text, path), path));
  // No more than that: the reason would quote the file, and the file holds passwords.
  if (!config) warn(`${path}: it is not a JSON object; going on without`);
  return config;
}

async function searchConfig(
  config: JsonObject,
  registry: string,
  repository: string,
  path: string,
): Promise<Credentials | undefined> {
  const helpers = optional(config.credHelpers, `${path}: credHelpers`, asObject) ?? {};
  const own = mostSpecific(helpers, registry, repository);
  const store = optional(config.credsStore, `${path}: credsStore`, asString);
  const helper = own === undefined ? store : asString(own, `${path}: credHelpers`);
  const serverKey = isHub(registry) ? hubKey : registry;
  const fromHelper = helper ? await askHelper(helper, serverKey) : undefined;
  if (fromHelper) return fromHelper;
  const auths = optional(config.auths, `${path}: auths`, secret(asObject)) ?? {};
  const entry = mostSpecific(auths, registry, repository);
  const login = optional(entry, `${path}: auths`, secret(asObject));
  return login && readEntry(login, path);
}

/** The value whose key is the longest prefix of the repository: `host/team/app`, then `host/team`, then `host`. */
function mostSpecific(table: JsonObject, registry: string, repository: string): unknown {
  const keys = Object.keys(table).sort((a, b) => authority(a) - authority(b));
  const byName = new Map(keys.map((key) => [normalizeKey(key), table[key]]));
  const parts = [hostKey(registry), ...repository.split('/')];
  for (let length = parts.length; length > 0; length--) {
    const value = byName.get(parts.slice(0, length).join('/'));
    if (value !== undefined) return value;
  }
  return undefined;
}

/**
 * Which of several keys for one name counts: the form that docker and podman write today. Others are from old logins.
 */
function authority(key: string): number {
  if (key === hubKey) return 2;
  return key === normalizeKey(key) ? 1 : 0;
}

/**
 * A key in its present form. docker once wrote URLs (`https://host/v1/`), of which only the host counts; others may
 * have a path.
 */
function normalizeKey(key: string): string {
  const bare = key.replace(/^https?:\/\//, '');
  const [host = '', ...path] = bare.replace(/\/+$/, '').split('/');
  const name = hostKey(host);
  const isApi = path.length === 1 && (path[0] === 'v1' || path[0] === 'v2');
  return isApi || bare !== key ? name : [name, ...path].join('/');
}

/** All names of Docker Hub are one. */
function hostKey(host: string): string {
  const lower = host.toLowerCase();
  return isHub(lower) ? hub : lower;
}

function readEntry(entry: JsonObject, path: string): Credentials | undefined {
  const field = (key: string) => optional(entry[key], `${path}: auths: ${key}`, secret(asString)) || undefined;
  const auth = unpadded(Buffer.from(field('auth') ?? '', 'base64'));
  const colon = auth.indexOf(':');
  const username = colon < 0 ? field('username') : auth.toString('utf8', 0, colon);
  const identity = field('identitytoken');
  if (identity) return { kind: 'refresh', username: username ?? '', token: identity };
  const registryToken = optional(entry.registrytoken, `${path}: auths: registrytoken`, secret(asFieldValue));
  if (registryToken) return { kind: 'bearer', token: registryToken };
  if (colon > 0 && colon < auth.length - 1) return { kind: 'password', basic: auth.toString('base64') };
  const password = field('password');
  if (colon < 0 && username && password) return passwordLogin(username, password);
  // An entry without any of these means that a helper has the login.
  if (field('auth'))
    throw new Failure(Status.data, `${path}: auths: auth`, 'it is not a user name and password in base64');
  return undefined;
}

/** docker pads what it decodes with NULs. */
function unpadded(bytes: Buffer): Buffer {
  return bytes.subarray(0, bytes.findLastIndex((byte) => byte !== 0) + 1);
}
