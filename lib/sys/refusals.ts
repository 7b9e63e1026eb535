/** Why the kernel refuses a namespace or a process, as hints that say what to do. */
import { appArmorLabel, confinedHint, orAsRoot } from './confinement.js';
import { mountPaths } from './mountinfo.js';
import { kernelText } from './proc-status.js';

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
export function refusal(read: (path: string) => string | undefined = kernelText): string | undefined {
  const found = switches.find(([path, refuses]) => read(path)?.trim() === refuses && !hasProfile(path, read));
  if (!found) return undefined;
  const [path, value, remedy] = found;
  return `${path.slice('/proc/sys/'.length).replaceAll('/', '.')} is ${value} on this host: ${remedy}, or run this as root`;
}

/** The switch of AppArmor is for programs without a profile. One for node says itself whether it may: Ubuntu's way out. */
function hasProfile(path: string, read: typeof kernelText): boolean {
  return path === appArmorSwitch && appArmorLabel(read).name !== undefined;
}

/** The hint when the kernel has refused a user namespace, or capabilities in it, with this errno. */
export function refusalHint(code: string): string {
  const known = refusal();
  if (known) return known;
  if (code === 'ENOSPC') return tooManyNamespaces;
  if (isChrooted())
    return `this process is in a chroot, where the kernel makes no user namespace: leave it${orAsRoot()}`;
  return confinedHint(true) ?? `a policy of this host forbids user namespaces${orAsRoot()}`;
}

/** For EAGAIN from clone(2), also where Node calls it. */
export const tooManyProcesses =
  'no more processes may be started: see ulimit -u, and pids.max of the cgroup of this process';

/** For ENOSPC from clone(2). */
export const tooManyNamespaces = 'too many namespaces exist, or they are nested too deep: see /proc/sys/user';

/**
 * Whether this process is in a chroot(2) to a directory that is no mount point. A chroot to a mount point cannot be
 * recognized.
 */
export function isChrooted(): boolean {
  return !mountPaths().includes('/');
}
