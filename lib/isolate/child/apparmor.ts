/** The AppArmor profile of the command, if one is asked for: it holds from the next execve(2) on. */
import { Block, Result } from '../../sys/native-code/step.js';
import { close, openat2, openHow, write } from '../../sys/syscalls/calls.js';
import { O, RESOLVE } from '../../sys/syscalls/constants.js';
import { type PlanStep, step } from './step.js';

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
  const fd = new Result('AppArmor');
  const bytes = Buffer.from(`exec ${profile}`);
  const how = openHow(O.WRONLY | O.CLOEXEC, RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS);
  return [
    step(openat2, [proc, own, how, 24], 'Where a process says under which profile the next program starts.', {
      saves: fd,
      man,
      hint: notThere,
    }),
    step(write, [fd, new Block(bytes), bytes.length], 'The profile confines the command and all that it starts.', {
      man,
      hint: (code) => hints[code],
    }),
    step(close, [fd], 'It is said.'),
  ];
}
