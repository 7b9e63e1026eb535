/**
 * What a filesystem takes without an error and does not keep: owners or modes, as a shared folder of a virtual machine,
 * a drive of Windows in WSL, or FAT and NTFS by an option of their mount.
 */
import { close, fchmod, fchown, openat, unlinkat } from '../../sys/syscalls/calls.js';
import { newFileFlags } from '../tree/open-file.js';
import { statOf } from '../tree/stat.js';

const name = 'file';
/** Neither the owner of new files nor, by the umask of this process, their mode. */
const probe = { id: 1, mode: 0o711 };

/**
 * Tries it with a new file in an open directory that nobody else can enter, and returns what is lost. An error is told
 * when it matters.
 */
export function lostAttributes(dirfd: number): string[] {
  const file = openat.try(dirfd, name, newFileFlags, 0o600);
  if (file < 0) return [];
  const losesMode = fchmod.try(file, probe.mode) === 0 && (statOf(file).mode & 0o7777) !== probe.mode;
  const user = process.geteuid!();
  const isMine = statOf(file).uid === user;
  // Nobody but root gives files to others.
  const isGiven = user === 0 && fchown.try(file, probe.id, probe.id) === 0;
  const losesOwner = !isMine || (isGiven && statOf(file).uid !== probe.id);
  close(file);
  unlinkat(dirfd, name, 0);
  return [...(losesOwner ? ['owners'] : []), ...(losesMode ? ['modes'] : [])];
}
