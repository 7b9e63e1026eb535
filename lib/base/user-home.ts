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
