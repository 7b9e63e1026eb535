/**
 * Certificates for one registry, in directories that are called after it: `*.crt` are authorities, `NAME.cert` with
 * `NAME.key` is a client certificate.
 * Sources: docker's "Verify repository client with certificates"; containers-certs.d(5) of podman.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { errnoName, errnoText, statusOfErrno } from '../pipe/failure.js';
import { userHome } from '../pipe/home.js';
import { Status } from '../pipe/status.js';
import { trace, warn } from '../pipe/trace.js';
import { asAuthorities } from './authorities.js';
import { RegistryFailure } from './failures.js';
import { apiHost } from './reference.js';

/** What Node's TLS takes. The keys are secrets. */
export interface Certificates {
  ca: string[];
  cert: string[];
  key: string[];
}

const hub = 'docker.io';

/** Where they may be for the host of a URL. As with podman the first directory that is there has all of them. */
export function certificateDirectories(url: URL, env: NodeJS.ProcessEnv = process.env): string[] {
  const home = join(userHome(env), '.config/containers/certs.d');
  return [home, '/etc/containers/certs.d', '/etc/docker/certs.d'].flatMap((parent) =>
    namesOf(url).map((name) => join(parent, name)),
  );
}

export function findCertificates(url: URL): string | undefined {
  return certificateDirectories(url).find(isDirectory);
}

function namesOf({ host, port }: URL): string[] {
  // A registry may redirect to any host, and these would lead out of the directory.
  if (/^\.+$/.test(host)) return [];
  const names = port === '' ? [host, `${host}:443`] : [host];
  return host === apiHost(hub) ? [hub, ...names] : names;
}

function isDirectory(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
  } catch (error) {
    // What only root may look for is root's.
    if (errnoName(error) === undefined) throw error;
    return false;
  }
}

/** Throws `Failure` 65 for half a client certificate and for what is none, 74 or 77 when a file cannot be read. */
export function readCertificates(directory: string): Certificates {
  const names = namesIn(directory);
  const ending = (suffix: string) => names.filter((name) => name.endsWith(suffix));
  for (const key of ending('.key')) {
    const cert = key.replace(/key$/, 'cert');
    if (!names.includes(cert)) throw wrong(join(directory, key), `its certificate ${cert} is missing`);
  }
  const found: Certificates = { ca: [], cert: [], key: [] };
  const kinds = new Set<string | undefined>();
  for (const cert of ending('.cert')) {
    const key = cert.replace(/cert$/, 'key');
    if (!names.includes(key)) {
      throw wrong(join(directory, cert), `its key ${key} is missing`, "an authority's certificate is called *.crt");
    }
    const pair = readPair(directory, cert, key);
    // OpenSSL holds one for each kind of key, and docker tries them in this order.
    if (kinds.has(pair.kind)) continue;
    kinds.add(pair.kind);
    found.cert.push(pair.cert);
    found.key.push(pair.key);
  }
  for (const name of ending('.crt')) found.ca.push(asAuthorities(read(directory, name), join(directory, name)));
  trace(`* certificates from ${directory}: ${[...ending('.crt'), ...ending('.cert')].join(', ')}`);
  return found;
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory).sort();
  } catch (error) {
    const name = errnoName(error);
    if (name === undefined) throw error;
    warn(`${directory}: ${errnoText(name)}; going on without`);
    return [];
  }
}

function readPair(directory: string, certName: string, keyName: string) {
  const [cert, key] = [read(directory, certName), read(directory, keyName)];
  // Loaded with TLS in any case.
  const { createPrivateKey, X509Certificate } = process.getBuiltinModule('node:crypto');
  const certificate = parsed(join(directory, certName), 'certificate', () => new X509Certificate(cert));
  if (/^-----BEGIN ENCRYPTED|^Proc-Type: .*ENCRYPTED/m.test(key)) {
    const hint = 'openssl pkey -in FILE makes one that is not';
    throw wrong(join(directory, keyName), 'it is encrypted, and there is nobody to ask', hint);
  }
  const privateKey = parsed(join(directory, keyName), 'private key', () => createPrivateKey(key));
  if (!certificate.checkPrivateKey(privateKey)) throw wrong(join(directory, certName), `${keyName} is not its key`);
  return { cert, key, kind: privateKey.asymmetricKeyType };
}

/** What OpenSSL says when it fails is of no use to a reader. */
function parsed<T>(path: string, what: string, parse: () => T): T {
  try {
    return parse();
  } catch {
    throw wrong(path, `it is no ${what} in PEM`);
  }
}

function read(directory: string, file: string): string {
  const path = join(directory, file);
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    const name = errnoName(error);
    if (name === undefined) throw error;
    throw new RegistryFailure(statusOfErrno(name), path, errnoText(name), { cause: error });
  }
}

/** Of the registry, so that a mirror with which this happens is passed over. */
function wrong(path: string, why: string, hint?: string): RegistryFailure {
  return new RegistryFailure(Status.data, path, why, hint === undefined ? {} : { hint });
}
