/**
 * The cgroup of a container: made before the command starts, and removed after it. When the host cannot enforce a
 * limit, that is a failure that says why.
 *
 * As root the cgroups are `md/md-MARK` (sys/procfs/process-mark.ts) at the top of a hierarchy, as docker has its own
 * below `docker`. An ordinary user gets one below the own cgroup or one above it, where the system has delegated that
 * (cgroup v2 only).
 */
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import {
  errnoName,
  type Failure,
  failingAs,
  failureOf,
  hasErrno,
  ignoring,
  ignoringSystemErrors,
} from '../../base/failure.js';
import { trace, warn } from '../../base/trace.js';
import { refused } from '../settings/failures.js';
import type { Limits } from '../settings/limits.js';
import { attempt, cgroupMode, put, read } from './files.js';
import { type CgroupHost, cgroupHost, type Hierarchy } from './hierarchies.js';
import { parentFor } from './parent.js';
import { ownName, parentName, removeCgroup, sweep } from './removal.js';
import { type CgroupWrite, cgroupWrites } from './writes.js';

export interface Cgroup {
  /** Moves a process into it. The process must not have started others yet. */
  add(pid: number): void;
  /** Whether the kernel has killed a process in it, since the limit on memory was reached. */
  ranOutOfMemory(): boolean;
  /** Removes it. Waits up to a second for processes that are about to end. */
  remove(): void;
}

/** Makes a cgroup with these limits. Sweeps what killed supervisors have left. */
export function createCgroup(limits: Limits): Cgroup {
  const host = probeCgroups();
  return cgroupOf(
    cgroupWrites(limits, (controller) => host.find(controller)?.version ?? 2),
    host,
  );
}

export function probeCgroups(): CgroupHost {
  const textOf = (path: string) => failingAs(path, () => readFileSync(path, 'latin1'));
  return cgroupHost(textOf('/proc/self/mountinfo'), textOf('/proc/self/cgroup'), (mount) => {
    const file = join(mount, 'cgroup.controllers');
    // Where something else is mounted on top of it, it is not there.
    return existsSync(file) ? textOf(file).trim().split(/\s+/) : [];
  });
}

/** Makes a cgroup in each hierarchy that these writes are for, and writes them there. Undoes all when one fails. */
export function cgroupOf(writes: readonly CgroupWrite[], host: CgroupHost): Cgroup {
  const directories: string[] = [];
  const leave: (() => void)[] = [];
  let memory: string | undefined;
  const remove = () => {
    for (const directory of directories.splice(0))
      telling(`removing the cgroup ${directory}`, () => removeCgroup(directory));
    for (const goBack of leave.splice(0)) telling('going back to the own cgroup', goBack);
  };
  try {
    for (const [hierarchy, mine] of byHierarchy(writes, host)) {
      const parent = attempt(mine[0]!, `making room in ${hierarchy.own ?? hierarchy.mount}`, () =>
        parentFor(hierarchy, mine),
      );
      leave.push(parent.leave);
      attempt(mine[0]!, `looking into ${parent.directory}`, () => sweep(parent.directory));
      const directory = makeCgroup(parent.directory, hierarchy, mine[0]!);
      directories.push(directory);
      attempt(mine[0]!, `passing on controllers in ${parent.directory}`, () =>
        giveControllers(directory, hierarchy, mine),
      );
      for (const write of mine) writeLimit(directory, write);
      if (mine.some(({ controller }) => controller === 'memory')) memory = directory;
    }
  } catch (error) {
    remove();
    throw error;
  }
  return {
    add: (pid) => {
      for (const directory of directories) {
        attempt(writes[0]!, `moving process ${pid} to ${directory}`, () => put(directory, 'cgroup.procs', String(pid)));
      }
    },
    ranOutOfMemory: () => memory !== undefined && hasKilled(memory),
    remove,
  };
}

/**
 * The kernel also counts what it kills here for the limit of a cgroup around this one, or for want of memory in the
 * machine: `oom_kill` alone does not tell. Nor does `oom` of `memory.events`, where the limits of cgroups that the
 * container has made count as well; `memory.events.local` came with Linux 5.2. Sources: cgroup-v2.rst, "memory.events"
 * and "memory.events.local"; cgroup-v1/memory.rst, "memory.oom_control" and "failcnt".
 */
