/** Which parts of a URL may be shown. */

/** Query parameters of registries and token services that are no secrets. All others may be signatures. */
const openParameters = new Set(['service', 'scope', 'client_id', 'offline_token', 'ns', 'account']);

/** A URL for messages and traces: user, password and the values of unknown query parameters are `***`. */
export function redactUrl(url: URL): string {
  return `${url.protocol}//${url.host}${redactPath(url.pathname + url.search)}`;
}

/** The same for a path with a query. */
export function redactPath(path: string): string {
  const at = path.indexOf('?');
  if (at < 0) return path;
  const parameters = path.slice(at + 1).split('&');
  return `${path.slice(0, at)}?${parameters.map(redactParameter).join('&')}`;
}

function redactParameter(parameter: string): string {
  const at = parameter.indexOf('=');
  const name = at < 0 ? parameter : parameter.slice(0, at);
  // A parameter without `=` may be a signature as a whole.
  if (at < 0) return '***';
  return openParameters.has(name) ? parameter : `${name}=***`;
}

/** The parts of a query that `redactUrl` hides, both as they are and decoded. */
export function hiddenIn({ search }: Pick<URL, 'search'>): string[] {
  const hidden = search
    .slice(1)
    .split('&')
    .filter((parameter) => redactParameter(parameter) !== parameter);
  const values = hidden.map((parameter) => parameter.slice(parameter.indexOf('=') + 1));
  return [...values, ...new URLSearchParams(hidden.join('&')).values()];
}

/** A text that is meant as a URL or host, with `***` for the user and the password in it. */
export function redactLogin(text: string): string {
  return text.replace(/^([a-z]+:\/\/)?[^/]*@/i, '$1***@');
}
