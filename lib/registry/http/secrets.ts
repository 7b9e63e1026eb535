/** The secrets in a request. A server may quote them in its answer, which messages and traces show. */

/** Shorter secrets may be parts of common words: hiding them there would reveal them. */
const shortest = 6;

/**
 * The secrets in an Authorization header: all that follows the scheme, and the password in it. A server may read that
 * as UTF-8 or as Latin-1, whichever the user has meant (RFC 7617, 2.1).
 */
export function secretsIn(authorization: string | undefined): string[] {
  const [, scheme = '', value = ''] = /^(\S+) +(.+)$/.exec(authorization ?? '') ?? [];
  if (scheme.toLowerCase() !== 'basic') return [value];
  const login = Buffer.from(value, 'base64');
  const password = login.subarray(login.indexOf(':') + 1);
  return [value, password.toString(), password.toString('latin1')];
}

/** `text` with `***` in the place of each secret that is long enough. */
export function redactSecrets(text: string, secrets: string[]): string {
  // The longest first: one that is a part of another would leave the rest of that.
  const telling = secrets.filter(({ length }) => length >= shortest).sort((a, b) => b.length - a.length);
  return telling.reduce((rest, secret) => rest.replaceAll(secret, '***'), text);
}
