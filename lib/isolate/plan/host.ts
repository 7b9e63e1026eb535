/** What this host offers. It is found out before the plan is made, so that the plan is a function of it. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { Failure, failingAs } from '../../base/failure.js';
import { Status } from '../../base/status.js';
import { deviceNumber } from '../../sys/device-number.js';
import { mountPaths } from '../../sys/proc/mountinfo.js';
import { ownStatus, statusBits } from '../../sys/proc/proc-status.js';
import { type HostDevice, devices as ownDevices } from '../filesystem/devices.js';
import { maskedPaths, readOnlyPaths } from '../filesystem/masks.js';
import { placeOfFile } from '../filesystem/places.js';
import type { View } from '../filesystem/view.js';
import { deviceNodes } from '../settings/devices.js';
import { whatRootIs } from '../settings/document.js';

export interface Host {
  /** The last capability that the kernel knows. */
  lastCapability: number;
  /** The capabilities that this process may use, by number. */
  capabilities: number[];
  /** Signals that this process ignores, perhaps because its caller does. The command would inherit that. */
  ignoredSignals: number[];
  /** Those of the masked and read-only paths that exist. */
  present: Set<string>;
  /**
   * Hierarchies of cgroup v1, as the options that mount(2) takes (`cpu,cpuacct`, `name=systemd`), empty for pure v2.
   */
  hierarchies: string[];
  /** Whether cgroup v2 is there. */
  unified: boolean;
  /** The host's device nodes, when asked for. */
  devices: HostDevice[] | undefined;
  /** Mode and owner of the root directory itself. */
  rootDirectory: { mode: number; uid: number; gid: number };
  /**
   * Where `hostname`, `hosts` and `resolv.conf` of the image's /etc really are, or would be, with its links resolved.
   */
  etcFiles: Record<string, string>;
  /** Text of /etc/hosts and /etc/resolv.conf; empty when there is none. */
  hosts: string;
  resolvConf: string;
}

export interface ProbeOptions {
  /** Lists the host's devices. */
  devices: boolean;
}

/** Throws `Failure` when `root` is not a directory. */
export function probeHost(view: View, { devices }: ProbeOptions): Host {
  const { mode, uid, gid } = directoryStats(view.lower);
  const cgroups = cgroupLines();
  const status = failingAs('/proc/self/status', ownStatus, {
    hint: 'the kernel answers most questions there: mount -t proc proc /proc',
  });
  return {
    lastCapability: lastCapability(),
    capabilities: statusBits(status, 'CapPrm'),
    ignoredSignals: statusBits(status, 'SigIgn').map((bit) => bit + 1),
    present: new Set([...maskedPaths.map(([path]) => path), ...readOnlyPaths].filter((path) => existsSync(`/${path}`))),
    hierarchies: cgroups.filter((name) => name !== ''),
    unified: cgroups.includes(''),
    devices: devices ? deviceNodes('/dev') : undefined,
    rootDirectory: { mode: mode & 0o7777, uid, gid },
    etcFiles: Object.fromEntries(
      ['hostname', 'hosts', 'resolv.conf'].map((name) => [name, placeOfFile(view, `etc/${name}`)]),
    ),
    hosts: textOf('/etc/hosts'),
    resolvConf: textOf('/etc/resolv.conf'),
  };
}

function lastCapability(): number {
  const path = '/proc/sys/kernel/cap_last_cap';
  return failingAs(path, () => Number(readFileSync(path, 'latin1')), {
    hint: 'the proc mounted here shows processes alone (subset=pid): mount it without that; in a unit of systemd it is called ProcSubset=pid',
  });
}

function directoryStats(root: string) {
  const stats = failingAs(root, () => statSync(root), { hint: whatRootIs });
  if (stats.isDirectory()) return stats;
  throw new Failure(Status.isolate, root, 'it is not a directory', { hint: whatRootIs });
}

/**
 * Throws `Failure` when the host's device nodes are not what they should be: some containers get
 * these. A regular file at /dev/null would collect what containers throw away, and it would be what is mounted over
 * secrets.
 */
export function checkDevices(): void {
  for (const [name, major, minor] of ownDevices) {
    const stats = statSync(`/dev/${name}`, { throwIfNoEntry: false });
    if (stats?.isCharacterDevice() && stats.rdev === deviceNumber(major, minor)) continue;
    throw new Failure(Status.isolate, `/dev/${name}`, `it is not the device ${major}:${minor} on this host`, {
      hint: `sudo rm -f /dev/${name}; sudo mknod -m 666 /dev/${name} c ${major} ${minor}`,
    });
  }
}

/** Throws `Failure` when there is no sysfs of the host, which some containers get. */
export function checkSys(): void {
  if (existsSync('/sys/fs')) return;
  throw new Failure(Status.isolate, '/sys', 'nothing is mounted there on this host', {
    hint: 'sudo mount -t sysfs sysfs /sys, or run this as root',
  });
}

/**
 * Directories with counters of how often each processor became too hot, which reveal what other users do. Virtual
 * machines have none. Source: moby, MaskedPaths.
 */
export function heatCounters(): string[] {
  const processors = 'sys/devices/system/cpu';
  if (!existsSync(`/${processors}/cpu0/thermal_throttle`)) return [];
  return readdirSync(`/${processors}`)
    .map((name) => `${processors}/${name}/thermal_throttle`)
    .filter((path) => existsSync(`/${path}`));
}

/**
 * Directories below /sys where the host has mounted something, such as debugfs, tracefs or bpf: a copy of /sys includes
 * these. When root of the user namespace is root outside, it may open them. The cgroups are not listed: they are always
 * covered.
 */
export function mountsInSys(): string[] {
  const places = mountPaths().filter((path) => /^\/sys\/(?!fs\/cgroup(\/|$))/.test(path));
  const within = (path: string) => places.some((other) => path.startsWith(`${other}/`));
  return [...new Set(places)]
    .filter((path) => !within(path) && statSync(path, { throwIfNoEntry: false })?.isDirectory())
    .map((path) => path.slice(1));
}

/** cgroups(7), /proc/[pid]/cgroup: `hierarchy:controllers:path`, with no controllers for v2. */
function cgroupLines(): string[] {
  const text = textOf('/proc/self/cgroup');
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split(':')[1] ?? '');
}

function textOf(path: string): string {
  return failingAs(path, () => (existsSync(path) ? readFileSync(path, 'utf8') : ''));
}
