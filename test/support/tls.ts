/** A certificate authority of the tests, made with the openssl program; lives in a temporary directory. */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface ServerTls {
  /** PEM. */
  cert: string;
  /** PEM. */
  key: string;
}

export interface TestCa {
  /** Path of the CA's certificate, for `--ca-file`. */
  caFile: string;
  /**
   * A certificate for these names and addresses, by default localhost and 127.0.0.1; of so many days: one of 0 days is
   * out of date at once. (openssl 3.5 makes none of -1.) The first name is the common one, by which client certificates
   * are told apart.
   */
  issue(names?: string[], days?: number): ServerTls;
}

/** Makes a CA whose files are in `directory`. Needs openssl: a test with it is skipped by `needs('openssl')`. */
export function makeCa(directory: string): TestCa {
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: directory, stdio: 'pipe' });
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  openssl('req', '-x509', ...newKey, '-keyout', 'ca.key', '-out', 'ca.pem', '-days', '2', '-subj', '/CN=md test CA');
  return {
    caFile: join(directory, 'ca.pem'),
    issue: (names = ['localhost', '127.0.0.1'], days = 2) => {
      const alternative = names.map((name) => (/^[0-9.]+$/.test(name) ? `IP:${name}` : `DNS:${name}`)).join(',');
      writeFileSync(join(directory, 'server.ext'), `subjectAltName=${alternative}\n`);
      openssl('req', ...newKey, '-keyout', 'server.key', '-out', 'server.csr', '-subj', `/CN=${names[0]}`);
      const signer = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-days', String(days)];
      openssl('x509', '-req', '-in', 'server.csr', ...signer, '-out', 'server.pem', '-extfile', 'server.ext');
      return {
        cert: readFileSync(join(directory, 'server.pem'), 'utf8'),
        key: readFileSync(join(directory, 'server.key'), 'utf8'),
      };
    },
  };
}
