/** Why the kernel refuses a namespace or a process, as hints that say what to do. */
import { failureOf } from '../../base/failure.js';
import { mountPaths } from '../procfs/mountinfo.js';
import { kernelText } from '../procfs/status.js';
import { SyscallError } from '../syscalls/syscall.js';
import { appArmorLabel, confinedHint, confinedUsernsHint, orAsRoot } from './confinement.js';
import { namespaceLimitHint } from './namespace-limits.js';

/** Settings that forbid user namespaces. */
const appArmorSwitch = '/proc/sys/kernel/apparmor_restrict_unprivileged_userns';

const switches: readonly [path: string, refuses: string, remedy: string][] = [
  ['/proc/sys/kernel/unprivileged_userns_clone', '0', 'sudo sysctl -w kernel.unprivileged_userns_clone=1'],
  ['/proc/sys/user/max_user_namespaces', '0', 'sudo sysctl -w user.max_user_namespaces=15000'],
  [appArmorSwitch, '1', 'sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0'],
];

/**
 * Which setting of the kernel or the distribution forbids user namespaces here, and how to change it; undefined for
 * none.
 */
export function switchHint(read: (path: string) => string | undefined = kernelText): string | undefined {
  const found = switches.find(([path, refuses]) => read(path)?.trim() === refuses && !hasProfile(path, read));
  if (!found) return undefined;
  const [path, value, remedy] = found;
  return `${path.slice('/proc/sys/'.length).replaceAll('/', '.')} is ${value} on this host: ${remedy}, or run this as root`;
}

/**
 * The switch of AppArmor is for programs without a profile. One for node says itself whether it may: Ubuntu's way out.
 */
function hasProfile(path: string, read: typeof kernelText): boolean {
  return path === appArmorSwitch && appArmorLabel(read).name !== undefined;
}

/**
 * The hint when the kernel has refused a user namespace, others together with it, or capabilities in it, with this
 * errno. `flags` are those of clone(2).
 */
export function usernsHint(code: string, flags: number): string {
  if (code === 'ENOSPC') return namespaceLimitHint(flags);
  if (code === 'ENOMEM') return tooLittleMemory;
  const map = kernelText('/proc/self/uid_map');
  if (map === undefined) return `this kernel is built without user namespaces${orAsRoot()}`;
  if (map === '')
    return 'the user namespace around this process maps no ids, and who has none makes no other: unshare -r maps one';
  const known = switchHint();
  if (known) return known;
  if (isChrooted())
    return `this process is in a chroot, where the kernel makes no user namespace: leave it${orAsRoot()}`;
  return confinedUsernsHint() ?? `a policy of this host forbids user namespaces${orAsRoot()}`;
}

/** Errors that tell of a mistake in the arguments. */
const mistakes = ['EINVAL', 'EFAULT', 'EBADF', 'ENOTSOCK'];

/**
 * The error to throw in the place of that of a call which any process may make: a `Failure`, since a filter or a policy
 * may refuse any. What tells of a fault of this program is returned unchanged.
 */
export function refusedCall(error: unknown): unknown {
  if (!(error instanceof SyscallError) || mistakes.includes(error.code)) return error;
  const isRefused = ['EPERM', 'EACCES', 'ENOSYS'].includes(error.code);
  const hint = isRefused
    ? (tracingHint(error) ?? confinedHint([]) ?? 'a filter or a policy of this host refuses what any program may do')
    : undefined;
  return failureOf(error, error.call, { hint });
}

/** Another process's descriptor is for those who may trace it: kernel, Documentation/admin-guide/LSM/Yama.rst. */
function tracingHint({ syscall }: SyscallError): string | undefined {
  if (syscall !== 'pidfd_getfd' || kernelText('/proc/sys/kernel/yama/ptrace_scope')?.trim() !== '3') return undefined;
  return 'kernel.yama.ptrace_scope is 3 on this host, until it is restarted with another value: leave out --seccomp-report';
}

const tooLittleMemory =
  'there is no memory for one more process: see memory.max of the cgroup of this one, and vm.overcommit_memory';

/** For EAGAIN from clone(2), also where Node calls it. */
export const tooManyProcesses =
  'no more processes may be started: see ulimit -u, and pids.max of the cgroup of this process';

/**
 * Whether this process is in a chroot(2) to a directory that is not a mount point. A chroot to a mount point cannot be
 * recognized.
 */
export function isChrooted(): boolean {
  return !mountPaths().includes('/');
}
