/** Which controllers the cgroups of this machine have, of whichever version. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { probeCgroups } from '../../lib/isolate/cgroup/cgroup.js';
import { needsRoot } from './run.js';

/** A processor that there is for this process: not all have the first one. */
export const processor = /^Cpus_allowed_list:\t(\d+)/m.exec(readFileSync('/proc/self/status', 'latin1'))![1]!;

/** The `skip` of a test that needs controllers. */
export function needsControllers(...names: string[]): string | false {
  if (needsRoot) return needsRoot;
  const host = probeCgroups();
  const missing = names.filter((name) => host.find(name) === undefined);
  return missing.length > 0 && `no ${missing.join(', ')} controller in the cgroups`;
}

/** The cgroups that a supervisor has made below a directory; none where that is not there. */
export function cgroupsOf(supervisor: number, parent: string): string[] {
  if (!existsSync(parent)) return [];
  return readdirSync(parent).filter((name) => name.includes(`.${supervisor}.`));
}

/**
 * The directory of all our cgroups goes with the last of them: whether it is there only since somebody is using it, as
 * another test that runs at the same time.
 */
export function isGoneOrUsed(parent: string): boolean {
  return !existsSync(parent) || readdirSync(parent).some((name) => name.startsWith('md-'));
}
