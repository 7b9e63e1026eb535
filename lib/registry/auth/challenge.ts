/**
 * The WWW-Authenticate header. Sources: RFC 9110, 11.6.1 (a list of challenges, each a list of parameters, both
 * separated by commas) and 5.6.4 (quoted strings).
 */
export interface Challenge {
  /** Lower case: `bearer`, `basic`. */
  scheme: string;
  /** Names in lower case. */
  parameters: ReadonlyMap<string, string>;
}

const token = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
const quotedForm = new RegExp(`(${token})[ \\t]*=[ \\t]*"((?:[^"\\\\]|\\\\.)*)"`, 'y');
// Some registries send a URL without quotes, which RFC 9110 does not allow: it is read up to the next comma or space.
const plainForm = new RegExp(`(${token})[ \\t]*=[ \\t]*([^", \\t]*)`, 'y');
const schemeForm = new RegExp(`(${token})(?=[ \\t,]|$)`, 'y');
const separator = /[ \t,]+/y;
const junk = new RegExp(`${token}|.`, 'sy');

/**
 * The challenge without the repositories that it names. Where none was asked for, the registry makes one up: ghcr.io has
 * `repository:user/image:pull` there, and a token service need not grant that.
 */
export function ofNoRepository({ scheme, parameters }: Challenge): Challenge {
  const isRepository = parameters.get('scope')?.startsWith('repository') ?? false;
  return { scheme, parameters: new Map([...parameters].filter(([name]) => name !== 'scope' || !isRepository)) };
}

/** The challenges in one or several headers, in order. What is not a challenge is skipped. */
export function parseChallenges(headers: string[]): Challenge[] {
  return headers.flatMap(parseOne);
}

function parseOne(header: string): Challenge[] {
  const found: { scheme: string; parameters: Map<string, string> }[] = [];
  let at = 0;
  const match = (form: RegExp): RegExpExecArray | null => {
    form.lastIndex = at;
    const hit = form.exec(header);
    if (hit) at = form.lastIndex;
    return hit;
  };
  while (at < header.length) {
    if (match(separator)) continue;
    const quoted = match(quotedForm);
    const parameter = quoted ?? match(plainForm);
    if (parameter) {
      const name = parameter[1]!.toLowerCase();
      const value = quoted ? quoted[2]!.replace(/\\(.)/g, '$1') : parameter[2]!;
      const parameters = found.at(-1)?.parameters;
      // The first one counts. A second realm would only serve to deceive.
      if (parameters && !parameters.has(name)) parameters.set(name, value);
      continue;
    }
    const scheme = match(schemeForm);
    if (scheme) found.push({ scheme: scheme[1]!.toLowerCase(), parameters: new Map() });
    else match(junk);
  }
  return found;
}
