/** What confines this process, as inside a container, told in the flags with which docker and podman do without it. */
import { capabilities } from './constants.js';
import { kernelText, ownStatus, statusBits } from './proc-status.js';

/**
 * The hint when this process is confined, as inside a container; undefined when it is not. `user`: for a user namespace,
 * which needs no capability.
 */
export function confinedHint(user: boolean): string | undefined {
  const profile = appArmorProfile();
  const flags = liftingFlags(user);
  if (profile) flags.push('--security-opt apparmor=unconfined');
  if (flags.length === 0) return undefined;
  const by = profile ? ` by the AppArmor profile ${profile}` : '';
  return `this process is confined${by}, as inside another container: start that one with ${flags.join(' ')}`;
}

/** The end of a hint, for those who are not root yet. */
export function orAsRoot(): string {
  return process.geteuid!() === 0 ? '' : ', or run this as root';
}

function liftingFlags(user: boolean): string[] {
  const status = ownStatus();
  const flags: string[] = [];
  const admin = capabilities.indexOf('SYS_ADMIN');
  if (!user && !statusBits(status, 'CapPrm').includes(admin)) flags.push('--cap-add SYS_ADMIN');
  // 2 is SECCOMP_MODE_FILTER.
  if (/^Seccomp:\s*2$/m.test(status)) flags.push('--security-opt seccomp=unconfined');
  return flags;
}

/** For a user namespace: see mount_namespaces(7) for what the kernel asks of the proc outside. */
export const unmasking = 'with its paths unmasked (docker: --security-opt systempaths=unconfined, podman: unmask=ALL)';

/** The profile that confines this process, if any does. Source: kernel, Documentation/admin-guide/LSM/apparmor.rst. */
function appArmorProfile(): string | undefined {
  if (!kernelText('/sys/module/apparmor/parameters/enabled')?.startsWith('Y')) return undefined;
  const current = kernelText('/proc/self/attr/apparmor/current') ?? '';
  // A name and a mode, as in `docker-default (enforce)`; `unconfined` alone, or as the mode of a profile that allows all.
  const [, name, mode] = /^(.+) \((\w+)\)$/m.exec(current) ?? [];
  return mode === 'unconfined' ? undefined : name;
}
