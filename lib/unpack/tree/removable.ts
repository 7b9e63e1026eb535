/**
 * Whether an ordinary user can remove a tree: to be known before a removal begins, which could otherwise stop halfway.
 */
import { accessSync, constants } from 'node:fs';
import { errnoName } from '../../base/failure.js';
import { openat } from '../../sys/syscalls/calls.js';
import { EACCES } from '../../sys/syscalls/errno.js';
import { toBytes } from '../../tar/bytes.js';
import { closing, directoryFlags, readEntries } from './directory.js';
import { defaultLimits } from './limits.js';
import { statAt, statOf } from './stat.js';

/** Why `isRemovable` is false, for a message. */
export const notRemovable = 'it holds directories of other users, which you may not empty';

/**
 * False when the open directory, or one below it, belongs to another user and cannot be read, or has entries that this
 * process may not remove. Its own directories are no obstacle: it can change their modes. It is not looked deeper than
 * images reach by default.
 */
export function isRemovable(fd: number): boolean {
  const user = process.geteuid!();
  return user === 0 || canEmpty(fd, user, 0);
}

function canEmpty(fd: number, user: number, depth: number): boolean {
  const isMine = statOf(fd).uid === user || isChangeable(fd);
  for (const name of readEntries(fd)) {
    if (!isMine) return false;
    if (depth === defaultLimits.depth) return true;
    const below = openat.try(fd, toBytes(name), directoryFlags, 0);
    // When even the status cannot be read, `fd` is its own directory, which it may read but not search.
    if (below === -EACCES && (statAt(fd, name)?.uid ?? user) !== user) return false;
    if (below < 0) continue;
    if (!closing(below, () => canEmpty(below, user, depth + 1))) return false;
  }
  return true;
}

function isChangeable(fd: number): boolean {
  try {
    accessSync(`/proc/self/fd/${fd}`, constants.W_OK | constants.X_OK);
    return true;
  } catch (error) {
    if (errnoName(error) === 'EACCES') return false;
    throw error;
  }
}
