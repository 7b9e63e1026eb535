/**
 * Credentials as docker and podman keep them, so that whoever has logged in with one of those is logged in here.
 * Sources: docker's config.json ("auths", "credsStore", "credHelpers") and DOCKER_AUTH_CONFIG, the docker-credential-helpers protocol,
 * containers-auth.json(5).
 */
import type { ChildProcess, ExecFileException } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { asFieldValue, asObject, asString, type JsonObject, optional, secret } from '../pipe/check.js';
import { errnoName, errnoText, Failure } from '../pipe/failure.js';
import { userHome } from '../pipe/home.js';
import { Status } from '../pipe/status.js';
import { warn } from '../pipe/trace.js';
import type { Credentials } from './auth.js';

/** Docker Hub's key in docker's config, and what its credential helpers know it by. */
const hubKey = 'https://index.docker.io/v1/';
const hubHosts = new Set(['docker.io', 'index.docker.io', 'registry-1.docker.io']);
const helperTimeout = 60_000;
const helperOutputLimit = 1024 * 1024;
/** A helper's output is there when it has ended, but a child of it may hold its stdout open. */
const helperGrace = 100;

/**
 * The credentials for a repository, or undefined when there are none. A file that cannot be read and a helper that fails
 * are warned of and passed over: most pulls need no login.
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
      if (found) return found;
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      warn(`${error.message}; going on without`);
    }
  }
  return undefined;
}

/** In the order in which they are asked. The first is a variable with the content of a config.json, as CI services set it. */
function* credentialConfigs(env: NodeJS.ProcessEnv): Generator<[name: string, config: JsonObject | undefined]> {
  const name = 'DOCKER_AUTH_CONFIG';
  const text = env[name];
  if (text) yield [name, parseConfig(text, name)];
  for (const path of credentialFiles(env)) yield [path, readConfig(path, path === podmanFile(env))];
}

/** In the order in which they are asked: what the environment names comes first. */
export function credentialFiles(env: NodeJS.ProcessEnv): string[] {
  const home = userHome(env);
  return [
    env.REGISTRY_AUTH_FILE,
    join(env.DOCKER_CONFIG || join(home, '.docker'), 'config.json'),
    podmanFile(env),
    join(env.XDG_CONFIG_HOME || join(home, '.config'), 'containers/auth.json'),
  ].filter((path): path is string => Boolean(path));
}

function podmanFile(env: NodeJS.ProcessEnv): string {
  if (env.XDG_RUNTIME_DIR) return join(env.XDG_RUNTIME_DIR, 'containers/auth.json');
  // Where podman keeps logins when nobody has set that: below sudo, in cron, in CI.
  return `/run/containers/${process.getuid?.() ?? 0}/auth.json`;
}

function readConfig(path: string, isPodmans: boolean): JsonObject | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    const name = errnoName(error);
    if (name === undefined) throw error;
    // Where only root has used podman, nobody else may look into its directory, nor into that of a user whose environment
    // came along with su; and there is nothing of theirs in it.
    const isOthers = isPodmans && name === 'EACCES' && isOutOfSight(path);
    if (name !== 'ENOENT' && name !== 'ENOTDIR' && !isOthers) warn(`${path}: ${errnoText(name)}; going on without`);
    return undefined;
  }
  return parseConfig(text, path);
}

/** Whether it is in a directory that may not be looked into. */
function isOutOfSight(path: string): boolean {
  try {
    statSync(path);
    return false;
  } catch (error) {
    return errnoName(error) === 'EACCES';
  }
}

function parseConfig(text: string, path: string): JsonObject | undefined {
  try {
    // docker and podman take an empty file for one without logins.
    return text.trim() === '' ? undefined : asObject(JSON.parse(text), path);
  } catch (error) {
    if (!(error instanceof SyntaxError) && !(error instanceof Failure)) throw error;
    // The text of a SyntaxError quotes the file, and the file holds passwords.
    warn(`${path}: it is no JSON object; going on without`);
    return undefined;
  }
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
  const serverKey = hubHosts.has(registry) ? hubKey : registry;
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
  const parts = [hubHosts.has(registry) ? 'docker.io' : registry.toLowerCase(), ...repository.split('/')];
  for (let length = parts.length; length > 0; length--) {
    const value = byName.get(parts.slice(0, length).join('/'));
    if (value !== undefined) return value;
  }
  return undefined;
}

/** Of several keys for one name that counts which docker and podman write today: another one is of a login long ago. */
function authority(key: string): number {
  if (key === hubKey) return 2;
  return key === normalizeKey(key) ? 1 : 0;
}

