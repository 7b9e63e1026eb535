/**
 * How the network is to be used: flags of every command that asks a registry. `md-token` writes them into the document
 * (field `network`), so that the stages below need not be told again.
 */
import { resolve } from 'node:path';
import { arrayOf, asObject, asSize, asString, type JsonObject, optional } from '../pipe/check.js';
import { Failure } from '../pipe/failure.js';
import type { Flags, FlagValues } from '../pipe/flags.js';
import { Status } from '../pipe/status.js';

/** As it stands in the document: only what was asked for. */
export interface Network {
  /** Registries that are spoken to without TLS. */
  plainHttp?: string[];
  /** Registries whose certificate is not checked. */
  insecure?: string[];
  /** Absolute path of certificates (PEM) that are trusted beside the system's. */
  caFile?: string;
  /** Hosts, or URLs without a path, that are asked before the registry itself. */
  mirrors?: string[];
  /** Seconds. */
  connectTimeout?: number;
  headerTimeout?: number;
  idleTimeout?: number;
  retries?: number;
}

export const networkFlags = {
  'plain-http': { kind: 'list', value: 'HOST', help: 'speak http without TLS to this registry (loopback: always)' },
  insecure: { kind: 'list', value: 'HOST', help: 'speak TLS to this registry and do not check its certificate' },
  'ca-file': {
    kind: 'string',
    value: 'FILE',
    help: 'trust these certificates (PEM) as well; loopback then speaks TLS',
  },
  mirror: { kind: 'list', value: 'HOST', help: 'ask this mirror first; digests are checked as ever' },
  'connect-timeout': { kind: 'count', value: 'SECONDS', help: 'until a connection is up (default 15)' },
  'header-timeout': { kind: 'count', value: 'SECONDS', help: 'until an answer begins (default 60)' },
  'idle-timeout': { kind: 'count', value: 'SECONDS', help: 'without a byte in mid-transfer (default 60)' },
  retries: { kind: 'count', value: 'N', help: 'how often to try again without any progress (default 4)' },
} as const satisfies Flags;

/** What the flags say, over what an earlier stage was told. Throws `Failure` 64 for a host that is none. */
export function networkOf(flags: FlagValues<typeof networkFlags>, document: JsonObject = {}): Network {
  const told = asNetwork(document.network, 'network');
  const given: Network = {
    ...list('plainHttp', flags['plain-http'].map(asHost('--plain-http'))),
    ...list('insecure', flags.insecure.map(asHost('--insecure'))),
    ...list('mirrors', flags.mirror.map(asMirror)),
    ...single('caFile', flags['ca-file'] === undefined ? undefined : resolve(flags['ca-file'])),
    ...single('connectTimeout', flags['connect-timeout']),
    ...single('headerTimeout', flags['header-timeout']),
    ...single('idleTimeout', flags['idle-timeout']),
    ...single('retries', flags.retries),
  };
  return { ...told, ...given };
}

function list<K extends keyof Network>(key: K, values: string[]): Network {
  return values.length > 0 ? { [key]: values } : {};
}

function single<K extends keyof Network>(key: K, value: Network[K]): Network {
  return value === undefined ? {} : { [key]: value };
}

/** The field `network` of a document; an absent one asks for nothing. */
export function asNetwork(value: unknown, name: string): Network {
  const it = optional(value, name, asObject) ?? {};
  const network: Network = {};
  for (const key of ['plainHttp', 'insecure', 'mirrors'] as const) {
    const values = optional(it[key], `${name}.${key}`, arrayOf(asString));
    if (values) network[key] = values;
  }
  for (const key of ['connectTimeout', 'headerTimeout', 'idleTimeout', 'retries'] as const) {
    const number = optional(it[key], `${name}.${key}`, asSize);
    if (number !== undefined) network[key] = number;
  }
  const caFile = optional(it.caFile, `${name}.caFile`, asString);
  return caFile === undefined ? network : { ...network, caFile };
}

function asHost(flag: string): (text: string) => string {
  return (text) => {
    const url = parse(`https://${text}`);
    if (url?.pathname !== '/' || text === '' || url.username !== '' || text.endsWith('/')) {
      throw new Failure(Status.usage, flag, `${JSON.stringify(text)} is no host`, { hint: 'HOST or HOST:PORT' });
    }
    return text.toLowerCase();
  };
}

function asMirror(text: string): string {
  const url = parse(/^https?:\/\//.test(text) ? text : `https://${text}`);
  if (url?.pathname !== '/' || url.search !== '' || url.username !== '') {
    throw new Failure(Status.usage, '--mirror', `${JSON.stringify(text)} is no host`, {
      hint: 'HOST, HOST:PORT or http://HOST',
    });
  }
  return text.replace(/\/$/, '');
}

function parse(text: string): URL | undefined {
  return URL.canParse(text) ? new URL(text) : undefined;
}
