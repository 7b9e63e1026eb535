/** The variables of the command: those of the image, of files and of flags. */
import { Failure } from '../../base/failure.js';
import type { RunConfig } from '../../base/oci.js';
import { Status } from '../../base/status.js';
import { exactValue } from '../../pipe/utf8.js';
import type { Caller } from './caller.js';
import { usage } from './failures.js';
import { readText } from './files.js';
import type { IsolateFlags } from './flags.js';

const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/**
 * In docker's order: PATH, HOSTNAME, the image's variables, files, flags. A later value wins and keeps the first place.
 */
export function environment(image: RunConfig, flags: IsolateFlags, hostname: string, caller: Caller): string[] {
  const variables = new Map<string, string>([
    ['PATH', defaultPath],
    ['HOSTNAME', hostname],
  ]);
  const put = (line: string) => {
    const at = line.indexOf('=');
    if (at > 0) variables.set(line.slice(0, at), line.slice(at + 1));
  };
  for (const line of image.Env ?? []) put(line);
  const ofFiles = flags['env-file'].flatMap((path) => envFile(path, readText(path, '--env-file')));
  for (const line of [...ofFiles, ...flags.env.map((text) => named(text, '--env'))]) {
    // An object knows names that nobody has set, such as toString.
    const value = Object.hasOwn(caller.env, line) ? caller.env[line] : undefined;
    if (line.includes('=')) put(line);
    else if (value !== undefined) variables.set(line, exactValue(line, value, `--env ${line}`));
    else variables.delete(line);
  }
  return [...variables].map(([name, value]) => `${name}=${value}`);
}

function named(line: string, flag: string): string {
  if (line !== '' && !line.startsWith('=')) return line;
  throw usage(flag, `${JSON.stringify(line)} has no name`);
}

/** docker's format: a variable a line, `#` begins a comment, nothing is unquoted. */
function envFile(path: string, text: string): string[] {
  const flag = `--env-file ${path}`;
  if (text.includes('\0'))
    throw new Failure(Status.data, flag, 'it has bytes that are 0, and no variable can have one', {
      hint: "a variable is a line: tr '\\0' '\\n' makes that of /proc/PID/environ",
    });
  const lines = text.split('\n').map((line) => line.replace(/\r$/, '').trimStart());
  return lines
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => {
      const name = line.split('=', 1)[0]!;
      if (/\s/.test(name)) throw usage(flag, `the name ${JSON.stringify(name)} has white space in it`);
      return named(line, flag);
    });
}
