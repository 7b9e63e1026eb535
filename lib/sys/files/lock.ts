/** Locks on open files: flock(2). The kernel releases one when the file is closed, however its process ends. */
import { flock } from '../syscalls/calls.js';
import { LOCK } from '../syscalls/constants.js';
import { EAGAIN } from '../syscalls/errno.js';

/**
 * Takes a lock, unless another process has one that excludes it: then this returns false. Shared ones exclude only an
 * exclusive one. Where the filesystem has no locks this returns true, since nobody can have one.
 */
export function tryLock(fd: number, kind: 'shared' | 'exclusive'): boolean {
  return flock.try(fd, (kind === 'shared' ? LOCK.SH : LOCK.EX) | LOCK.NB) !== -EAGAIN;
}
