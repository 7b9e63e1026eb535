/** The change from root to the user that the command runs as: credentials(7). */
import { type IdKind, ownMap } from '../../sys/procfs/own-id-map.js';
import { setgroups, setresgid, setresuid } from '../../sys/syscalls/calls.js';
import { type IdMaps, isMapped } from '../../sys/user-namespace/id-maps.js';
import { missingForRange } from '../../sys/user-namespace/subordinate-ids.js';
import { type Hint, type PlanStep, step } from '../child/step.js';
import type { Identity } from './identity.js';
import { isOfRoot } from './userns.js';

interface IdentityOptions {
  identity: Identity;
  /** Of the container's own user namespace. */
  maps: IdMaps | undefined;
  setsGroups: boolean;
}

export function identitySteps(options: IdentityOptions): PlanStep[] {
  const { uid, gid } = options.identity;
  return [
    ...groupSteps(options),
    step(setresgid, [gid, gid, gid], 'Real, effective and saved: none is left to go back to.', {
      hint: absentHint(options, 'gid', [gid]),
    }),
    step(setresuid, [uid, uid, uid], 'The user last, since it takes along the power to change the rest.', {
      hint: absentHint(options, 'uid', [uid]),
    }),
  ];
}

/** For ids that are not in the user namespace, which may be one around this process. */
function absentHint(options: IdentityOptions, kind: IdKind, ids: readonly number[]): Hint {
  return (code) => {
    if (code !== 'EINVAL') return undefined;
    const map = options.maps?.[kind] ?? ownMap(kind);
    const absent = ids.filter((id) => !isMapped(map, id)).join(' and ');
    const name = kind === 'uid' ? 'user' : 'group';
    return `the user namespace has no ${name} ${absent}: -u 0 is the caller, and ${othersOf(options)}`;
  };
}

/** Which other ids there are, or how to get them. */
function othersOf({ maps, setsGroups }: IdentityOptions): string {
  // The ids of a namespace around this process, which root has without a map or with one of the same ids.
  if (!maps || (setsGroups && isOfRoot(maps) && maps.uid.every(([inside, outside]) => inside === outside)))
    return 'it has those of /proc/self/uid_map and gid_map';
  const granted = 'it has those of /etc/subuid and /etc/subgid';
  if (setsGroups) return granted;
  const missing = missingForRange();
  return missing ? `${missing.why}: ${missing.hint}` : `with --userns range ${granted}`;
}

function groupSteps(options: IdentityOptions): PlanStep[] {
  const { groups } = options.identity;
  if (options.setsGroups) {
    const hint = absentHint(options, 'gid', groups);
    const why = "The caller's groups go; those that the image gives the user come.";
    return [step(setgroups, [groups.length, listOf(groups)], why, { hint })];
  }
  if (!isOfRoot(options.maps)) return [];
  const why = "The caller's groups go; the user namespace has a name for none but the first.";
  // It fails when root itself is in a user namespace that does not permit it. Then the groups stay.
  return [step(setgroups, [1, listOf([0])], why, { onError: 'continue' })];
}

function listOf(groups: readonly number[]): Buffer {
  const list = Buffer.alloc(4 * groups.length);
  groups.forEach((group, i) => {
    list.writeUInt32LE(group, 4 * i);
  });
  return list;
}
