/** What confines this process: a container around it, or a policy of this host. The hints say how to do without. */

import { isAtLeast, kernelRelease } from '../procfs/kernel-release.js';
import { inUserNamespace } from '../procfs/own-id-map.js';
import { kernelText, ownStatus, statusBits } from '../procfs/status.js';
import { type Capability, capabilities } from '../syscalls/constants.js';

/** The hint for a user namespace, which needs no capability; undefined when nothing confines this process. */
export function confinedUsernsHint(): string | undefined {
  const hint = containerHint([]);
  if (!hint) return policyHint('user namespace');
  return isUnit() ? hint : `${hint}, and ${unmasking}`;
}

/** The hint for a call that needs these capabilities, or none; undefined when nothing confines this process. */
export function confinedHint(needed: readonly Capability[]): string | undefined {
  return containerHint(needed) ?? policyHint('call');
}

/** The hint when root is refused something for want of some of these capabilities; undefined when it has them all. */
export function lackingHint(needed: readonly Capability[]): string | undefined {
  const status = kernelText('/proc/self/status');
  const lacking = status !== undefined && process.geteuid!() === 0 ? lackingOf(needed, status) : [];
  if (lacking.length === 0) return undefined;
  const names = lacking.map((name) => `CAP_${name}`).join(', ');
  // docker takes one at a time.
  const flags = lacking.map((name) => `--cap-add ${name}`).join(' ');
  const give = lacking.length === 1 ? 'gives it' : 'give them';
  return `root is without ${names} here: ${isUnit() ? unitHint : `${flags} ${give} to a container of docker or podman`}`;
}

/**
 * The hint when root may not look into a directory (EACCES), which it always may on a disk of the machine. Root of
 * another user namespace may not look into what belongs to ids that it does not have.
 */
export function keptOutHint(): string | undefined {
  if (process.geteuid!() !== 0 || inUserNamespace()) return undefined;
  return (
    lackingHint(['DAC_OVERRIDE', 'DAC_READ_SEARCH']) ??
    'root is kept out of what another user has mounted by FUSE without -o allow_other, and by NFS with root_squash: run this as that user'
  );
}

/**
 * A container around this process is told by the flags with which docker and podman do without its confinement.
 * Undefined when it has the capabilities and no filter.
 */
function containerHint(needed: readonly Capability[]): string | undefined {
  const flags = liftingFlags(needed);
  if (flags.length === 0) return undefined;
  if (isUnit()) return unitHint;
  const profile = appArmorProfile();
  if (profile) flags.push('--security-opt apparmor=unconfined');
  const by = profile ? ` by the AppArmor profile ${profile}` : '';
  return `this process is confined${by}, as inside another container: start that one with ${flags.join(' ')}`;
}

/** The hint when a policy of AppArmor or SELinux refuses something to this process; undefined when none confines it. */
export function policyHint(what: 'user namespace' | 'call', read = kernelText): string | undefined {
  const profile = appArmorProfile(read);
  if (profile) {
    const rule = what === 'user namespace' ? ' and "userns,"' : '';
    return `this process is confined by the AppArmor profile ${profile}: write flags=(unconfined)${rule} into it, or if it is that of a container, start that one with --security-opt apparmor=unconfined`;
  }
  const context = seLinuxContext(read);
  return (
    context && `SELinux confines this process to ${context}: sudo ausearch -m avc tells what it refuses${orAsRoot()}`
  );
}

/** The end of a hint, for those who are not root yet. */
export function orAsRoot(): string {
  return process.geteuid!() === 0 ? '' : ', or run this as root';
}

function liftingFlags(needed: readonly Capability[]): string[] {
  const status = ownStatus();
  const flags = lackingOf(needed, status).map((name) => `--cap-add ${name}`);
  if (isFiltered(status)) flags.push('--security-opt seccomp=unconfined');
  return flags;
}

/** Whether this process is without a capability; with `CapBnd`, whether it and all that it starts are. capabilities(7) */
export function isWithout(name: Capability, set: 'CapPrm' | 'CapBnd' = 'CapPrm'): boolean {
  return !statusBits(ownStatus(), set).includes(capabilities.indexOf(name));
}

function lackingOf(needed: readonly Capability[], status: string): Capability[] {
  const has = statusBits(status, 'CapPrm');
  return needed.filter((name) => !has.includes(capabilities.indexOf(name)));
}

/**
 * The hint for ENOSYS. A filter may say so of a call that it does not know, as that of podman does, and that of systemd
 * of openat2(2): RestrictSUIDSGID cannot see the mode in its argument. DynamicUser implies that. systemd.exec(5)
 */
export function missingCallHint(syscall: string): string {
  const filter = isAtLeast(kernelRelease(), '5.12') ? filterHint(syscall) : undefined;
  return filter ?? `this kernel has no ${syscall}: Linux 5.12 or later is needed`;
}

function filterHint(syscall: string): string | undefined {
  if (!isUnit() || !isFiltered(ownStatus())) return confinedHint([]);
  const settings = syscall === 'openat2' ? 'RestrictSUIDSGID and DynamicUser do' : 'SystemCallFilter does';
  return `a seccomp filter refuses ${syscall} to this process, as ${settings} in a unit of systemd: start it without`;
}

/**
 * systemd.exec(5): each unit has an invocation id, which those below it inherit unless they start with nothing of it.
 */
function isUnit(): boolean {
  return process.env.INVOCATION_ID !== undefined;
}

const unitHint =
  'a unit of systemd confines this process: take RestrictNamespaces, SystemCallFilter, CapabilityBoundingSet and the like out of it';

function isFiltered(status: string): boolean {
  // 2 is SECCOMP_MODE_FILTER.
  return /^Seccomp:\s*2$/m.test(status);
}

/** For a user namespace: see mount_namespaces(7) for what the kernel asks of the proc outside. */
export const unmasking =
  'with its paths unmasked (docker: --security-opt systempaths=unconfined, podman: unmask=ALL, lxc: lxc.apparmor.allow_nesting=1, md-isolate: --privileged)';

/** That of README.md, which allows all: it keeps the host's profiles for a path from the programs of a container. */
const ownProfile = 'md';

/** The profile that confines this process, if any does. Source: kernel, Documentation/admin-guide/LSM/apparmor.rst. */
function appArmorProfile(read = kernelText): string | undefined {
  const { name, mode } = appArmorLabel(read);
  return mode === 'unconfined' || name === ownProfile ? undefined : name;
}

/**
 * A name and a mode, as in `docker-default (enforce)`. What no profile is for has neither; a profile that allows all
 * has the mode `unconfined`.
 */
export function appArmorLabel(read = kernelText): { name?: string | undefined; mode?: string | undefined } {
  if (!read('/sys/module/apparmor/parameters/enabled')?.startsWith('Y')) return {};
  const [, name, mode] = /^(.+) \((\w+)\)$/m.exec(read('/proc/self/attr/apparmor/current') ?? '') ?? [];
  return { name, mode };
}

/** The context of this process, where SELinux enforces its policy and that has restrictions for it. selinux(8) */
function seLinuxContext(read = kernelText): string | undefined {
  if (read('/sys/fs/selinux/enforce')?.trim() !== '1') return undefined;
  const context = read('/proc/self/attr/current')?.replace(/\0.*/s, '').trim();
  return context?.split(':')[2] === 'unconfined_t' ? undefined : context;
}
