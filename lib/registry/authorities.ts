/**
 * Who vouches for the certificates of registries. Node brings a list of authorities of its own and does not look at that
 * of the system, where whoever runs a network puts the authority of its registry or its proxy.
 */
import { readFileSync } from 'node:fs';
import { errnoName } from '../pipe/failure.js';
import { Status } from '../pipe/status.js';
import { RegistryFailure } from './failures.js';

/** Where systems keep them: Debian, Fedora, SUSE, Alpine. crypto/x509 of Go looks there as well. */
const systemFiles = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem',
  '/etc/ssl/ca-bundle.pem',
  '/etc/ssl/cert.pem',
];

/** All that are trusted when `more` (PEM) are: naming some to Node replaces those that it trusts by itself. */
export function authorities(more: string[]): string[] {
  const { rootCertificates } = process.getBuiltinModule('node:tls');
  const { NODE_EXTRA_CA_CERTS: extra } = process.env;
  return [...rootCertificates, ...(extra ? readFirst([extra]) : []), ...more];
}

/** Those of the system (PEM), or those that SSL_CERT_FILE names, as with Go and OpenSSL. */
export function systemAuthorities(): string[] {
  const { SSL_CERT_FILE: named } = process.env;
  return readFirst(named ? [named] : systemFiles);
}

/** A file that somebody has named for its authorities (PEM), or an empty one. `what` is the file, for messages. */
export function asAuthorities(text: string, what: string): string {
  // OpenSSL would pass over anything else without a word.
  if (text === '' || /^-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----/m.test(text)) return text;
  throw new RegistryFailure(Status.data, what, 'it has no certificate in PEM', {
    hint: 'openssl x509 -inform der makes one of a binary certificate',
  });
}

/** The first file that can be read. */
function readFirst(paths: string[]): string[] {
  for (const path of paths) {
    try {
      return [readFileSync(path, 'utf8')];
    } catch (error) {
      // Node, too, goes on without.
      if (errnoName(error) === undefined) throw error;
    }
  }
  return [];
}
