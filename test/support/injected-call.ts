/** The names of system calls for `strace -e inject=`. */

/** Of calls that look a path up, arm64 has only those that take a directory with it. */
const ofArm64 = { readlink: 'readlinkat', rename: 'renameat', rmdir: 'unlinkat' };

/** The call behind a function of Node's on this machine. */
export function callOf(name: keyof typeof ofArm64): string {
  return process.arch === 'arm64' ? ofArm64[name] : name;
}
