/**
 * The certificate authorities that are trusted. Node has a list of its own and does not look at that of the system,
 * where administrators add the authority of their registry or proxy.
 */
import { readFileSync } from 'node:fs';
import { ignoringSystemErrors } from '../../base/failure.js';
import { Status } from '../../base/status.js';
import { RegistryFailure } from './failure.js';

/** Where systems keep their authorities: Debian, Fedora, SUSE, Alpine. The same as in Go's crypto/x509. */
const systemFiles = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem',
  '/etc/ssl/ca-bundle.pem',
  '/etc/ssl/cert.pem',
];

/**
 * All trusted authorities, with `more` (PEM) added. A list that is given to Node replaces its own, so it includes that.
 */
export function authorities(more: string[]): string[] {
  const { rootCertificates } = process.getBuiltinModule('node:tls');
  const { NODE_EXTRA_CA_CERTS: extra } = process.env;
  return [...rootCertificates, ...(extra ? readFirst([extra]) : []), ...more];
}

/** The authorities of the system (PEM), or those in the file that SSL_CERT_FILE names, as with Go and OpenSSL. */
export function systemAuthorities(): string[] {
  const { SSL_CERT_FILE: named } = process.env;
  return readFirst(named ? [named] : systemFiles);
}

/**
 * Checks the text of a file with authorities (PEM); it may be empty. `what` names the file, for messages. Throws
 * `Failure` 65.
 */
export function asAuthorities(text: string, what: string): string {
  // OpenSSL would silently ignore anything else.
  if (text === '' || /^-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----/m.test(text)) return text;
  throw new RegistryFailure(Status.data, what, 'it has no certificate in PEM', {
    hint: 'openssl x509 -inform der makes one of a binary certificate',
  });
}

/** The first file that can be read. Node, too, goes on when it cannot read such a file. */
function readFirst(paths: string[]): string[] {
  for (const path of paths) {
    const text = ignoringSystemErrors(() => readFileSync(path, 'utf8'));
    if (text !== undefined) return [text];
  }
  return [];
}
