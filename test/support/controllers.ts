/** Which controllers the cgroups of this machine have, of whichever version. */
import { probeCgroups } from '../../lib/isolate/cgroup/cgroup.js';
import { needsRoot } from './run.js';

/** The `skip` of a test that needs controllers. */
export function needsControllers(...names: string[]): string | false {
  if (needsRoot) return needsRoot;
  const host = probeCgroups();
  const missing = names.filter((name) => host.find(name) === undefined);
  return missing.length > 0 && `no ${missing.join(', ')} controller in the cgroups`;
}