/** A URL stands for its host, as docker has it, which once wrote `https://host/v1/`; what has no scheme may have a path. */
function normalizeKey(key: string): string {
  const bare = key.replace(/^https?:\/\//, '');
  const [host = '', ...path] = bare.replace(/\/+$/, '').split('/');
  const name = hubHosts.has(host.toLowerCase()) ? 'docker.io' : host.toLowerCase();
  const isApi = path.length === 1 && (path[0] === 'v1' || path[0] === 'v2');
  return isApi || bare !== key ? name : [name, ...path].join('/');
}

function readEntry(entry: JsonObject, path: string): Credentials | undefined {
  const field = (key: string) => optional(entry[key], `${path}: auths: ${key}`, secret(asString)) || undefined;
  // docker pads the decoded text with NULs.
  const decoded = Buffer.from(field('auth') ?? '', 'base64')
    .toString()
    .replace(/\0+$/, '');
  const colon = decoded.indexOf(':');
  const username = colon < 0 ? field('username') : decoded.slice(0, colon);
  const password = colon < 0 ? field('password') : decoded.slice(colon + 1);
  const identity = field('identitytoken');
  if (identity) return { kind: 'refresh', username: username ?? '', token: identity };
  const registryToken = optional(entry.registrytoken, `${path}: auths: registrytoken`, secret(asFieldValue));
  if (registryToken) return { kind: 'bearer', token: registryToken };
  if (username && password) return { kind: 'password', username, password };
  // An entry that says nothing stands for a login that a helper has.
  if (field('auth'))
    throw new Failure(Status.data, `${path}: auths: auth`, 'it is no user name and password in base64');
  return undefined;
}

/** `docker-credential-NAME get`: the server on stdin, JSON on stdout. "Not found" is an answer, other failures are not. */
async function askHelper(name: string, server: string): Promise<Credentials | undefined> {
  const program = `docker-credential-${name}`;
  if (!/^[A-Za-z0-9._-]+$/.test(name)) {
    warn(`credential helper ${JSON.stringify(name)}: that is no name of a program; going on without`);
    return undefined;
  }
  const { error, stdout } = await runHelper(program, server);
  if (error) {
    if (/credentials not found/i.test(stdout)) return undefined;
    warn(`credential helper ${program}: ${whyHelperFailed(error, stdout)}; going on without`);
    return undefined;
  }
  try {
    const it = asObject(JSON.parse(stdout), program);
    const username = asString(it.Username, 'Username');
    const password = asString(it.Secret, 'Secret');
    // Some say "not found" with an empty answer.
    if (password === '') return undefined;
    return username === '<token>'
      ? { kind: 'refresh', username: '', token: password }
      : { kind: 'password', username, password };
  } catch (problem) {
    if (!(problem instanceof SyntaxError) && !(problem instanceof Failure)) throw problem;
    warn(`credential helper ${program}: its answer makes no sense; going on without`);
    return undefined;
  }
}

/** By the protocol a helper says on stdout what is wrong. An object there is an answer, and may hold the secret. */
function whyHelperFailed(error: ExecFileException, stdout: string): string {
  if (error.code === 'ENOENT') return 'it is not installed';
  const name = errnoName(error);
  if (name) return errnoText(name);
  if (error.killed) return `it gave no answer in ${helperTimeout / 1000} s`;
  const [line = ''] = stdout.trim().split('\n');
  return line === '' || stdout.includes('{') ? 'it failed' : `it failed: ${line.slice(0, 200)}`;
}

function runHelper(program: string, server: string): Promise<{ error: ExecFileException | null; stdout: string }> {
  // 7 ms of a start, and few have a helper.
  const { execFile } = process.getBuiltinModule('node:child_process');
  return new Promise((resolve) => {
    const child = execFile(
      program,
      ['get'],
      // One that waits for somebody may well ignore SIGTERM.
      { timeout: helperTimeout, killSignal: 'SIGKILL', maxBuffer: helperOutputLimit },
      (error, stdout) => resolve({ error, stdout }),
    );
    child.once('exit', () => {
      // After the timers of a turn come the streams: what is there is read before the end.
      setTimeout(() => setImmediate(() => closeOutput(child)), helperGrace).unref();
    });
    // A helper that cannot be started has no stdin to take this; its own error says so.
    child.stdin?.on('error', () => {});
    // docker ends it without a line break, and there are helpers that take all of it for the name.
    child.stdin?.end(server);
  });
}

/** The callback of execFile comes when both are closed. */
function closeOutput({ stdout, stderr }: ChildProcess): void {
  stdout?.destroy();
  stderr?.destroy();
}
