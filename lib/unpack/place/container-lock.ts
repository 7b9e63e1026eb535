import { tryLock } from '../../sys/files/lock.js';

/**
 * Whether a container runs in the tree at an open directory: `md-isolate` holds a shared lock on its tree as long as it
 * lives. When none does, this locks the tree, so that none can start until the directory is closed.
 */
export function hasContainer(fd: number): boolean {
  return !tryLock(fd, 'exclusive');
}

/**
 * Whether a lock that stands in the way of that one is shared, as that of a container is: another run of md-unpack or
 * md-prune excludes all others.
 */
export function isShared(fd: number): boolean {
  return tryLock(fd, 'shared');
}
