/**
 * How the network is used: flags of every command that talks to a registry. `md-token` writes them into the document
 * (field `network`), so that the later stages know them, too. cmd/md-pull repeats their names.
 */
import { resolve } from 'node:path';
import { arrayOf, asObject, asSize, asString, type Check, type JsonObject, optional, wrong } from '../base/check.js';
import { Failure } from '../base/failure.js';
import { Status } from '../base/status.js';
import type { Flags, FlagValues } from '../pipe/flags.js';
import { defaultHttpOptions } from './http/options.js';
import { defaultRetryPolicy } from './http/retry.js';
import { apiHost } from './names/hosts.js';
import { redactLogin } from './names/redaction.js';
import { isRepository } from './names/reference.js';

/** The field of the document. It has only what was asked for. */
export interface Network {
  /** Registries for plain http, without TLS. */
  plainHttp?: string[];
  /** Registries whose certificate is not checked. */
  insecure?: string[];
  /** Hosts in private networks to which a public registry may point. */
  allowPrivate?: string[];
  /** Absolute path of certificates (PEM) that are trusted beside the system's. */
  caFile?: string;
  /** Hosts or URLs to ask before the registry itself. A path in one is put before the repository. */
  mirrors?: string[];
  /** Seconds, 0 for no limit, as with curl. */
  connectTimeout?: number;
  headerTimeout?: number;
  idleTimeout?: number;
  /** Bytes a second, 0 for no limit. */
  minSpeed?: number;
  retries?: number;
}

const { timeouts, minSpeed } = defaultHttpOptions;

export const networkFlags = {
  'plain-http': { kind: 'list', value: 'HOST', help: 'use http without TLS for this registry (loopback: always)' },
  insecure: { kind: 'list', value: 'HOST', help: 'use TLS for this registry and do not check its certificate' },
  'allow-private': {
    kind: 'list',
    value: 'HOST',
    help: 'let a public registry redirect to this host in a private network',
  },
  'ca-file': {
    kind: 'string',
    value: 'FILE',
    help: 'trust these certificates (PEM) as well; loopback then uses TLS',
  },
  mirror: {
    kind: 'list',
    value: 'HOST[/PATH]',
    help: 'ask this mirror first, with PATH before the repository; digests are still checked',
  },
  'connect-timeout': {
    kind: 'count',
    value: 'SECONDS',
    help: `for a connection to be made (default ${timeouts.connect}, 0: no limit)`,
  },
  'header-timeout': {
    kind: 'count',
    value: 'SECONDS',
    help: `for an answer to begin (default ${timeouts.headers}, 0: no limit)`,
  },
  'idle-timeout': {
    kind: 'count',
    value: 'SECONDS',
    help: `without a byte during a transfer (default ${timeouts.idle}, 0: no limit)`,
  },
  'min-speed': {
    kind: 'count',
    value: 'BYTES',
    help: `give up a transfer that is slower than this in a second, on average over the idle timeout (default ${minSpeed}, 0: no limit)`,
  },
  retries: {
    kind: 'count',
    value: 'N',
    help: `retries in a row without progress (default ${defaultRetryPolicy.retries}, 0: none)`,
  },
} as const satisfies Flags;

/**
 * The flags, over what the document has from an earlier stage. Throws `Failure` 64 for something that is not a host.
 */
export function networkOf(flags: FlagValues<typeof networkFlags>, document: JsonObject = {}): Network {
  const told = asNetwork(document.network);
  const asked = onlyDefined<Network>({
    plainHttp: given('--plain-http', flags['plain-http'], asHost),
    insecure: given('--insecure', flags.insecure, asHost),
    allowPrivate: given('--allow-private', flags['allow-private'], asHost),
    mirrors: given('--mirror', flags.mirror, asMirror),
    caFile: askedFile(flags['ca-file']),
    connectTimeout: flags['connect-timeout'],
    headerTimeout: flags['header-timeout'],
    idleTimeout: flags['idle-timeout'],
    minSpeed: flags['min-speed'],
    retries: flags.retries,
  });
  return { ...told, ...asked };
}

/** The field `network` of a document; an absent one asks for nothing. */
function asNetwork(value: unknown): Network {
  const it = optional(value, 'network', asObject) ?? {};
  const field = <T>(key: keyof Network, check: Check<T>) => optional(it[key], `network.${key}`, check);
  return onlyDefined<Network>({
    plainHttp: field('plainHttp', arrayOf(asHost)),
    insecure: field('insecure', arrayOf(asHost)),
    allowPrivate: field('allowPrivate', arrayOf(asHost)),
    mirrors: field('mirrors', arrayOf(asMirror)),
    caFile: field('caFile', asString),
    connectTimeout: field('connectTimeout', asSize),
    headerTimeout: field('headerTimeout', asSize),
    idleTimeout: field('idleTimeout', asSize),
    minSpeed: field('minSpeed', asSize),
    retries: field('retries', asSize),
  });
}

/** Without this, what a flag leaves open would hide what the document has. */
function onlyDefined<T extends object>(fields: { [K in keyof T]-?: T[K] | undefined }): Partial<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Partial<T>;
}

/**
 * The values of a flag, checked like a field of a document; undefined when it is not given. A wrong one is wrong usage
 * (64).
 */
function given(flag: string, values: string[], check: Check<string>): string[] | undefined {
  if (values.length === 0) return undefined;
  try {
    return values.map((value) => check(value, flag));
  } catch (error) {
    throw error instanceof Failure ? new Failure(Status.usage, error.what, error.why) : error;
  }
}

/**
 * The absolute path for --ca-file. An empty one, perhaps of a variable that is not set, would be the current directory.
 */
function askedFile(path: string | undefined): string | undefined {
  if (path === '') throw new Failure(Status.usage, '--ca-file', 'its value is empty');
  return path === undefined ? undefined : resolve(path);
}

function asHost(value: unknown, name: string): string {
  const text = asString(value, name);
  // docker.io is not the host that serves Docker Hub.
  if (isOrigin(`https://${text}`) && /^[^\s/?#*]+$/.test(text)) return apiHost(text.toLowerCase());
  throw wrong(name, 'HOST or HOST:PORT', redactLogin(text));
}

function asMirror(value: unknown, name: string): string {
  const text = asString(value, name);
  const { scheme, host, path } = splitMirror(text);
  const isMirror =
    isOrigin(`${scheme || 'https://'}${host}`) && !/[\s?#]/.test(text) && (path === '' || isRepository(path));
  if (!isMirror) throw wrong(name, 'HOST[:PORT][/PATH] or http://HOST', redactLogin(text));
  return text.replace(/\/$/, '');
}

/** A mirror's scheme, its host, and the path that is put before each repository. */
export function splitMirror(mirror: string): { scheme: string; host: string; path: string } {
  const [, scheme = '', host = '', path = ''] = /^(https?:\/\/)?([^/]*)\/?(.*?)\/?$/s.exec(mirror) ?? [];
  return { scheme, host, path };
}

/** Whether a URL has a host, and no user, password or path. */
function isOrigin(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { pathname, username, password } = new URL(text);
  return pathname === '/' && username === '' && password === '';
}
