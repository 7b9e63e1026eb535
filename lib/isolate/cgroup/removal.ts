/** Removes cgroups: our own, and those that killed supervisors have left. */
import { rmdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { errnoName, hasErrno, ignoring } from '../../base/failure.js';
import { pause } from '../../base/pause.js';
import { statFields } from '../../sys/procfs/status.js';
import { list } from './files.js';
import { removeCgroupTree } from './tree.js';

/** Where the cgroups of this program are, at the top of a hierarchy. */
export const parentName = 'md';

/** The name of a cgroup of this supervisor. */
export function ownName(prefix = 'md'): string {
  return `${prefix}-${process.pid}-${startTime('self')}`;
}

/** Removes the cgroups whose supervisor has died without doing so. One that still has processes stays. */
export function sweep(parent: string): void {
  for (const name of list(parent)) {
    const [, pid, started] = /^md-(?:supervisor-)?(\d+)-(\d+)$/.exec(name) ?? [];
    if (pid === undefined || startTime(pid) === started) continue;
    ignoring(['EBUSY', 'ENOENT', 'EACCES', 'EPERM', 'EROFS'], () => removeCgroupTree(join(parent, name)));
  }
}

/** Waits up to a second for processes that are about to end. */
export function removeCgroup(directory: string): void {
  // A process that has been killed may take a moment to leave.
  for (let tries = 200; tries > 0; tries--) {
    try {
      // ENOENT: whoever has a part in the cgroups here has removed it.
      ignoring(['ENOENT'], () => removeCgroupTree(directory));
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

/**
 * The start time of a process in clock ticks; with its pid it identifies the process for good. Undefined when there is
 * none.
 */
function startTime(pid: string): string | undefined {
  try {
    return statFields(pid)[22 - 3];
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ESRCH')) return undefined;
    throw error;
  }
}
