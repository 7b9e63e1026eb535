/**
 * Hides parts of /proc and /sys, and makes others read-only. The paths are looked up below the descriptors of the proc
 * and sysfs that this plan has mounted, so that no image can put something else in their place.
 */
import { MOUNT_ATTR } from '../../sys/constants.js';
import { Result } from '../../sys/native-code/program.js';
import type { PlanStep } from '../child/step.js';
import { attach, copyOfTree, newFileSystem, openOwn, plainAttributes } from './mounts.js';

/** Hidden. Source: moby, oci/defaults.go, MaskedPaths; whether each is a file or a directory is the kernel's. */
export const maskedPaths: readonly [path: string, kind: 'file' | 'directory'][] = [
  ['proc/acpi', 'directory'],
  ['proc/asound', 'directory'],
  ['proc/interrupts', 'file'],
  ['proc/kcore', 'file'],
  ['proc/keys', 'file'],
  ['proc/latency_stats', 'file'],
  ['proc/sched_debug', 'file'],
  ['proc/scsi', 'directory'],
  ['proc/timer_list', 'file'],
  ['proc/timer_stats', 'file'],
  ['sys/devices/virtual/powercap', 'directory'],
  ['sys/firmware', 'directory'],
];

/** Seen, but not written. Source: moby, oci/defaults.go, ReadonlyPaths. */
export const readOnlyPaths: readonly string[] = ['proc/bus', 'proc/fs', 'proc/irq', 'proc/sys', 'proc/sysrq-trigger'];

/** Descriptors of what the plan has mounted. */
export interface Mounted {
  proc: Result;
  sys: Result;
  dev: Result;
}

/** `present` tells which of the paths this kernel has; `further` are directories that are hidden as well. */
export function maskSteps(mounted: Mounted, present: ReadonlySet<string>, further: readonly string[]): PlanStep[] {
  const { proc, sys } = mounted;
  const locate = (path: string): Place => ({
    path,
    fd: path.startsWith('proc/') ? proc : sys,
    below: path.slice(path.indexOf('/') + 1),
  });
  const masks = maskedPaths.filter(([path]) => present.has(path));
  const files = masks.filter(([, kind]) => kind === 'file').map(([path]) => locate(path));
  const named = masks.filter(([, kind]) => kind === 'directory').map(([path]) => path);
  const directories = [...named, ...further].map(locate);
  const writable = readOnlyPaths.filter((path) => present.has(path)).map(locate);
  return [
    ...writable.flatMap(makeReadOnly),
    ...files.flatMap((place) => hideFile(place, mounted.dev)),
    ...hideDirectories(directories),
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
  const opened = openOwn(place.fd, place.below, `/${place.path}`);
  return [opened.step, attach(tree, opened.at, why)];
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
