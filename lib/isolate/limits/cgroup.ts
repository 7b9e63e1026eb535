/**
 * The cgroup of a container: made before the command starts, removed after it. Where limits are asked for and the host
 * cannot give them, that is a failure that says why.
 *
 * As root the cgroups are `md/md-PID-STARTTIME` at the top of a hierarchy, as docker has its own below `docker`. An
 * ordinary user gets one below the own cgroup or one above it, where the system has delegated that (cgroup v2 only).
 */
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { errnoName, errnoText, Failure } from '../../pipe/failure.js';
import { pause } from '../../pipe/pause.js';
import { Status } from '../../pipe/status.js';
import { statFields } from '../../sys/proc-status.js';
import { type CgroupHost, cgroupHost, type Hierarchy } from './cgroup-host.js';
import { type CgroupWrite, cgroupWrites, type Limits } from './limits.js';

export interface Cgroup {
  /** Moves a process in. It has to be done before it starts others. */
  add(pid: number): void;
  /** Removes it. Waits up to a second for processes that are about to end. */
  remove(): void;
}

/** Where the cgroups of this program are, at the top of a hierarchy. */
const parentName = 'md';

/** Makes a cgroup with these limits, or none when there are no limits. Sweeps what killed supervisors have left. */
export function createCgroup(limits: Limits): Cgroup | undefined {
  if (Object.keys(limits).length === 0) return undefined;
  const host = probeCgroups();
  return cgroupOf(
    cgroupWrites(limits, (controller) => host.find(controller)?.version ?? 2),
    host,
  );
}

export function probeCgroups(): CgroupHost {
  return cgroupHost(
    readFileSync('/proc/self/mountinfo', 'latin1'),
    readFileSync('/proc/self/cgroup', 'latin1'),
    (mount) => words(join(mount, 'cgroup.controllers')),
  );
}

