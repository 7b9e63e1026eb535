/** Which filter a container gets, by its settings. What makes a filter is loaded only where one has to be made. */
import { version } from '../../pipe/command.js';
import { kernelRelease } from '../../sys/procfs/kernel-release.js';
import { arch, capabilities } from '../../sys/syscalls/constants.js';
import { readText } from '../settings/files.js';
import type { Settings } from '../settings/settings.js';
import type { Filter, ProfileSource } from './filter.js';
import type { Target } from './profile.js';
import type { Report } from './report.js';

export interface ChosenFilter {
  /** Undefined for none. */
  filter: Filter | undefined;
  /** With `--seccomp-report`, unless there is no filter: the filter asks the supervisor about what it would refuse. */
  report: Report | undefined;
}

/** `kept` are the numbers of the capabilities in the bounding set. Throws `Failure` for a profile that is wrong. */
export async function chooseFilter(
  { seccomp: profile, seccompReport }: Settings,
  kept: readonly number[],
): Promise<ChosenFilter> {
  if (profile === 'unconfined') return { filter: undefined, report: undefined };
  const source = profile === 'default' ? profile : { name: profile, text: readText(profile, '--seccomp') };
  const target: Target = {
    capabilities: kept.map((number) => capabilities[number] ?? ''),
    arch,
    kernel: kernelRelease(),
  };
  if (seccompReport) {
    const report = (await import('./report.js')).seccompReport(source, target);
    return { filter: report.filter, report };
  }
  const filter = source === 'default' ? await cached(target, kept) : await compiled(source, target);
  return { filter, report: undefined };
}

async function compiled(source: ProfileSource, target: Target): Promise<Filter> {
  return (await import('./filter.js')).seccompFilter(source, target);
}

/** The default filter, which has no flags. */
async function cached(target: Target, kept: readonly number[]): Promise<Filter> {
  const { builtAt, cachedFilter } = await import('./cache.js');
  const key = { ...target, version, built: builtAt(), capabilities: kept };
  return { program: await cachedFilter(key, async () => (await compiled('default', target)).program), flags: 0 };
}
