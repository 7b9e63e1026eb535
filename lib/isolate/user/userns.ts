/** Which user namespace a container gets. Without root, and without root's powers, it always needs one. */

import { ownMap } from '../../sys/procfs/own-id-map.js';
import { type Capability, capabilities } from '../../sys/syscalls/constants.js';
import { type CallerIds, deniesGroups, type IdMaps, isMapped, sameMaps } from '../../sys/user-namespace/id-maps.js';
import { findRangeMaps, rangeMaps } from '../../sys/user-namespace/subordinate-ids.js';
import { neededCapabilities } from '../child/needed-capabilities.js';
import { refused } from '../settings/failures.js';
import type { UserNamespace } from '../settings/settings.js';

/**
 * The maps for a choice. By default root gets no namespace (undefined), or one where it lacks some of the powers that
 * are `needed`, as in a container of docker; other users get `range` if the system grants it, else `self`. `has` are
 * the numbers of the caller's capabilities.
 */
export function chooseMaps(
  choice: UserNamespace | undefined,
  caller: CallerIds,
  has: readonly number[],
  needed = neededCapabilities,
): IdMaps | undefined {
  switch (choice) {
    case 'self':
      return ownId(caller);
    case 'range':
      return rangeMaps('--userns range');
    case 'host':
      if (caller.uid === 0) return undefined;
      throw refused('--userns host', 'only root can do without a user namespace', 'sudo, or leave the flag out');
    case undefined:
      return caller.uid === 0 ? mapsOfRoot(caller, has, needed) : mapsOfUser(caller);
  }
}

function mapsOfRoot(caller: CallerIds, has: readonly number[], needed: readonly Capability[]): IdMaps | undefined {
  const may = (name: Capability) => has.includes(capabilities.indexOf(name));
  if (needed.every(may)) return undefined;
  return may('SETUID') && may('SETGID') ? sameMaps() : ownId(caller);
}

function mapsOfUser(caller: CallerIds): IdMaps {
  const found = findRangeMaps();
  return 'uid' in found ? found : ownId(caller);
}

function ownId({ uid, gid }: CallerIds): IdMaps {
  return { uid: [[0, uid, 1]], gid: [[0, gid, 1]], helped: false };
}

/** Whether groups can be set: an ordinary user who maps a single id has to forbid setgroups(2) first. */
export function maySetGroups(maps: IdMaps | undefined, denied = deniesGroups()): boolean {
  return !denied && (maps === undefined || maps.gid.length > 1);
}

/** Whether root made the namespace: it may give up groups there that an ordinary user has to keep. */
export function isOfRoot(maps: IdMaps | undefined): boolean {
  return maps?.uid[0]?.[1] === 0;
}

/** The group of terminals, 5 as in docker; undefined where the container's user namespace does not have it. */
export function ttyGroup(maps: IdMaps | undefined): number | undefined {
  return isMapped(maps?.gid ?? ownMap('gid'), 5) ? 5 : undefined;
}
