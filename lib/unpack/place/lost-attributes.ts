/**
 * What a filesystem takes without an error and does not keep: owners or modes, as a shared folder of a virtual machine,
 * a drive of Windows in WSL, or FAT and NTFS by an option of their mount.
 */
import { fchmod, fchown } from '../../sys/syscalls/calls.js';
import { statOf } from '../tree/stat.js';

/** Neither the owner of new files nor, by the umask of this process, their mode. */
const probe = { id: 1, mode: 0o711 };

/** Tries it with an open file of this process's own, and returns what is lost. An error is told when it matters. */
export function lostAttributes(file: number): string[] {
  const { uid, gid, mode } = statOf(file);
  const losesMode = fchmod.try(file, probe.mode) === 0 && (statOf(file).mode & 0o7777) !== probe.mode;
  const user = process.geteuid!();
  // Nobody but root gives files to others.
  const isGiven = user === 0 && fchown.try(file, probe.id, probe.id) === 0;
  const losesOwner = uid !== user || (isGiven && statOf(file).uid !== probe.id);
  if (isGiven) fchown.try(file, uid, gid);
  fchmod.try(file, mode & 0o7777);
  return [...(losesOwner ? ['owners'] : []), ...(losesMode ? ['modes'] : [])];
}
