/**
 * Removing a cgroup with those below it, which the container may have made: under any name, and deeper than a path can
 * tell. So each is removed from within the one around it.
 */
import { readdirSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { close, openat, unlinkat } from '../../sys/syscalls/calls.js';
import { AT, O } from '../../sys/syscalls/constants.js';
import { EBUSY, ENOENT } from '../../sys/syscalls/errno.js';
import { SyscallError } from '../../sys/syscalls/syscall.js';

/** Throws `SyscallError`: EBUSY when there are processes in it. */
export function removeCgroupTree(directory: string): void {
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
