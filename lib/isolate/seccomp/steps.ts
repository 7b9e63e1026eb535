/** The steps that install a filter: seccomp(2). */

import { Block } from '../../sys/native-code/step.js';
import type { ControlFds } from '../../sys/process/control.js';
import { seccomp } from '../../sys/syscalls/calls.js';
import { SECCOMP } from '../../sys/syscalls/constants.js';
import { gateSteps } from '../child/gates.js';
import { type PlanStep, step } from '../child/step.js';
import type { Filter } from './filter.js';

/** struct sock_fprog: the number of instructions in 16 bits, and at offset 8 where they are. */
export function filterStep({ program, flags }: Filter, reporting: boolean): PlanStep {
  const header = Buffer.alloc(16);
  header.writeUInt16LE(program.length / 8, 0);
  return step(
    seccomp,
    [
      SECCOMP.SET_MODE_FILTER,
      flags | (reporting ? SECCOMP.FILTER_FLAG_NEW_LISTENER : 0),
      new Block(header, [{ offset: 8, value: new Block(program) }]),
    ],
    'System calls that a container has no need of are refused from here on. Without no_new_privs only an administrator may ask for that, so it comes before the ids change.',
  );
}

/** The supervisor takes its own copy of the descriptor; that of the child is gone with execve(2). */
export function reportingSteps(control: ControlFds): PlanStep[] {
  return gateSteps(control, 'From here on the supervisor is asked about each refusal, so it must be there first.');
}
