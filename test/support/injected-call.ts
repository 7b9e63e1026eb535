/** The names of system calls for `strace -e inject=`. */

/** Of calls that look a path up, arm64 has only those that take a directory with it. */
const ofArm64 = { mkdir: 'mkdirat', readlink: 'readlinkat', rename: 'renameat', rmdir: 'unlinkat', unlink: 'unlinkat' };

/** The call behind a function of Node's on this machine. */
export function callOf(name: keyof typeof ofArm64): string {
  return process.arch === 'arm64' ? ofArm64[name] : name;
}

/**
 * The words in front of a command in which strace does something at a system call: `renameat2:signal=SIGSTOP:when=4`
 * for example, or `openat:delay_enter=800000` in microseconds. With `path` only at calls that concern it.
 */
export function injecting(what: string, path?: string): string[] {
  const calls = what.slice(0, what.indexOf(':'));
  const of = path === undefined ? [] : ['-P', path];
  return ['strace', '-f', '-qq', '-o', '/dev/null', ...of, '-e', `trace=${calls}`, '-e', `inject=${what}`];
}
