/**
 * Finds the cgroup below which a container's own is made: one that is delegated to the user; for root that of a unit
 * with Delegate=yes, otherwise at the top.
 */
import { accessSync, constants, existsSync, mkdirSync, rmdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { errnoName, Failure, ignoring } from '../../base/failure.js';
import { Status } from '../../base/status.js';
import { lgetxattr } from '../../sys/syscalls/calls.js';
import { attempt, cgroupMode, put, read, words } from './files.js';
import type { Hierarchy } from './hierarchies.js';
import { ownName, parentName } from './removal.js';
import type { CgroupWrite } from './writes.js';

interface Parent {
  directory: string;
  /** Undoes what was done to get it, once nothing is below it any more. */
  leave: () => void;
}

/** Where to make the cgroup. Throws `Failure` when there is no place for it. */
export function parentFor(hierarchy: Hierarchy, writes: readonly CgroupWrite[]): Parent {
  if (process.geteuid?.() === 0) return inUnit(hierarchy, writes) ?? atTop(hierarchy, writes);
  const [{ flag, controller }] = writes as [CgroupWrite];
  const refused = (why: string, hint: string) => new Failure(Status.notPermitted, flag, why, { hint });
  if (hierarchy.version === 1) {
    const hint = 'run as root, or boot with systemd.unified_cgroup_hierarchy=1';
    throw refused(`the ${controller} controller is in cgroup v1 here, which needs root`, hint);
  }
  const parent = delegated(hierarchy, writes);
  if (parent) return parent;
  const how =
    controller === 'cpuset'
      ? 'sudo systemctl edit user@.service, with [Service] and Delegate=cpu cpuset memory pids, gives one'
      : `put ${scopeCommand()} in front`;
  throw refused(`no cgroup with the ${controller} controller is delegated to this user`, `${how}, or run as root`);
}

/**
 * From cron, at, su and sudo there is no session, and systemd-run finds the user's systemd by the variable alone:
 * pam_systemd(8).
 */
function scopeCommand(): string {
  const command = 'systemd-run --user --scope -p Delegate=yes';
  if (process.env.XDG_RUNTIME_DIR) return command;
  const uid = process.geteuid!();
  return `XDG_RUNTIME_DIR=/run/user/${uid} ${command} (after sudo loginctl enable-linger ${uid})`;
}

/**
 * Our own cgroup, when systemd gave it away: then the limits of the unit hold as well, and what ends the unit ends all
 * in it. systemd marks it with an attribute, by "Control Group APIs and Delegation".
 */
function inUnit({ version, own }: Hierarchy, writes: readonly CgroupWrite[]): Parent | undefined {
  if (version !== 2 || own === undefined) return undefined;
  const value = Buffer.alloc(1);
  const isGiven = lgetxattr.try(own, 'trusted.delegate', value, value.length) === 1 && value.toString() === '1';
  // Delegate= may name some controllers alone.
  const there = words(join(own, 'cgroup.controllers'));
  const hasAll = writes.every(({ controller }) => there.includes(controller));
  return isGiven && hasAll && isAlone(own) ? stepAside(own, writes) : undefined;
}

function atTop({ version, mount }: Hierarchy, writes: readonly CgroupWrite[]): Parent {
  if (version === 2) attempt(writes[0]!, `passing on controllers in ${mount}`, () => passOn(mount, writes), mount);
  return { directory: join(mount, parentName), leave: () => undefined };
}

/** The nearest cgroup, from our own upwards, that may be written to and can pass the controllers on. */
function delegated({ own, mount }: Hierarchy, writes: readonly CgroupWrite[]): Parent | undefined {
  for (let at = own; at?.startsWith(mount); at = dirname(at)) {
    try {
      // To move a process, this file has to be writable in the common ancestor of the old and the new cgroup.
      accessSync(join(at, 'cgroup.procs'), constants.W_OK);
      accessSync(at, constants.W_OK);
      if (at === own && isAlone(at)) return stepAside(at, writes);
      passOn(at, writes);
      return { directory: at, leave: () => undefined };
    } catch (error) {
      // EACCES: not delegated. EBUSY: it has processes of its own. The next one up may do.
      if (errnoName(error) === undefined) throw error;
    }
  }
  return undefined;
}

/**
 * As `enable`, but fails with EBUSY for a cgroup that has processes. The kernel itself refuses only the memory
 * controller there. With cpu, pids or cpuset the cgroup would become a threaded one, and no process could be moved
 * below it. Only the topmost cgroup may have both processes and controllers.
 */
function passOn(directory: string, writes: readonly CgroupWrite[]): void {
  if (existsSync(join(directory, 'cgroup.type')) && read(directory, 'cgroup.procs') !== '') {
    throw Object.assign(new Error('it has processes of its own'), { code: 'EBUSY' });
  }
  enable(directory, writes);
}

/**
 * Lets the cgroups below `directory` have the controllers (cgroup v2, cgroup.subtree_control). Returns the new ones.
 */
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
 * Makes our own cgroup the parent, since no other process is in it, as in a scope of systemd. This process moves to a
 * new cgroup below it. A cgroup further up would not do: systemd may change it, and limits there might not last.
 */
function stepAside(own: string, writes: readonly CgroupWrite[]): Parent {
  const aside = join(own, ownName('md-supervisor'));
  const goBack = () => {
    put(own, 'cgroup.procs', String(process.pid));
    ignoring(['ENOENT'], () => rmdirSync(aside));
  };
  mkdirSync(aside, cgroupMode);
  put(aside, 'cgroup.procs', String(process.pid));
  try {
    const enabled = enable(own, writes);
    const leave = () => {
      if (enabled.length > 0) put(own, 'cgroup.subtree_control', enabled.map((name) => `-${name}`).join(' '));
      goBack();
    };
    // EBUSY: there is another cgroup below by now. Whoever delegated this one will remove it with everything below.
    return { directory: own, leave: () => ignoring(['EBUSY'], leave) };
  } catch (error) {
    goBack();
    throw error;
  }
}
