/** Which ids a user namespace has, and which they are outside of it: user_namespaces(7). */
import { closeSync, fstatSync, openSync, statSync } from 'node:fs';
import { type IdKind, type IdMap, ownMap } from '../procfs/own-id-map.js';
import { kernelText } from '../procfs/status.js';
import { ioctl } from '../syscalls/calls.js';
import { NS } from '../syscalls/constants.js';

export interface IdMaps {
  uid: IdMap;
  gid: IdMap;
  /** To be written by newuidmap and newgidmap, since the map has ids that are not the caller's own. */
  helped: boolean;
}

export interface CallerIds {
  uid: number;
  gid: number;
}

/** The effective ids of this process. */
export function callerIds(): CallerIds {
  return { uid: process.geteuid!(), gid: process.getegid!() };
}

/**
 * Maps every id that there is here to itself. The first id has a line of its own: programs, this one included, take one
 * line with all ids for the initial user namespace, and expect the power that root has there.
 */
export function sameMaps(): IdMaps {
  const same = (kind: IdKind) => {
    const [[first, , count] = [0, 0, 0], ...rest] = ownMap(kind);
    const lines: IdMap = [[first, first, 1], ...rest.map(([start, , more]): IdMap[number] => [start, start, more])];
    if (count > 1) lines.splice(1, 0, [first + 1, first + 1, count - 1]);
    return lines;
  };
  return { uid: same('uid'), gid: same('gid'), helped: false };
}

/** Whether setgroups(2) is forbidden in the user namespace of this process, and so in all below it. */
export function deniesGroups(): boolean {
  return kernelText('/proc/self/setgroups')?.trim() === 'deny';
}

/** Whether the network namespace of this process belongs to its user namespace, and not to one around that. */
export function ownsNetwork(): boolean {
  const fd = openSync('/proc/self/ns/net', 'r');
  try {
    const owner = ioctl.try(fd, NS.GET_USERNS, 0);
    // EPERM: it is out of sight from here.
    if (owner < 0) return false;
    const { ino } = fstatSync(owner);
    closeSync(owner);
    return ino === statSync('/proc/self/ns/user').ino;
  } finally {
    closeSync(fd);
  }
}

/** Whether a user namespace with this map has an id. */
export function isMapped(map: IdMap, id: number): boolean {
  return map.some(([inside, , count]) => id >= inside && id < inside + count);
}

/** The id that somebody outside has in a user namespace with this map; undefined for none. */
export function idInside(map: IdMap, id: number): number | undefined {
  const line = map.find(([, outside, count]) => id >= outside && id < outside + count);
  return line && id - line[1] + line[0];
}

/** A directory with its owner as seen inside. An owner that is not mapped has no id there, and is replaced by root. */
export function ownerInside<Directory extends { uid: number; gid: number }>(
  directory: Directory,
  maps: IdMaps | undefined,
): Directory {
  if (!maps) return directory;
  const { uid, gid } = maps;
  return { ...directory, uid: idInside(uid, directory.uid) ?? 0, gid: idInside(gid, directory.gid) ?? 0 };
}

/** The lines as uid_map and gid_map take them. */
export function mapText(map: IdMap): string {
  return map.map((line) => `${line.join(' ')}\n`).join('');
}
