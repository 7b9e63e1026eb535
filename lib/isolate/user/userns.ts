/** Which user namespace a container gets: without root there is no container without one. */
import { Failure } from '../../pipe/failure.js';
import { Status } from '../../pipe/status.js';
import { type Caller, type IdMaps, missingForRange, rangeMaps } from '../../sys/userns.js';

/** `host`: none. `self`: the caller is root, and there is nobody else. `range`: the subordinate ids exist as well, from 1 on. */
export type UserNamespace = 'host' | 'self' | 'range';

/** The maps for a choice, or for none: no namespace as root; otherwise a range where the system grants one, else `self`. */
export function chooseMaps(choice: UserNamespace | undefined, caller: Caller): IdMaps | undefined {
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

/** Mode and owner of a directory as they are seen inside. Whoever is not mapped cannot be named there: root, then. */
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

/** setgroups(2) is closed to a user who maps one id alone, and no other group has a name there. */
export function hasGroups(maps: IdMaps | undefined): boolean {
  return maps === undefined || maps.gid.length > 1;
}

/** Whether root made the namespace: it may give up groups there that an ordinary user has to keep. */
export function isOfRoot(maps: IdMaps | undefined): boolean {
  return maps?.uid[0]?.[1] === 0;
}
