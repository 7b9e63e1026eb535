/** What a request says of who the user is. A server may quote it in its answer, which is shown in messages and traces. */

/** Shorter ones are too common as parts of words: what hides them would tell them. */
const shortest = 6;

/** The secrets in an Authorization header: all that follows the scheme, and the password in it. */
export function secretsIn(authorization: string | undefined): string[] {
  const [, scheme = '', value = ''] = /^(\S+) +(.+)$/.exec(authorization ?? '') ?? [];
  const login = scheme.toLowerCase() === 'basic' ? Buffer.from(value, 'base64').toString() : '';
  return [value, login.slice(login.indexOf(':') + 1)];
}

/** `text` with `***` in the place of each secret that is no common word. */
export function withoutSecrets(text: string, secrets: string[]): string {
  const telling = secrets.filter(({ length }) => length >= shortest);
  return telling.reduce((rest, secret) => rest.replaceAll(secret, '***'), text);
}
