/** Removing a root filesystem of the store, with all files that go with it; and what killed runs have left beside one. */
import { basename, dirname, join } from 'node:path';
import { Failure, failingAs, ignoring } from '../../base/failure.js';
import { Status } from '../../base/status.js';
import { isLocked, tryLock } from '../../sys/files/lock.js';
import { close, openat, unlinkat } from '../../sys/syscalls/calls.js';
import { AT } from '../../sys/syscalls/constants.js';
import { ENOENT } from '../../sys/syscalls/errno.js';
import { SyscallError } from '../../sys/syscalls/syscall.js';
import { byteString } from '../../tar/bytes.js';
import { closing, directoryFlags, followingFlags } from '../tree/directory.js';
import { mountPoints } from '../tree/open-path.js';
import { isRemovable, notRemovable } from '../tree/removable.js';
import { removeTree } from '../tree/remove-tree.js';
import { isNameOf } from '../tree/stat.js';
import { clearLeftovers, findLeftovers, sideFiles } from './claim.js';

/**
 * Removes a tree; with `dryRun` only tells whether it would. False when it is in use: a container runs in it, or
 * something is mounted there. Throws `Failure` 77 when it holds what this user may not remove; then it is still whole.
 */
export function removeStored(path: string, dryRun: boolean): boolean {
  return inDirectoryAround(path, (parent, base) => {
    const fd = openat.try(parent, base, directoryFlags, 0);
    if (fd < 0 && fd !== -ENOENT) throw new SyscallError('openat', -fd, path);
    try {
      if (fd >= 0 && isInUse(fd, dryRun)) return false;
      if (fd >= 0 && !isRemovable(fd))
        throw new Failure(Status.notPermitted, path, notRemovable, { hint: 'md-prune --map may' });
      if (dryRun) return true;
      // Without its document the tree is not whole, and nobody takes it for one from here on.
      for (const ending of [...sideFiles].reverse())
        ignoring(['ENOENT'], () => unlinkat(parent, `${base}${ending}`, 0));
      removeTree(parent, byteString(base));
      clearLeftovers(parent, base);
      return true;
    } finally {
      if (fd >= 0) close(fd);
    }
  });
}

/**
 * Removes a tree of which a killed process has left a part: on a filesystem that cannot exchange two directories, nothing
 * could take its place. `isWhole` is asked when no other run can be about to put its document there. One that is in use,
 * or that this user may not empty, stays.
 */
export function removeUnfinished(path: string, isWhole: () => boolean): void {
  inDirectoryAround(path, (parent, base) => {
    const fd = openat.try(parent, base, directoryFlags, 0);
    if (fd < 0) return;
    closing(fd, () => {
      if (isInUse(fd, false) || !isNameOf(fd, parent, byteString(base))) return;
      if (!isWhole() && isRemovable(fd)) removeTree(parent, byteString(base));
    });
  });
}

/**
 * Removes what killed runs of md-unpack have left beside a tree that stays: those that were to replace it. With `dryRun`
 * it is only looked for. Returns the paths.
 */
export function clearBeside(path: string, dryRun: boolean): string[] {
  const names = inDirectoryAround(path, dryRun ? findLeftovers : clearLeftovers);
  return names.map((name) => join(dirname(path), name));
}

function inDirectoryAround<T>(path: string, act: (parent: number, base: string) => T): T {
  return failingAs(path, () =>
    closing(openat(AT.FDCWD, dirname(path), followingFlags, 0), (parent) => act(parent, basename(path))),
  );
}

/** A container has a shared lock. Where this takes one, none can start in the tree until it is closed. */
function isInUse(fd: number, dryRun: boolean): boolean {
  return (dryRun ? isLocked(fd) : !tryLock(fd, 'exclusive')) || mountPoints(fd).length > 0;
}
