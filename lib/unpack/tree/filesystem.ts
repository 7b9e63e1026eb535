/** What the filesystem of a tree cannot do, tried with a file or a link in a directory that nobody else can enter. */
import { close, fchmod, fchown, openat, symlinkat, unlinkat, utimensat } from '../../sys/syscalls/calls.js';
import { AT } from '../../sys/syscalls/constants.js';
import { ENOENT } from '../../sys/syscalls/errno.js';
import { newFileFlags } from './open-file.js';
import { statOf } from './stat.js';
import { timespecs } from './timespec.js';

const name = Buffer.from('probe');
/** Neither the owner of new files nor, by the umask of this process, their mode. */
const other = { id: 1, mode: 0o711 };

/**
 * Whether it changes the owner and the times of what a symlink leads to where those of the link are meant, as sshfs
 * does: its server follows the link, from its own root.
 */
export function followsLinks(dirfd: number): boolean {
  if (symlinkat.try(Buffer.from('nothing'), dirfd, name) < 0) return false;
  const result = utimensat.try(dirfd, name, timespecs({ seconds: 0, nanoseconds: 0 }), AT.SYMLINK_NOFOLLOW);
  unlinkat(dirfd, name, 0);
  return result === -ENOENT;
}

/**
 * What it takes without an error and does not keep: owners or modes, as a shared folder of a virtual machine, a drive
 * of Windows in WSL, or FAT and NTFS by an option of their mount. An error is told when it matters.
 */
export function lostAttributes(dirfd: number): string[] {
  const file = openat.try(dirfd, name, newFileFlags, 0o600);
  if (file < 0) return [];
  const losesMode = fchmod.try(file, other.mode) === 0 && (statOf(file).mode & 0o7777) !== other.mode;
  const user = process.geteuid!();
  const isMine = statOf(file).uid === user;
  // Nobody but root gives files to others.
  const isGiven = user === 0 && fchown.try(file, other.id, other.id) === 0;
  const losesOwner = !isMine || (isGiven && statOf(file).uid !== other.id);
  close(file);
  unlinkat(dirfd, name, 0);
  return [...(losesOwner ? ['owners'] : []), ...(losesMode ? ['modes'] : [])];
}
