/** The change from root to the user that the command runs as: credentials(7). */
import { setgroups, setresgid, setresuid } from '../../sys/syscalls/calls.js';
import type { IdMaps } from '../../sys/user-namespace/id-map.js';
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
  const hint = absentHint(options);
  return [
    ...groupSteps(options, hint),
    step(setresgid, [gid, gid, gid], 'Real, effective and saved: none is left to go back to.', { hint }),
    step(setresuid, [uid, uid, uid], 'The user last, since it takes along the power to change the rest.', { hint }),
  ];
}

/** For an id that is not in the user namespace, which may be one around this process. */
function absentHint(options: IdentityOptions): Hint {
  return (code) =>
    code === 'EINVAL' ? `the user namespace has no such id: -u 0 is the caller, and ${othersOf(options)}` : undefined;
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

function groupSteps({ identity: { groups }, maps, setsGroups }: IdentityOptions, hint: Hint): PlanStep[] {
  if (setsGroups) {
    const why = "The caller's groups go; those that the image gives the user come.";
    return [step(setgroups, [groups.length, listOf(groups)], why, { hint })];
  }
  if (!isOfRoot(maps)) return [];
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
