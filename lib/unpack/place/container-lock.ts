import { tryLock } from '../../sys/files/lock.js';

/**
 * Whether a container runs in the tree at an open directory: `md-isolate` holds a shared lock on its tree as long as it
 * lives. When none does, this locks the tree, so that none can start until the directory is closed.
 */
export function hasContainer(fd: number): boolean {
  return !tryLock(fd, 'exclusive');
}
