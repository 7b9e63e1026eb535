/**
 * The record of what the kernel did not permit: `DIR.unset.jsonl`, a JSON object a line, with the `path` from the root
 * (`.`) and what the image has there (`uid`, `gid`, `mode`, `device`, `xattrs` with values in base64). Files that
 * belong to root in the image are not listed when an ordinary user owns them: in that user's containers they belong to
 * root.
 */

import { asJson, asObject } from '../../base/check.js';
import { readRegular } from '../../base/regular-file.js';
import { ownMap } from '../../sys/procfs/own-id-map.js';
import { isMapped } from '../../sys/user-namespace/id-maps.js';
import { missingForRange } from '../../sys/user-namespace/subordinate-ids.js';
import { type ByteString, namedPath } from '../../tar/bytes.js';
import { costOf } from './limits.js';

/** What an entry should have and has not, since the kernel did not permit it. */
export interface Unset {
  uid?: number;
  gid?: number;
  mode?: number;
  /** A device node that was left out. */
  device?: { type: 'char' | 'block'; major: number; minor: number };
  /** By name, the value in base64. */
  xattrs?: Record<string, string>;
}

/** The bytes of memory that it takes to remember this, for `NamesBudget`. */
export function costOfUnset(path: ByteString, { xattrs = {} }: Unset): number {
  return costOf(path, Object.entries(xattrs));
}

/** The lines of the record, by path. A name that is not UTF-8 is there in base64 as well. */
export function* unsetLines(unset: Map<ByteString, Unset>): Generator<string> {
  for (const [path, what] of [...unset].sort(([a], [b]) => (a < b ? -1 : 1)))
    yield JSON.stringify({ ...namedPath(path || '.'), ...what });
}

/** Whether a record lists owners that this process could have set, as one with --map. */
export function lacksOwners(record: string): boolean {
  const [uids, gids] = [ownMap('uid'), ownMap('gid')];
  const lines = readRegular(record).toString().split('\n');
  return lines.some((line) => {
    const { uid, gid, device } = line === '' ? {} : asObject(asJson(line, record), record);
    const isOwner = typeof uid === 'number' && typeof gid === 'number' && device === undefined;
    return isOwner && isMapped(uids, uid) && isMapped(gids, gid);
  });
}

/**
 * One line for people; undefined when there is nothing to say. Root is not told of --map, as whom that runs as well: it
 * could set no more owners. Those that are missing are not told at all to an ordinary user without subordinate ids, who
 * can have no others, and knows that from tar.
 */
export function unsetSummary(unset: Map<ByteString, Unset>, record: string): string | undefined {
  const isRoot = process.geteuid!() === 0;
  const canHaveOwners = isRoot || missingForRange() === undefined;
  const byMap = isRoot ? '' : ' (--map --force sets them)';
  const all = [...unset.values()];
  const owners = canHaveOwners ? all.filter((it) => it.uid !== undefined && !it.device).length : 0;
  const parts: [count: number, what: string, more: string][] = [
    [owners, 'owner', byMap],
    [all.filter(({ device }) => device).length, 'device', ''],
    [all.filter(({ xattrs }) => xattrs).length, 'set', ' of extended attributes'],
  ];
  const counts = parts
    .filter(([count]) => count > 0)
    .map(([count, what, more]) => `${count} ${what}${count === 1 ? '' : 's'}${more}`);
  return counts.length === 0 ? undefined : `not permitted, so left out: ${counts.join(', ')}; ${record} lists them`;
}
