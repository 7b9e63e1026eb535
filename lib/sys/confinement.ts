/** What confines this process, as inside a container, told in the flags with which docker and podman do without it. */
import { existsSync, readFileSync } from 'node:fs';
import { capabilities } from './constants.js';
import { ownStatus, statusBits } from './proc-status.js';

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
  const enabled = '/sys/module/apparmor/parameters/enabled';
  if (!existsSync(enabled) || !readFileSync(enabled, 'latin1').startsWith('Y')) return undefined;
  // A name and a mode, as in `docker-default (enforce)`; `unconfined` alone, or as the mode of a profile that allows all.
  const [, name, mode] = /^(.+) \((\w+)\)$/m.exec(readFileSync('/proc/self/attr/apparmor/current', 'latin1')) ?? [];
  return mode === 'unconfined' ? undefined : name;
}
