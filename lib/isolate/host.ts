/** What this host offers: found out before the plan is made, so that the plan itself depends on nothing else. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { Failure, failureOf } from '../pipe/failure.js';
import { Status } from '../pipe/status.js';
import { ioctlTermios, prlimit64 } from '../sys/calls.js';
import { RLIMIT, TC } from '../sys/constants.js';
import { ownStatus, statusBits } from '../sys/proc-status.js';
import { isErrno } from '../sys/syscall.js';
import { whatRootIs } from './document.js';
import { deviceNumber, type HostDevice, devices as ownDevices } from './filesystem/devices.js';
import { deviceNodes } from './filesystem/host-devices.js';
import { maskedPaths, readOnlyPaths } from './filesystem/masks.js';
import { placeOfFile } from './filesystem/places.js';
import type { ResourceLimit } from './limits/limits.js';

export interface Host {
  /** Effective user and group of the caller. */
  uid: number;
  gid: number;
  /** The last capability that the kernel knows. */
  lastCapability: number;
  /** The capabilities that this process may use, by number. */
  capabilities: number[];
  /** Signals that this process catches or ignores (by its caller's doing, perhaps): the child would as well. */
  changedSignals: number[];
  /** Those of the masked and read-only paths that exist. */
  present: Set<string>;
  /** Hierarchies of cgroup v1, as the options that mount(2) takes (`cpu,cpuacct`, `name=systemd`), empty for pure v2. */
  hierarchies: string[];
  /** Whether cgroup v2 is there. */
  unified: boolean;
  /** The host's device nodes, when asked for. */
  devices: HostDevice[] | undefined;
  /** Mode and owner of the root directory itself. */
  rootDirectory: { mode: number; uid: number; gid: number };
  /** Where the image has `hostname`, `hosts` and `resolv.conf` of its /etc, or would have them: its links are resolved. */
  etcFiles: Record<string, string>;
  /** Text of /etc/hosts and /etc/resolv.conf; empty when there is none. */
  hosts: string;
  resolvConf: string;
}

export interface ProbeOptions {
  /** Lists the host's devices. */
  devices: boolean;
}

/** Throws `Failure` when `root` is no directory. */
export function probeHost(root: string, { devices }: ProbeOptions): Host {
  const { mode, uid, gid } = directoryStats(root);
  const cgroups = cgroupLines();
  const status = kernelStatus();
  return {
    uid: process.geteuid!(),
    gid: process.getegid!(),
    lastCapability: Number(readFileSync('/proc/sys/kernel/cap_last_cap', 'latin1')),
    capabilities: statusBits(status, 'CapPrm'),
    changedSignals: [...statusBits(status, 'SigCgt'), ...statusBits(status, 'SigIgn')].map((bit) => bit + 1),
    present: new Set([...maskedPaths.map(([path]) => path), ...readOnlyPaths].filter((path) => existsSync(`/${path}`))),
    hierarchies: cgroups.filter((name) => name !== ''),
    unified: cgroups.includes(''),
    devices: devices ? deviceNodes('/dev') : undefined,
    rootDirectory: { mode: mode & 0o7777, uid, gid },
    etcFiles: Object.fromEntries(
      ['hostname', 'hosts', 'resolv.conf'].map((name) => [name, placeOfFile(root, `etc/${name}`)]),
    ),
    hosts: textOf('/etc/hosts'),
    resolvConf: textOf('/etc/resolv.conf'),
  };
}

function kernelStatus(): string {
  try {
    return ownStatus();
  } catch (error) {
    throw failureOf(error, '/proc/self/status', {
      hint: 'the kernel answers most questions there: mount -t proc proc /proc',
    });
  }
}

function directoryStats(root: string) {
  try {
    const stats = statSync(root);
    if (stats.isDirectory()) return stats;
  } catch (error) {
    throw failureOf(error, root, { hint: whatRootIs });
  }
  throw new Failure(Status.isolate, root, 'it is not a directory', { hint: whatRootIs });
}

/**
 * Throws `Failure` when the host's own nodes, which a container in a user namespace gets, are not what they should be: a file
 * at /dev/null would collect what containers throw away, and be what masks secrets.
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

/**
 * Directories with the counters of each processor that tell how often it grew too hot, and with that what others do.
 * Virtual machines have none. Source: moby, MaskedPaths.
 */
export function heatCounters(): string[] {
  const processors = 'sys/devices/system/cpu';
  if (!existsSync(`/${processors}/cpu0/thermal_throttle`)) return [];
  return readdirSync(`/${processors}`)
    .map((name) => `${processors}/${name}/thermal_throttle`)
    .filter((path) => existsSync(`/${path}`));
}

/**
 * Directories below /sys where the host has mounted something that a copy of /sys has as well: debugfs, tracefs, bpf. To root
 * they are open in a user namespace, too, where its uid is the same. The cgroups are covered in any case.
 */
export function mountsInSys(): string[] {
  const places = textOf('/proc/self/mountinfo')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((path) => /^\/sys\/(?!fs\/cgroup(\/|$))/.test(path));
  const within = (path: string) => places.some((other) => path.startsWith(`${other}/`));
  return [...new Set(places)]
    .filter((path) => !within(path) && statSync(path, { throwIfNoEntry: false })?.isDirectory())
    .map((path) => path.slice(1));
}

/**
 * RLIMIT_NOFILE for the command. Node raises its soft limit to the hard one at start and forgets what it was: the parent
 * process, a shell as a rule, still has it. Where the parent may not be asked, 1024 is what systemd and docker give.
 */
export function openFileLimit(): ResourceLimit {
  const value = Buffer.alloc(16);
  const ask = (pid: number) => !isErrno(prlimit64.try(pid, RLIMIT.NOFILE, null, value));
  const soft = ask(process.ppid) ? value.readBigUInt64LE(0) : 1024n;
  if (!ask(0)) throw new Error('prlimit64 of the own process failed');
  const hard = value.readBigUInt64LE(8);
  value.writeBigUInt64LE(soft < hard ? soft : hard, 0);
  return { resource: RLIMIT.NOFILE, value };
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
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
}

/** Whether a descriptor is a terminal, asked as isatty(3) does. Node's own way loads several of its modules. */
export function isTerminal(fd: number): boolean {
  return !isErrno(ioctlTermios.try(fd, TC.GETS, Buffer.alloc(64)));
}
