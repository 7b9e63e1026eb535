/** Removes cgroups: our own, and those that killed supervisors have left. */
import { readdirSync, rmdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { errnoName, ignoring } from '../../base/failure.js';
import { pause } from '../../base/pause.js';
import { lifeOf, markForm, ownMark } from '../../sys/procfs/process-mark.js';
import { removeCgroupTree } from './tree.js';

/** Where the cgroups of this program are, at the top of a hierarchy. */
export const parentName = 'md';

/** A cgroup without a process that is younger than this may be one that is just being made. */
const makingMs = 60_000;

const nameForm = new RegExp(`^md-(?:supervisor-)?(${markForm})$`);

/** The name of a cgroup of this supervisor. */
export function ownName(prefix = 'md'): string {
  return `${prefix}-${ownMark()}`;
}

/** Removes the cgroups whose supervisor has died without doing so. One that still has processes stays. */
export function sweep(parent: string): void {
  for (const name of ignoring(['ENOENT'], () => readdirSync(parent)) ?? []) {
    const [, mark] = nameForm.exec(name) ?? [];
    if (mark === undefined) continue;
    const directory = join(parent, name);
    ignoring(['EBUSY', 'ENOENT', 'EACCES', 'EPERM', 'EROFS'], () => {
      if (isLeft(mark, directory)) removeCgroupTree(directory);
    });
  }
}

/**
 * Whether the supervisor of a cgroup needs it no more. A supervisor in another container may use the same hierarchy and
 * cannot be seen from here. It does not move a process to a cgroup that is old and has none.
 */
function isLeft(mark: string, directory: string): boolean {
  const life = lifeOf(mark);
  return life === 'gone' || (life === 'unseen' && Date.now() - statSync(directory).mtimeMs > makingMs);
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
