/** What this host offers: found out before the plan is made, so that the plan itself depends on nothing else. */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { prlimit64 } from '../sys/calls.js';
import { RLIMIT } from '../sys/constants.js';
import { isErrno } from '../sys/syscall.js';
import { maskedPaths, readOnlyPaths } from './masks.js';

export interface Host {
  /** Effective user and group of the caller. */
  uid: number;
  gid: number;
  /** The last capability that the kernel knows. */
  lastCapability: number;
  /** Signals that this process catches or ignores (by its caller's doing, perhaps): the child would as well. */
  changedSignals: number[];
  /** RLIMIT_NOFILE for the command, soft and hard. */
  openFiles: [soft: bigint, hard: bigint];
  /** Those of the masked and read-only paths that exist. */
  present: Set<string>;
  /** Hierarchies of cgroup v1, as the options that mount(2) takes (`cpu,cpuacct`, `name=systemd`), empty for pure v2. */
  hierarchies: string[];
  /** Whether cgroup v2 is there. */
  unified: boolean;
  /** Mode and owner of the root directory itself. */
  rootDirectory: { mode: number; uid: number; gid: number };
  /** Text of /etc/hosts and /etc/resolv.conf; empty when there is none. */
  hosts: string;
  resolvConf: string;
}

export function probeHost(root: string): Host {
  const { mode, uid, gid } = statSync(root);
  const cgroups = cgroupLines();
  return {
    uid: process.geteuid!(),
    gid: process.getegid!(),
    lastCapability: Number(readFileSync('/proc/sys/kernel/cap_last_cap', 'latin1')),
    changedSignals: changedSignals(readFileSync('/proc/self/status', 'latin1')),
    openFiles: openFileLimits(),
    present: new Set([...maskedPaths.map(([path]) => path), ...readOnlyPaths].filter((path) => existsSync(`/${path}`))),
    hierarchies: cgroups.filter((name) => name !== ''),
    unified: cgroups.includes(''),
    rootDirectory: { mode: mode & 0o7777, uid, gid },
    hosts: textOf('/etc/hosts'),
    resolvConf: textOf('/etc/resolv.conf'),
  };
}

/**
 * Node raises its soft limit to the hard one at start and forgets what it was: the parent process, a shell as a rule, still
 * has it. Where the parent may not be asked, 1024 is what systemd and docker give.
 */
function openFileLimits(): [soft: bigint, hard: bigint] {
  const limits = Buffer.alloc(16);
  const ask = (pid: number) => !isErrno(prlimit64.try(pid, RLIMIT.NOFILE, null, limits));
  const soft = ask(process.ppid) ? limits.readBigUInt64LE(0) : 1024n;
  if (!ask(0)) throw new Error('prlimit64 of the own process failed');
  const hard = limits.readBigUInt64LE(8);
  return [soft < hard ? soft : hard, hard];
}

/** cgroups(7), /proc/[pid]/cgroup: `hierarchy:controllers:path`, with no controllers for v2. */
function cgroupLines(): string[] {
  const text = textOf('/proc/self/cgroup');
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split(':')[1] ?? '');
}

/** proc_pid_status(5): a mask in hexadecimal, signal 1 its lowest bit. */
function changedSignals(status: string): number[] {
  const masks = [...status.matchAll(/^Sig(?:Cgt|Ign):\s*([0-9a-f]+)$/gm)].map(([, hex]) => BigInt(`0x${hex}`));
  const mask = masks.reduce((all, one) => all | one, 0n);
  return Array.from({ length: 64 }, (_, i) => i + 1).filter((signal) => (mask >> BigInt(signal - 1)) & 1n);
}

function textOf(path: string): string {
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
}
