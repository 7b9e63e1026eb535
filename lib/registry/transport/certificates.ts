/**
 * Certificates for one registry, in directories that are called after it: `*.crt` are authorities, `NAME.cert` with
 * `NAME.key` is a client certificate.
 * Sources: docker's "Verify repository client with certificates"; containers-certs.d(5) of podman.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { errnoName, errnoText, ignoringSystemErrors, statusOfErrno } from '../../base/failure.js';
import { Status } from '../../base/status.js';
import { trace, warn } from '../../base/trace.js';
import { userHome } from '../../base/user-home.js';
import { apiHost, hub } from '../names/hosts.js';
import { asAuthorities } from './authorities.js';
import { RegistryFailure } from './failure.js';

/** What Node's TLS takes. The keys are secrets. */
interface Certificates {
  ca: string[];
  cert: string[];
  key: string[];
}

/** The directories for the host of a URL. As with podman, only the first one that exists is used. */
export function certificateDirectories(url: URL, env: NodeJS.ProcessEnv = process.env): string[] {
  const home = join(userHome(env), '.config/containers/certs.d');
  return [home, '/etc/containers/certs.d', '/etc/docker/certs.d'].flatMap((parent) =>
    namesOf(url).map((name) => join(parent, name)),
  );
}

/** The directory with certificates for the host of a URL; undefined when there is none. */
export function findCertificates(url: URL): string | undefined {
  return certificateDirectories(url).find(isDirectory);
}

function namesOf({ host, port }: URL): string[] {
  // A registry may redirect to any host, and a name of dots would lead out of the directory.
  if (/^\.+$/.test(host)) return [];
  const names = port === '' ? [host, `${host}:443`] : [host];
  return host === apiHost(hub) ? [hub, ...names] : names;
}

function isDirectory(path: string): boolean {
  // A directory that this user may not look into is not for this user.
  return ignoringSystemErrors(() => statSync(path))?.isDirectory() ?? false;
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
    // OpenSSL uses one certificate for each kind of key. The first one counts, in docker's order.
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
  // It costs nothing to load, since TLS needs it in any case.
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

/** Parses a file. What OpenSSL says when that fails would not help anybody, so it is left out. */
function parsed<T>(path: string, what: string, parse: () => T): T {
  try {
    return parse();
  } catch {
    throw wrong(path, `it is not a ${what} in PEM`);
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

/** A failure of the registry, so that a mirror with wrong certificates is skipped. */
function wrong(path: string, why: string, hint?: string): RegistryFailure {
  return new RegistryFailure(Status.data, path, why, { hint });
}
