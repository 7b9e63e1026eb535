import { userInfo } from 'node:os';

/** The caller's home directory; `/` for a user id that the system knows nothing of, which is where login(1) puts such a user. */
export function userHome(env: NodeJS.ProcessEnv): string {
  if (env.HOME) return env.HOME;
  try {
    return userInfo().homedir;
  } catch {
    // No entry in /etc/passwd, as in a container that was given any number for its user.
    return '/';
  }
}
