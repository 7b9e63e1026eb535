/**
 * Hides parts of /proc and /sys, and makes others read-only. The paths are looked up below the descriptors of the proc
 * and sysfs that this plan has mounted, so that no image can put something else in their place.
 */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { ignoringSystemErrors } from '../../base/failure.js';
import { Result } from '../../sys/native-code/step.js';
import { mountPaths } from '../../sys/procfs/mountinfo.js';
import { MOUNT_ATTR } from '../../sys/syscalls/constants.js';
import type { PlanStep } from '../child/step.js';
import { attachBelow, copyOfTree, newFileSystem, plainAttributes } from './mounts.js';

/** Parts of /proc and /sys, without the leading slash. */
export interface Masks {
  /** Seen, but not written. */
  readOnly: readonly string[];
  /** They read as empty. */
  files: readonly string[];
  directories: readonly string[];
}

/** Source: moby, oci/defaults.go, ReadonlyPaths and MaskedPaths; what is a file or a directory is the kernel's. */
const docker: Masks = {
  readOnly: ['proc/bus', 'proc/fs', 'proc/irq', 'proc/sys', 'proc/sysrq-trigger'],
  files: [
    'proc/interrupts',
    'proc/kcore',
    'proc/keys',
    'proc/latency_stats',
    'proc/sched_debug',
    'proc/timer_list',
    'proc/timer_stats',
  ],
  directories: ['proc/acpi', 'proc/asound', 'proc/scsi', 'sys/devices/virtual/powercap', 'sys/firmware'],
};

/** What this kernel has of them. `bindSys`: the container's /sys is a copy of the host's. */
export function findMasks(bindSys: boolean): Masks {
  const present = (paths: readonly string[]) => paths.filter((path) => existsSync(`/${path}`));
  return {
    readOnly: present(docker.readOnly),
    files: present(docker.files),
    directories: [...present(docker.directories), ...heatCounters(), ...(bindSys ? mountsInSys() : [])],
  };
}

/**
 * Directories with counters of how often each processor became too hot, which reveal what other users do. Virtual
 * machines have none. Source: moby, MaskedPaths.
 */
function heatCounters(): string[] {
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
function mountsInSys(): string[] {
  const places = mountPaths().filter((path) => /^\/sys\/(?!fs\/cgroup(\/|$))/.test(path));
  const within = (path: string) => places.some((other) => path.startsWith(`${other}/`));
  return (
    [...new Set(places)]
      // What this process may not look at, as where a FUSE server has died, root of the container may not open.
      .filter((path) => !within(path) && ignoringSystemErrors(() => statSync(path))?.isDirectory())
      .map((path) => path.slice(1))
  );
}

/** Descriptors of what the plan has mounted. */
interface Mounted {
  proc: Result;
  sys: Result;
  dev: Result;
}

/** Hides the one and makes the other read-only, below what the plan has mounted. */
export function maskSteps({ proc, sys, dev }: Mounted, { readOnly, files, directories }: Masks): PlanStep[] {
  const locate = (path: string): Place => ({
    path,
    fd: path.startsWith('proc/') ? proc : sys,
    below: path.slice(path.indexOf('/') + 1),
  });
  return [
    ...readOnly.map(locate).flatMap(makeReadOnly),
    ...files.map(locate).flatMap((place) => hideFile(place, dev)),
    ...hideDirectories(directories.map(locate)),
  ];
}

interface Place {
  /** Without the leading slash. */
  path: string;
  /** The descriptor below which it is looked up, and its path from there. */
  fd: Result;
  below: string;
}

function cover(place: Place, tree: Result, why: string): PlanStep[] {
  return attachBelow(place.fd, place.below, tree, `/${place.path}`, why);
}

function makeReadOnly(place: Place): PlanStep[] {
  const why = `What is written to /${place.path} changes the kernel that the host runs on.`;
  const copy = copyOfTree({ fd: place.fd, path: place.below }, plainAttributes | MOUNT_ATTR.RDONLY, why);
  return [...copy.steps, ...cover(place, copy.fd, `/${place.path} can be read only.`)];
}

function hideFile(place: Place, dev: Result): PlanStep[] {
  const why = `/${place.path} tells secrets of the host. The cover is the null device that was made above, not a file of the image.`;
  const copy = copyOfTree({ fd: dev, path: 'null' }, 0, why);
  return [...copy.steps, ...cover(place, copy.fd, `/${place.path} reads as empty.`)];
}

/** Covers all directories with one empty one. Its mount is attached first, since only then can it be copied. */
function hideDirectories([first, ...rest]: Place[]): PlanStep[] {
  if (!first) return [];
  const why = 'An empty, read-only directory to cover others with.';
  const empty = newFileSystem('tmpfs', {}, plainAttributes | MOUNT_ATTR.RDONLY, why, new Result('empty'));
  return [
    ...empty.steps,
    ...cover(first, empty.fd, `/${first.path} is empty.`),
    ...rest.flatMap((place) => {
      const copy = copyOfTree({ fd: empty.fd, path: '' }, 0, 'The same empty directory once more.');
      return [...copy.steps, ...cover(place, copy.fd, `/${place.path} is empty.`)];
    }),
  ];
}
