/** Which user namespace a container gets. Without root it always needs one. */
import { Failure } from '../../base/failure.js';
import { Status } from '../../base/status.js';
import { type CallerIds, type IdMaps, isMapped, missingForRange, ownMap, rangeMaps } from '../../sys/userns.js';

/** `host`: none. `self`: the caller is root, the only user. `range`: there are also the subordinate ids, from 1 on. */
export type UserNamespace = 'host' | 'self' | 'range';

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
  if (choice === 'range' || (choice === undefined && !missingForRange(caller))) {
    return rangeMaps(caller, '--userns range');
  }
  return { uid: [[0, caller.uid, 1]], gid: [[0, caller.gid, 1]], helped: false };
}

/** A directory with its owner as seen inside. An owner that is not mapped has no id there, and is replaced by root. */
export function ownerInside<Directory extends { uid: number; gid: number }>(
  directory: Directory,
  maps: IdMaps | undefined,
): Directory {
  if (!maps) return directory;
  const map = (id: number, lines: IdMaps['uid']) => {
    const line = lines.find(([, outside, count]) => id >= outside && id < outside + count);
    return line ? id - line[1] + line[0] : 0;
  };
  return { ...directory, uid: map(directory.uid, maps.uid), gid: map(directory.gid, maps.gid) };
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
