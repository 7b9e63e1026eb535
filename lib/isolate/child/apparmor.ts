/** The AppArmor profile of the command, if one is asked for: it holds from the next execve(2) on. */
import type { Result } from '../../sys/native-code/step.js';
import { kernelFileSteps } from './kernel-file.js';
import type { PlanStep } from './step.js';

const notThere =
  'AppArmor is not on in this kernel: it takes apparmor=1 security=apparmor on the command line of the boot';
const notLoaded =
  'no such profile is loaded: sudo aa-status lists those that are, and sudo apparmor_parser -r FILE loads one';
const hints: Record<string, string> = {
  ENOENT: notLoaded,
  EINVAL: notThere,
  EACCES: 'the profile of this process has to permit it: "change_profile," in it does',
};

/** The first process of a PID namespace, which is the one that makes these steps. */
const own = '1/attr/apparmor/exec';
const man = 'aa_change_onexec(2)';

/**
 * `proc` is one that the plan has mounted itself: what an image or a volume shows as /proc could take the request and do
 * nothing (CVE-2025-52881). No step between these and the command executes another program.
 */
export function appArmorSteps(proc: Result, profile: string): PlanStep[] {
  return kernelFileSteps(proc, {
    name: 'AppArmor',
    path: own,
    value: `exec ${profile}`,
    whyOpen: 'Where a process says under which profile the next program starts.',
    why: 'The profile confines the command and all that it starts.',
    ofOpen: { man, hint: notThere },
    ofWrite: { man, hint: (code) => hints[code] },
  });
}
