/**
 * Whether a filesystem changes the owner and the times of what a symlink leads to where those of the link are meant, as
 * sshfs does: its server follows the link, from its own root.
 */
import { symlinkat, unlinkat, utimensat } from '../../sys/syscalls/calls.js';
import { AT } from '../../sys/syscalls/constants.js';
import { ENOENT } from '../../sys/syscalls/errno.js';
import { timespecs } from './timespec.js';

const link = Buffer.from('link');

/** Tries it with a link to nothing in an open directory of this process's own, which is empty. */
export function followsLinks(dirfd: number): boolean {
  if (symlinkat.try(Buffer.from('nothing'), dirfd, link) < 0) return false;
  const result = utimensat.try(dirfd, link, timespecs({ seconds: 0, nanoseconds: 0 }), AT.SYMLINK_NOFOLLOW);
  unlinkat(dirfd, link, 0);
  return result === -ENOENT;
}
