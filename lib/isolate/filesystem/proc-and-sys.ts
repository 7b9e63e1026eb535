/** /proc, /sys and /sys/fs/cgroup. */
import { existsSync } from 'node:fs';
import { Result } from '../../sys/native-code/step.js';
import { AT, MOUNT_ATTR } from '../../sys/syscalls/constants.js';
import type { PlanStep } from '../child/step.js';
import { refused } from '../settings/failures.js';
import { hostText } from '../settings/files.js';
import { writableCgroupsFlag } from '../settings/security-opt.js';
import { copyOfTree, mountAt, mountOnOwn, newFileSystem, plainAttributes, setAttributes } from './mounts.js';

/** Throws `Failure` when there is no sysfs of the host, which some containers get. */
export function checkSys(): void {
  if (existsSync('/sys/fs')) return;
  throw refused('/sys', 'nothing is mounted there on this host', 'sudo mount -t sysfs sysfs /sys, or run this as root');
}

/**
 * The hierarchies of cgroups that this process is in: those of v1 as the options that mount(2) takes (`cpu,cpuacct`,
 * `name=systemd`), and '' for v2. Source: cgroups(7), /proc/[pid]/cgroup.
 */
export function cgroupHierarchies(): string[] {
  const lines = hostText('/proc/self/cgroup').split('\n');
  return lines.filter((line) => line !== '').map((line) => line.split(':')[1] ?? '');
}

/** Throws `Failure` for v1: root could change there what holds for the whole machine, and make it run a program. */
export function checkWritable(hierarchies: readonly string[]): void {
  if (hierarchies.every((name) => name === '')) return;
  const hint = 'boot with systemd.unified_cgroup_hierarchy=1, or leave it out';
  throw refused(
    writableCgroupsFlag,
    'this machine has cgroup v1, where a container could write to those of the host',
    hint,
  );
}

export interface SystemOptions {
  /** /sys is a copy of the host's, since a new one can only be made by the owner of the network namespace. */
  bindSys: boolean;
  /** Of cgroups: see `cgroupHierarchies`. */
  hierarchies: readonly string[];
}

export function procAndSys(
  root: Result,
  { bindSys, hierarchies }: SystemOptions,
  { privileged, writableCgroups }: { privileged: boolean; writableCgroups: boolean },
): { steps: PlanStep[]; proc: Result; sys: Result } {
  const proc = newFileSystem(
    'proc',
    {},
    plainAttributes,
    'A proc file system shows the processes of the PID namespace in which it is made: here those of the container alone.',
  );
  const readOnly = privileged ? 0 : MOUNT_ATTR.RDONLY;
  const why = 'Devices and drivers to look at; read-only, for they are those of the host.';
  const sys = bindSys
    ? copyOfTree({ fd: AT.FDCWD, path: '/sys' }, plainAttributes | readOnly, why, { recursive: true, name: 'sysfs' })
    : newFileSystem('sysfs', {}, plainAttributes | readOnly, why);
  const whyThere = 'A link here in the image could point anywhere; it is refused.';
  return {
    proc: proc.fd,
    sys: sys.fd,
    steps: [
      ...mountAt(root, 'proc', 'directory', proc, whyThere),
      ...mountAt(root, 'sys', 'directory', sys, whyThere),
      ...cgroupSteps(sys.fd, hierarchies, writableCgroups ? 0 : readOnly),
    ],
  };
}

const whyInSys = 'The place that sysfs has for it.';

/** /sys/fs/cgroup. In the cgroup namespace each hierarchy begins at the container's own cgroup. */
function cgroupSteps(sys: Result, hierarchies: readonly string[], readOnly: number): PlanStep[] {
  if (hierarchies.length === 0) return [];
  const ofV1 = hierarchies.filter((name) => name !== '');
  if (ofV1.length > 0) return hierarchySteps(sys, ofV1, readOnly);
  const tree = newFileSystem('cgroup2', {}, plainAttributes | readOnly, 'Programs read their own limits here.');
  return mountAt(sys, 'fs/cgroup', 'directory', tree, whyInSys, '/sys/fs/cgroup');
}

/** cgroup v1: a directory, in a tmpfs, for each hierarchy. */
function hierarchySteps(sys: Result, hierarchies: readonly string[], readOnly: number): PlanStep[] {
  const tmpfs = newFileSystem(
    'tmpfs',
    { mode: '755' },
    plainAttributes,
    'cgroup v1 has a mount for each controller, side by side.',
    new Result('cgroup v1'),
  );
  const whyClosed = 'The directories are there, and nothing else has to be.';
  return [
    ...mountAt(sys, 'fs/cgroup', 'directory', tmpfs, whyInSys, '/sys/fs/cgroup'),
    ...hierarchies.flatMap((name) => {
      const why = `The controller ${name}: programs read their own limits here.`;
      const tree = newFileSystem('cgroup', hierarchyOptions(name), plainAttributes | readOnly, why);
      const directory = name.replace(/^name=/, '');
      return mountOnOwn(tmpfs.fd, directory, tree, `/sys/fs/cgroup/${directory}`);
    }),
    ...(readOnly === 0 ? [] : [setAttributes(tmpfs.fd, MOUNT_ATTR.RDONLY, whyClosed)]),
  ];
}

/** The options of mount(2) for a hierarchy: its controllers (`cpu,cpuacct`), or `none` and a name (`name=systemd`). */
function hierarchyOptions(name: string): Record<string, string | true> {
  if (name.startsWith('name=')) return { none: true, name: name.slice(5) };
  return Object.fromEntries(name.split(',').map((controller): [string, true] => [controller, true]));
}
