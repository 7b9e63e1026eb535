/** Reading and writing the files of cgroups, and what it means when that fails. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { errnoName, errnoText, Failure } from '../../base/failure.js';
import { Status } from '../../base/status.js';
import { trace } from '../../base/trace.js';
import { inUserNamespace } from '../../sys/procfs/own-id-map.js';
import { isWithout } from '../../sys/refusals/confinement.js';
import type { CgroupWrite } from './writes.js';

/** Of a new cgroup, whatever the umask of the caller: who may make one below it is its owner's to say. */
export const cgroupMode = 0o755;

/** Writes to a file that exists. By default `writeFileSync` would try to create a missing one. */
export function put(directory: string, file: string, value: string): void {
  trace(`* ${value} to ${join(directory, file)}`);
  writeFileSync(join(directory, file), value, { flag: 'r+' });
}

export function read(directory: string, file: string): string {
  return readFileSync(join(directory, file), 'latin1').trim();
}

export function words(path: string): string[] {
  return readFileSync(path, 'latin1').trim().split(/\s+/);
}

/**
 * Does `act` on behalf of `write`, and throws a `Failure` that names the flag of that. `mount` is where the hierarchy
 * is mounted, when `act` is about its top.
 */
export function attempt<T>(write: CgroupWrite, what: string, act: () => T, mount?: string): T {
  try {
    return act();
  } catch (error) {
    const name = errnoName(error);
    if (name === undefined) throw error;
    const status = ['EACCES', 'EPERM', 'EROFS'].includes(name) ? Status.notPermitted : Status.isolate;
    const hint = hintFor(name, write.flag, mount);
    throw new Failure(status, write.flag, `${what}: ${errnoText(name)}`, { cause: error, hint });
  }
}

function hintFor(errno: string, flag: string, mount: string | undefined): string | undefined {
  switch (errno) {
    case 'EBUSY':
      return mount && emptyingHint(mount);
    case 'EROFS':
      return `cgroups are read-only here, as inside a container: ${remountHint(mount)}`;
    case 'EACCES':
    case 'EPERM':
      return ownerHint();
    case 'EINVAL':
    case 'ERANGE':
      if (flag === '--cpuset-cpus') return '/sys/devices/system/cpu/online has the processors that there are';
      return 'the kernel does not take this value';
    default:
      return undefined;
  }
}

/** Without CAP_SYS_ADMIN nothing can be mounted. */
function remountHint(mount = '/sys/fs/cgroup'): string {
  return isWithout('SYS_ADMIN')
    ? 'start that one with -v /sys/fs/cgroup:/sys/fs/cgroup:rw'
    : `mount -o remount,bind,rw ${mount}`;
}

function ownerHint(): string {
  if (process.geteuid!() === 0 && inUserNamespace())
    return 'root here is only root of a user namespace, and the cgroups are not its own: start outside of it';
  return 'run as root, or in a delegated cgroup: systemd-run --user --scope -p Delegate=yes';
}

/**
 * The top has processes where it is that of a container around this process: cgroups(7), the "no internal processes"
 * rule.
 */
function emptyingHint(mount: string): string {
  const move = `mkdir -p ${mount}/init && xargs -n1 <${mount}/cgroup.procs >${mount}/init/cgroup.procs`;
  return `a cgroup with processes passes no limits on, and those of the container around this one are there: ${move}`;
}
