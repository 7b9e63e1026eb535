/** The child's side of the line between supervisor and child: sys/process/control.ts has the other. */

import { Block, compare, Result, returned } from '../../sys/native-code/step.js';
import type { ControlFds } from '../../sys/process/control.js';
import { close, read, recvfrom, write } from '../../sys/syscalls/calls.js';
import { MSG } from '../../sys/syscalls/constants.js';
import { EPIPE } from '../../sys/syscalls/errno.js';
import { type PlanStep, step } from './step.js';

/** The bit of a 32-bit result that tells an error: errors are negative. */
const signBit = 0x80000000;

/** The first step of the child. */
export function controlSteps({ supervisor }: ControlFds): PlanStep[] {
  return [
    step(
      close,
      [supervisor],
      "Two sockets connect this process and its supervisor. This copy of the supervisor's end would hide that it has died.",
      { man: 'unix(7)' },
    ),
  ];
}

/**
 * The child waits here until the supervisor calls `open`. An end of file instead means that the supervisor has died.
 */
export function gateSteps({ child }: ControlFds, why: string): PlanStep[] {
  const got = new Result('bytes');
  return [
    step(read, [child, new Block(new Uint8Array(1)), 1], why, { saves: got, man: 'unix(7)' }),
    step(compare, returned(got, 1, EPIPE), 'One byte is the go-ahead; none means that the supervisor has died.', {
      man: 'unix(7)',
    }),
  ];
}

/** Before a gate to which the supervisor has to be called. */
export function announceStep({ child }: ControlFds): PlanStep {
  return step(write, [child, new Block(new Uint8Array(1)), 1], 'The supervisor is told that all is ready.', {
    man: 'unix(7)',
  });
}

/** The child goes on only if the supervisor is alive at this moment. */
export function aliveSteps({ child }: ControlFds): PlanStep[] {
  const got = new Result('bytes');
  const alive = step(
    compare,
    [got.memory, signBit, signBit, EPIPE],
    'An error means that there is nothing to read: the supervisor is alive. An end of file means that it has died.',
    { man: 'unix(7)' },
  );
  const peek = [child, new Block(new Uint8Array(8)), 1, MSG.PEEK | MSG.DONTWAIT, null, null] as const;
  return [
    step(recvfrom, [...peek], 'The supervisor may have died before it could take the child along.', {
      saves: got,
      onError: alive,
    }),
    alive,
  ];
}
