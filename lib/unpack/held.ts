import { flock } from '../sys/calls.js';
import { LOCK } from '../sys/constants.js';
import { EAGAIN } from '../sys/errno.js';

/**
 * Whether a container runs in the tree at an open directory: `md-isolate` has a shared lock on its tree for as long as it
 * lives. If none does, none can begin to until the directory is closed.
 */
export function isHeld(fd: number): boolean {
  return flock.try(fd, LOCK.EX | LOCK.NB) === -EAGAIN;
}
