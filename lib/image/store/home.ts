/** Where the store is. */
import { lstatSync } from 'node:fs';
import { isAbsolute, join, resolve } from 'node:path';
import { errnoName, failureOf } from '../../base/failure.js';
import { userHome } from '../../base/user-home.js';

/** $MD_HOME, by default ${XDG_DATA_HOME:-~/.local/share}/md. */
export function storeHome(env: NodeJS.ProcessEnv = process.env): string {
  if (env.MD_HOME) return resolve(env.MD_HOME);
  // The XDG base directory specification says that relative paths are ignored.
  const data =
    env.XDG_DATA_HOME && isAbsolute(env.XDG_DATA_HOME) ? env.XDG_DATA_HOME : join(userHome(env), '.local/share');
  return join(data, 'md');
}

/** The same for `--help`. */
export const storeMeaning = '$MD_HOME is $XDG_DATA_HOME/md or ~/.local/share/md unless it is set.';

/** A hint for somebody who may not write there. */
export const storeHint = 'MD_HOME names another place for the store';

/** Whether there is a store. Throws `Failure` where nobody can tell: the way to it may be closed. */
export function isThere(home: string): boolean {
  try {
    lstatSync(home);
    return true;
  } catch (error) {
    if (errnoName(error) === 'ENOENT') return false;
    throw failureOf(error, home, { hint: storeHint });
  }
}
