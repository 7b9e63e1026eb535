import { flock } from '../sys/calls.js';
import { LOCK } from '../sys/constants.js';
import { EAGAIN } from '../sys/errno.js';

/**
 * Whether a container runs in the tree at an open directory: `md-isolate` holds a shared lock on its tree as long as it
 * lives. When none does, this locks the tree, so that none can start until the directory is closed.
 */
export function isHeld(fd: number): boolean {
  return flock.try(fd, LOCK.EX | LOCK.NB) === -EAGAIN;
}