/** Makes a cgroup in each hierarchy that has a controller of these writes, and makes them. Undoes all when one fails. */
export function cgroupOf(writes: readonly CgroupWrite[], host: CgroupHost): Cgroup {
  const directories: string[] = [];
  const leave: (() => void)[] = [];
  const remove = () => {
    for (const directory of directories.splice(0)) removeCgroup(directory);
    for (const goBack of leave.splice(0)) goBack();
  };
  try {
    for (const [hierarchy, mine] of byHierarchy(writes, host)) {
      const parent = parentFor(hierarchy, mine);
      leave.push(parent.leave);
      sweep(parent.directory);
      directories.push(makeCgroup(parent.directory, hierarchy, mine));
      for (const write of mine) writeLimit(directories.at(-1)!, write);
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
    remove,
  };
}

function byHierarchy(writes: readonly CgroupWrite[], host: CgroupHost): Map<Hierarchy, CgroupWrite[]> {
  const groups = new Map<string, [Hierarchy, CgroupWrite[]]>();
  for (const write of writes) {
    const hierarchy = host.find(write.controller);
    if (!hierarchy) {
      throw new Failure(
        Status.isolate,
        write.flag,
        `this machine has no ${write.controller} controller in its cgroups`,
        {
          hint: missingHint(write.controller),
        },
      );
    }
    const known = groups.get(hierarchy.mount);
    if (known) known[1].push(write);
    else groups.set(hierarchy.mount, [hierarchy, [write]]);
  }
  return new Map(groups.values());
}

function missingHint(controller: string): string {
  if (controller === 'memory') return 'boot with cgroup_enable=memory, or leave the flag out';
  return 'mount cgroup2 on /sys/fs/cgroup, or leave the flag out';
}

interface Parent {
  directory: string;
  /** Undoes what was needed to have it, once nothing is below it any more. */
  leave: () => void;
}

/**
 * Where to make the cgroup: for root below the top, else the nearest one of our own cgroup and those above it that may be
 * written to and can pass the controllers on.
 */
function parentFor(hierarchy: Hierarchy, writes: readonly CgroupWrite[]): Parent {
  const [{ flag, controller }] = writes as [CgroupWrite];
  if (process.geteuid?.() === 0) {
    const parent = join(hierarchy.mount, parentName);
    if (hierarchy.version === 2)
      attempt(writes[0]!, `passing on controllers in ${hierarchy.mount}`, () => passOn(hierarchy.mount, writes));
    return { directory: parent, leave: () => undefined };
  }
  if (hierarchy.version === 1) {
    throw new Failure(
      Status.notPermitted,
      flag,
      `the ${controller} controller is in cgroup v1 here, which needs root`,
      {
        hint: 'run as root, or boot with systemd.unified_cgroup_hierarchy=1',
      },
    );
  }
  for (let at = hierarchy.own; at?.startsWith(hierarchy.mount); at = dirname(at)) {
    try {
      // Moving a process needs this file of the directory that the old cgroup and the new one have in common.
      accessSync(join(at, 'cgroup.procs'), constants.W_OK);
      accessSync(at, constants.W_OK);
      if (at === hierarchy.own && isAlone(at)) return stepAside(at, writes);
      passOn(at, writes);
      return { directory: at, leave: () => undefined };
    } catch (error) {
      // EACCES: not delegated. EBUSY: it has processes of its own. The next one up may do.
      if (errnoName(error) === undefined) throw error;
    }
  }
  throw new Failure(
    Status.notPermitted,
    flag,
    `no cgroup with the ${controller} controller is delegated to this user`,
    {
      hint: 'systemd-run --user --scope -p Delegate=yes md-isolate ..., or run as root',
    },
  );
}

/**
 * As `enable`, where it can be of use. A cgroup with processes passes no memory on (EBUSY), but it does pass on cpu, pids and
 * cpuset, and becomes one of threads by that: no process can be moved below it then. Only the topmost may have both.
 */
function passOn(directory: string, writes: readonly CgroupWrite[]): void {
  if (existsSync(join(directory, 'cgroup.type')) && read(directory, 'cgroup.procs') !== '') {
    throw Object.assign(new Error('it has processes of its own'), { code: 'EBUSY' });
  }
  enable(directory, writes);
}

/** Lets the cgroups below `directory` have the controllers (cgroup v2, cgroup.subtree_control). Returns the new ones. */
function enable(directory: string, writes: readonly CgroupWrite[]): string[] {
  const there = words(join(directory, 'cgroup.subtree_control'));
  const missing = [...new Set(writes.map(({ controller }) => controller))].filter((name) => !there.includes(name));
  if (missing.length > 0) put(directory, 'cgroup.subtree_control', missing.map((name) => `+${name}`).join(' '));
  return missing;
}

function isAlone(directory: string): boolean {
  return read(directory, 'cgroup.procs') === String(process.pid);
}

/**
 * The own cgroup becomes the parent: nobody else is in it, as in a scope of systemd's, and this process moves to one below.
 * The cgroups above are systemd's to change, so that limits there might not last.
 */
function stepAside(own: string, writes: readonly CgroupWrite[]): Parent {
  const aside = join(own, `md-supervisor-${process.pid}-${startTime('self')}`);
  const goBack = () => {
    put(own, 'cgroup.procs', String(process.pid));
    rmdirSync(aside);
  };
  mkdirSync(aside);
  put(aside, 'cgroup.procs', String(process.pid));
  try {
    const enabled = enable(own, writes);
    const leave = () => {
      if (enabled.length > 0) put(own, 'cgroup.subtree_control', enabled.map((name) => `-${name}`).join(' '));
      goBack();
    };
    // EBUSY: another has been made here meanwhile, and whoever delegated this cgroup removes it with all that is below.
    return { directory: own, leave: () => ignoring(['EBUSY'], leave) };
  } catch (error) {
    goBack();
    throw error;
  }
}

function makeCgroup(parent: string, hierarchy: Hierarchy, writes: readonly CgroupWrite[]): string {
  const directory = join(parent, `md-${process.pid}-${startTime('self')}`);
  attempt(writes[0]!, `making the cgroup ${directory}`, () => {
    // Another run may remove the empty parent between the two calls.
    for (let tries = 3; ; tries--) {
      try {
        makeParent(parent, hierarchy, writes);
        mkdirSync(directory);
        return;
      } catch (error) {
        if (errnoName(error) !== 'ENOENT' || tries === 0) throw error;
      }
    }
  });
  if (hierarchy.version === 1 && writes.some(({ controller }) => controller === 'cpuset')) inheritCpuset(directory);
  return directory;
}

function makeParent(parent: string, hierarchy: Hierarchy, writes: readonly CgroupWrite[]): void {
  mkdirSync(parent, { recursive: true });
  if (hierarchy.version === 2) enable(parent, writes);
  else if (writes.some(({ controller }) => controller === 'cpuset')) inheritCpuset(parent);
}

/** In v1 a new cpuset has no processor and no memory node, and takes no process before it has both. */
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

/** Removes the cgroups whose supervisor has died without doing so. One that still has processes stays. */
export function sweep(parent: string): void {
  for (const name of list(parent)) {
    const [, pid, started] = /^md-(?:supervisor-)?(\d+)-(\d+)$/.exec(name) ?? [];
    if (pid === undefined || startTime(pid) === started) continue;
    ignoring(['EBUSY', 'ENOENT', 'EACCES', 'EPERM'], () => removeTree(join(parent, name)));
  }
}

/** With the cgroups that the container has made below it, as one inside another does. EBUSY: there are processes. */
function removeTree(directory: string): void {
  try {
    rmdirSync(directory);
  } catch (error) {
    if (errnoName(error) !== 'EBUSY') throw error;
    for (const entry of readdirSync(directory, { withFileTypes: true })) {
      if (entry.isDirectory()) removeTree(join(directory, entry.name));
    }
    rmdirSync(directory);
  }
}

function removeCgroup(directory: string): void {
  // A process that has been killed may take a moment to leave.
  for (let tries = 200; tries > 0; tries--) {
    try {
      removeTree(directory);
      break;
    } catch (error) {
      if (errnoName(error) !== 'EBUSY') throw error;
      pause(5);
    }
  }
  const parent = dirname(directory);
  // Others may be using it.
  if (parent.endsWith(`/${parentName}`)) ignoring(['EBUSY', 'ENOENT', 'ENOTEMPTY'], () => rmdirSync(parent));
}

/** When a process was started, in the kernel's ticks: with its pid this names it for good. Undefined when there is none. */
function startTime(pid: string): string | undefined {
  try {
    return statFields(pid)[22 - 3];
  } catch (error) {
    if (errnoName(error) === 'ENOENT' || errnoName(error) === 'ESRCH') return undefined;
    throw error;
  }
}

function attempt(write: CgroupWrite, what: string, act: () => void): void {
  try {
    act();
  } catch (error) {
    const name = errnoName(error);
    if (name === undefined) throw error;
    const status = name === 'EACCES' || name === 'EPERM' || name === 'EROFS' ? Status.notPermitted : Status.isolate;
    throw new Failure(status, write.flag, `${what}: ${errnoText(name)}`, { cause: error, ...hintFor(name) });
  }
}

function hintFor(name: string): { hint?: string } {
  switch (name) {
    case 'EBUSY':
      return { hint: 'the cgroup at the top has processes of its own, as inside a container: move them to one below' };
    case 'EROFS':
      return { hint: '/sys/fs/cgroup is read-only here, as inside a container: mount it writable' };
    case 'EACCES':
    case 'EPERM':
      return { hint: 'run as root, or in a delegated cgroup: systemd-run --user --scope -p Delegate=yes' };
    case 'EINVAL':
    case 'ERANGE':
      return { hint: 'the kernel does not take this value' };
    default:
      return {};
  }
}

function ignoring(names: string[], act: () => void): void {
  try {
    act();
  } catch (error) {
    if (!names.includes(errnoName(error) ?? '')) throw error;
  }
}

function list(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if (errnoName(error) === 'ENOENT') return [];
    throw error;
  }
}

/** Not `writeFileSync` by path alone: that would create a file where the kernel has none. */
function put(directory: string, file: string, value: string): void {
  writeFileSync(join(directory, file), value, { flag: 'r+' });
}

function read(directory: string, file: string): string {
  return readFileSync(join(directory, file), 'latin1').trim();
}

function words(path: string): string[] {
  return readFileSync(path, 'latin1').trim().split(/\s+/);
}
