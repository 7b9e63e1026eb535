/** Removes cgroups, each with those below it: our own, and those that killed supervisors have left. */
import { readdirSync, rmdirSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { ignoring } from '../../base/failure.js';
import { pause } from '../../base/pause.js';
import { lifeOf, markForm, ownMark } from '../../sys/procfs/process-mark.js';
import { close, openat, unlinkat } from '../../sys/syscalls/calls.js';
import { AT, O } from '../../sys/syscalls/constants.js';
import { EBUSY, ENOENT } from '../../sys/syscalls/errno.js';
import { SyscallError } from '../../sys/syscalls/syscall.js';

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

/**
 * Removes the cgroup of this supervisor. Waits up to a second for processes in it that are about to end: what has some
 * even then is left to `sweep`.
 */
export function removeCgroup(directory: string): void {
  // A process that has been killed may take a moment to leave.
  for (let tries = 200; tries > 0 && !isRemovedWhole(directory); tries--) pause(5);
  const parent = dirname(directory);
  // Others may be using it.
  if (parent.endsWith(`/${parentName}`)) ignoring(['EBUSY', 'ENOENT', 'ENOTEMPTY'], () => rmdirSync(parent));
}

/** False while there are processes in it. */
function isRemovedWhole(directory: string): boolean {
  const removed = ignoring(['EBUSY'], () => {
    // ENOENT: whoever has a part in the cgroups here has removed it.
    ignoring(['ENOENT'], () => removeCgroupTree(directory));
    return true;
  });
  return removed ?? false;
}

/**
 * Removes a cgroup with those below it, which the container may have made: under any name, and deeper than a path can
 * tell. So each is removed from within the one around it. Throws `SyscallError`: EBUSY when there are processes in it.
 */
function removeCgroupTree(directory: string): void {
  // What has to go, by name: in the directory that is open the last list, in the one around it the one before.
  const left: string[][] = [[basename(directory)]];
  let at = openat(AT.FDCWD, dirname(directory), directoryFlags, 0);
  /** False when it has gone: another process may be removing the same. */
  const goTo = (name: string) => {
    const next = openat.try(at, Buffer.from(name, 'latin1'), directoryFlags, 0);
    if (next === -ENOENT) return false;
    if (next < 0) throw new SyscallError('openat', -next, name);
    close(at);
    at = next;
    return true;
  };
  try {
    for (let names = left[0]; names; names = left.at(-1)) {
      const name = names.at(-1);
      if (name === undefined) {
        left.pop();
        if (left.length > 0) goTo('..');
      } else if (isRemoved(at, name) || !goTo(name)) {
        names.pop();
      } else {
        left.push(cgroupsIn(at));
        if (left.at(-1)!.length === 0) throw new SyscallError('unlinkat', EBUSY, directory);
      }
    }
  } finally {
    close(at);
  }
}

const directoryFlags = O.RDONLY | O.DIRECTORY | O.NOFOLLOW | O.CLOEXEC;

/** False when there are processes in it, or cgroups. */
function isRemoved(dirfd: number, name: string): boolean {
  const result = unlinkat.try(dirfd, Buffer.from(name, 'latin1'), AT.REMOVEDIR);
  if (result === -ENOENT) return true;
  if (result < 0 && result !== -EBUSY) throw new SyscallError('unlinkat', -result, name);
  return result === 0;
}

/** The names, a character for each byte. */
function cgroupsIn(fd: number): string[] {
  return readdirSync(`/proc/self/fd/${fd}`, { encoding: 'latin1', withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name);
}
