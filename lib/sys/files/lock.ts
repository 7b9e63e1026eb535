/** Locks on open files: flock(2). The kernel releases one when the file is closed, however its process ends. */
import { fstatSync, statSync } from 'node:fs';
import { kernelText } from '../procfs/status.js';
import { flock } from '../syscalls/calls.js';
import { LOCK } from '../syscalls/constants.js';
import { EAGAIN } from '../syscalls/errno.js';
import { deviceNumber } from './device-number.js';

/**
 * Takes a lock, unless another process has one that excludes it: then this returns false. Shared ones exclude only an
 * exclusive one. Where the filesystem has no locks this returns true, since nobody can have one.
 */
export function tryLock(fd: number, kind: 'shared' | 'exclusive'): boolean {
  return flock.try(fd, (kind === 'shared' ? LOCK.SH : LOCK.EX) | LOCK.NB) !== -EAGAIN;
}

/**
 * Whether a process has a lock on what is open, found out without asking for one: others might meet that. What the
 * kernel does not list is not found: locks of processes that are not to be seen from here, and those on btrfs and
 * overlayfs, whose files have other device numbers there. Source: proc_locks(5).
 */
export function isLocked(fd: number): boolean {
  const { dev, ino } = fstatSync(fd, { bigint: true });
  const locks = kernelText('/proc/locks')?.matchAll(/ FLOCK .* (\w+):(\w+):(\d+) \d+ \w+$/gm) ?? [];
  return Array.from(locks).some(
    ([, major, minor, inode]) =>
      BigInt(inode!) === ino && BigInt(deviceNumber(Number(`0x${major}`), Number(`0x${minor}`))) === dev,
  );
}

/**
 * Whether a path still leads to what is open: who removes or exchanges a thing under its lock may have done so between
 * the opening and the locking.
 */
export function isStillAt(path: string, fd: number): boolean {
  const there = statSync(path, { bigint: true, throwIfNoEntry: false });
  const open = fstatSync(fd, { bigint: true });
  return there?.ino === open.ino && there.dev === open.dev;
}