function hasKilled(directory: string): boolean {
  // One may be that of the other version, or others have removed the cgroup. What else fails does not tell, either: the
  // command has ended, and its status is that of the container.
  const text = (file: string) => ignoringSystemErrors(() => read(directory, file)) ?? '';
  const events = text('memory.events');
  const failures = ['memory.failcnt', 'memory.memsw.failcnt'].map(text);
  const wasReached =
    /^oom [1-9]/m.test(text('memory.events.local') || events) || failures.some((count) => Number(count) > 0);
  return wasReached && /^oom_kill [1-9]/m.test(events || text('memory.oom_control'));
}

/** Does `act`. A system error is only a warning: the command has ended, and its status is that of the container. */
function telling(what: string, act: () => void): void {
  try {
    act();
  } catch (error) {
    warn(failureOf(error, what).message);
  }
}

function byHierarchy(writes: readonly CgroupWrite[], host: CgroupHost): Map<Hierarchy, CgroupWrite[]> {
  const groups = new Map<string, [Hierarchy, CgroupWrite[]]>();
  for (const write of writes) {
    const hierarchy = host.find(write.controller);
    if (!hierarchy) throw missing(write, host.unmounted(write.controller));
    const known = groups.get(hierarchy.mount);
    if (known) known[1].push(write);
    else groups.set(hierarchy.mount, [hierarchy, [write]]);
  }
  return new Map(groups.values());
}

function missing(write: CgroupWrite, unmounted: string | undefined): Failure {
  const { controller, flag } = write;
  // In a container of lxc, for example. Any place will do for the mount.
  if (unmounted)
    return refused(
      flag,
      `no cgroups with the ${controller} controller are mounted here`,
      `mkdir -p /run/cgroup && mount -t ${unmounted} cgroup /run/cgroup`,
    );
  const why = `this machine has no ${controller} controller in its cgroups`;
  return refused(flag, why, missingHint(write));
}

function missingHint({ controller, flag }: CgroupWrite): string {
  // The topmost cgroup of all has no type: this is that of a container.
  if (existsSync('/sys/fs/cgroup/cgroup.type'))
    return `the container around this process has no such limit to pass on: start that one with ${flag} as well`;
  if (controller === 'memory') return 'boot with cgroup_enable=memory, or leave the flag out';
  return 'leave the flag out';
}

function makeCgroup(parent: string, { mount }: Hierarchy, write: CgroupWrite): string {
  const directory = join(parent, ownName());
  const make = () => {
    // Another run may remove the empty parent between the two calls. ENODEV: it is removing it.
    for (let tries = 10; ; tries--) {
      try {
        // Not recursive: Node would then say ENOENT where the file system is read-only.
        ignoring(['EEXIST'], () => mkdirSync(parent, cgroupMode));
        mkdirSync(directory, cgroupMode);
        trace(`* a new cgroup: ${directory}`);
        return;
      } catch (error) {
        if (!hasErrno(error, 'ENOENT', 'ENODEV') || tries === 0) throw error;
      }
    }
  };
  attempt(write, `making the cgroup ${directory}`, make, mount);
  return directory;
}

/**
 * Lets a new cgroup have the controllers from the one around it, which nobody removes any more: before, another run
 * could have removed it and a third one made it anew. In v2 without a look at what that has, since the kernel shows a
 * controller before its files are there; a write waits for them. What is delegated stays, and has them already.
 */
function giveControllers(directory: string, { version }: Hierarchy, writes: readonly CgroupWrite[]): void {
  const parent = dirname(directory);
  if (version === 2) {
    const all = writes.map(({ controller }) => `+${controller}`);
    if (basename(parent) === parentName) put(parent, 'cgroup.subtree_control', [...new Set(all)].join(' '));
  } else if (writes.some(({ controller }) => controller === 'cpuset')) {
    for (const it of [parent, directory]) inheritCpuset(it);
  }
}

/**
 * In v1 a new cpuset has no processors and no memory nodes, and accepts no process until it has both: takes the
 * parent's.
 */
function inheritCpuset(directory: string): void {
  for (const file of ['cpuset.cpus', 'cpuset.mems']) {
    if (read(directory, file) === '') put(directory, file, read(dirname(directory), file));
  }
}

function writeLimit(directory: string, write: CgroupWrite): void {
  attempt(write, `writing ${write.value} to ${join(directory, write.file)}`, () => {
    try {
      put(directory, write.file, write.value);
    } catch (error) {
      if (!write.optional || errnoName(error) !== 'ENOENT') throw error;
    }
  });
}
