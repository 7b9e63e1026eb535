/** Where the store is. */
import { homedir } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';

/** $MD_HOME, by default ${XDG_DATA_HOME:-~/.local/share}/md. */
export function storeHome(env: NodeJS.ProcessEnv = process.env): string {
  if (env.MD_HOME) return resolve(env.MD_HOME);
  // The XDG base directory specification has relative paths ignored.
  const data = env.XDG_DATA_HOME && isAbsolute(env.XDG_DATA_HOME) ? env.XDG_DATA_HOME : join(homedir(), '.local/share');
  return join(data, 'md');
}
