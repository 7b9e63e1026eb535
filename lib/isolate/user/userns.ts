/** Which user namespace a container gets. Without root, and without root's powers, it always needs one. */
import { Failure } from '../../base/failure.js';
import { Status } from '../../base/status.js';
import { type Capability, capabilities } from '../../sys/syscalls/constants.js';
import {
  type CallerIds,
  deniesGroups,
  type IdMaps,
  isMapped,
  ownMap,
  sameMaps,
} from '../../sys/user-namespace/id-map.js';
import { findRangeMaps, rangeMaps } from '../../sys/user-namespace/subordinate-ids.js';
import { powers } from '../child/powers.js';
import type { UserNamespace } from '../settings/settings.js';

/**
 * The maps for a choice. By default root gets no namespace (undefined), or one with the same ids where it lacks some of
 * the powers that are `needed`, as in a container of docker; other users get `range` if the system grants it, else
 * `self`. `has` are the numbers of the caller's capabilities.
 */
export function chooseMaps(
  choice: UserNamespace | undefined,
  caller: CallerIds,
  has: readonly number[],
  needed = powers,
): IdMaps | undefined {
  const isRoot = caller.uid === 0;
  const may = (name: Capability) => has.includes(capabilities.indexOf(name));
  const isPowerful = isRoot && needed.every(may);
  if (isRoot && choice === undefined && !isPowerful && may('SETUID') && may('SETGID')) return sameMaps();
  if (choice === 'host' || (choice === undefined && isPowerful)) {
    if (isRoot) return undefined;
    throw new Failure(Status.isolate, '--userns host', 'only root can do without a user namespace', {
      hint: 'sudo, or leave the flag out',
    });
  }
  if (choice === 'range') return rangeMaps(caller, '--userns range');
  const found = choice === undefined && !isRoot ? findRangeMaps(caller) : undefined;
  if (found && 'uid' in found) return found;
  return { uid: [[0, caller.uid, 1]], gid: [[0, caller.gid, 1]], helped: false };
}

/** Whether groups can be set: an ordinary user who maps a single id has to forbid setgroups(2) first. */
export function hasGroups(maps: IdMaps | undefined, denied = deniesGroups()): boolean {
  return !denied && (maps === undefined || maps.gid.length > 1 || maps.gid[0]![2] > 1);
}

/** Whether root made the namespace: it may give up groups there that an ordinary user has to keep. */
export function isOfRoot(maps: IdMaps | undefined): boolean {
  return maps?.uid[0]?.[1] === 0;
}

/** The group of terminals, 5 as in docker; undefined where the container's user namespace does not have it. */
export function ttyGroup(maps: IdMaps | undefined): number | undefined {
  return isMapped(maps?.gid ?? ownMap('gid'), 5) ? 5 : undefined;
}
