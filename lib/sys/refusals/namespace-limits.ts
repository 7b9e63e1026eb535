/** Which limit on namespaces is reached: namespaces(7), "The /proc/sys/user directory". */

import { Program } from '../native-code/program.js';
import { stepOf } from '../native-code/step.js';
import { kernelText } from '../procfs/status.js';
import { exit_group, wait4 } from '../syscalls/calls.js';
import { CLONE } from '../syscalls/constants.js';
import { SyscallError } from '../syscalls/syscall.js';
import { orAsRoot } from './confinement.js';

const unlimited = 2 ** 31 - 1;

const kinds: readonly [flag: number, name: string][] = [
  [CLONE.NEWUSER, 'user'],
  [CLONE.NEWPID, 'pid'],
  [CLONE.NEWNS, 'mnt'],
  [CLONE.NEWUTS, 'uts'],
  [CLONE.NEWIPC, 'ipc'],
  [CLONE.NEWCGROUP, 'cgroup'],
  [CLONE.NEWNET, 'net'],
];

/** The hint when namespaces of these `flags` could not be made, for ENOSPC: the kernel does not say of which kind. */
export function namespaceLimitHint(flags: number): string {
  const reached = kinds.find(([flag]) => (flags & flag) !== 0 && isReached(flag | (flags & CLONE.NEWUSER)));
  if (!reached) return 'too many namespaces existed a moment ago: try again';
  const setting = `user.max_${reached[1]}_namespaces`;
  const most = Number(kernelText(`/proc/sys/${setting.replace('.', '/')}`));
  // Root needs no user namespace.
  const orElse = reached[0] === CLONE.NEWUSER ? orAsRoot() : '';
  if (most === 0) return `${setting} is 0 on this host: sudo sysctl -w ${setting}=15000${orElse}`;
  // What a new user namespace has: then it is a limit of one around it, which cannot be read here.
  if (most === unlimited)
    return `${setting} of a user namespace around this one allows no more, or they are nested too deep: raise it there, or start fewer containers`;
  return `${setting} is ${most} on this host, and as many exist: sudo sysctl -w ${setting}=${2 * most}, or end some containers`;
}

/** Tries to make one of this kind alone, for a process that ends at once. */
function isReached(flags: number): boolean {
  try {
    const pid = new Program([stepOf(exit_group, [0])]).start(flags);
    wait4.try(pid, null, 0, null);
    return false;
  } catch (error) {
    if (error instanceof SyscallError) return error.code === 'ENOSPC';
    throw error;
  }
}
