/** Where the caller's own files are, as the environment says it. */

import { isAbsolute } from 'node:path';

/** The caller's home directory. For a user id without an entry in /etc/passwd it is `/`, as for login(1). */
export function userHome(env: NodeJS.ProcessEnv): string {
  if (env.HOME) return env.HOME;
  try {
    return process.getBuiltinModule('node:os').userInfo().homedir;
  } catch {
    // No such entry, as in a container with an arbitrary number as its user.
    return '/';
  }
}

export type XdgVariable = 'XDG_CONFIG_HOME' | 'XDG_DATA_HOME' | 'XDG_RUNTIME_DIR' | 'XDG_STATE_HOME';

/**
 * What a variable of the XDG base directory specification says, which also says that a relative path is ignored: the
 * current directory may be a checkout or a volume, where others choose what lies there.
 */
export function xdgDirectory(env: NodeJS.ProcessEnv, name: XdgVariable): string | undefined {
  const path = env[name] ?? '';
  return isAbsolute(path) ? path : undefined;
}
