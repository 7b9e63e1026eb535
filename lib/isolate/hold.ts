/**
 * The lock on the tree that a container runs in. md-unpack and md-prune see by it that the tree is in use, and lock it
 * themselves to replace or remove it.
 */
import { closeSync } from 'node:fs';
import { failingAs } from '../base/failure.js';
import { pause } from '../base/pause.js';
import { isStillAt, tryLock } from '../sys/files/lock.js';
import { openat } from '../sys/syscalls/calls.js';
import { AT, O } from '../sys/syscalls/constants.js';
import { refused } from './settings/failures.js';

/** At intervals of 20 ms: md-unpack --force locks a tree for a moment to see whether it may replace that. */
const lockTries = 25;

/**
 * Locks the tree as long as this process lives: from before its document is read, so that both are of one image. Where
 * the tree is not there or may not be opened, or its filesystem has no locks, there is none. Throws `Failure` 125 when
 * another process keeps it locked.
 */
export function holdTree(root: string): void {
  for (let tries = 0; tries < lockTries; tries++) {
    if (tries > 0) pause(20);
    const fd = openat.try(AT.FDCWD, root, O.RDONLY | O.DIRECTORY | O.CLOEXEC, 0);
    if (fd < 0) return;
    // Another process may have put another tree in its place since it was opened.
    if (tryLock(fd, 'shared') && failingAs(root, () => isStillAt(root, fd))) return;
    closeSync(fd);
  }
  throw refused(root, 'another process has locked it, as one that removes it does', 'lslocks tells which');
}
