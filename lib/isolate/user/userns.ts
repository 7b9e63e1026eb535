/** Which user namespace a container gets. Without root it always needs one. */
import { Failure } from '../../base/failure.js';
import { Status } from '../../base/status.js';
import { type CallerIds, type IdMaps, isMapped, ownMap } from '../../sys/user-namespace/id-map.js';
import { findRangeMaps, rangeMaps } from '../../sys/user-namespace/subordinate-ids.js';
import type { UserNamespace } from '../settings/settings.js';

/**
 * The maps for a choice. By default root gets no namespace (undefined), others `range` if the system grants it, else
 * `self`.
 */
export function chooseMaps(choice: UserNamespace | undefined, caller: CallerIds): IdMaps | undefined {
  if (choice === 'host' || (choice === undefined && caller.uid === 0)) {
    if (caller.uid === 0) return undefined;
    throw new Failure(Status.isolate, '--userns host', 'only root can do without a user namespace', {
      hint: 'sudo, or leave the flag out',
    });
  }
  if (choice === 'range') return rangeMaps(caller, '--userns range');
  const found = choice === undefined ? findRangeMaps(caller) : undefined;
  if (found && 'uid' in found) return found;
  return { uid: [[0, caller.uid, 1]], gid: [[0, caller.gid, 1]], helped: false };
}

/** Whether groups can be set: not when only one id is mapped, since setgroups(2) is forbidden then. */
export function hasGroups(maps: IdMaps | undefined): boolean {
  return maps === undefined || maps.gid.length > 1;
}

/** Whether root made the namespace: it may give up groups there that an ordinary user has to keep. */
export function isOfRoot(maps: IdMaps | undefined): boolean {
  return maps?.uid[0]?.[1] === 0;
}

/** The group of terminals, 5 as in docker; undefined where the container's user namespace does not have it. */
export function ttyGroup(maps: IdMaps | undefined): number | undefined {
  return isMapped(maps?.gid ?? ownMap('gid'), 5) ? 5 : undefined;
}
