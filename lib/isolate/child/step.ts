/** A step of the plan: a system call of the container's first process, and why it is made. */
import type { Step, StepArgs } from '../../sys/native-code/step.js';
import type { Arg, Syscall } from '../../sys/syscalls/syscall.js';

export type Hint = string | ((code: string) => string | undefined);

export interface PlanStep extends Step {
  /** Why the call is made, in one plain sentence. */
  readonly why: string;
  /** A man page to read, when that is not the one of the call. */
  readonly man?: string | undefined;
  /** What to do when this step fails. A function gets the name of the errno, when the hint depends on it. */
  readonly hint?: Hint | undefined;
}

export interface StepOptions extends Pick<Step, 'saves' | 'onError' | 'next'> {
  /** The man page when it is not that of the call. */
  man?: string;
  hint?: Hint | undefined;
}

const none: StepOptions = {};

/** One step. In the place of an argument there may be a `Result` or a `Block`. */
export function step<A extends readonly Arg[]>(
  call: Syscall<A>,
  args: StepArgs<A>,
  why: string,
  options: StepOptions = none,
): PlanStep {
  // Field by field: spreading the options takes several times as long, and there are hundreds of steps.
  return {
    call,
    args,
    why,
    man: options.man,
    hint: options.hint,
    saves: options.saves,
    onError: options.onError,
    next: options.next,
  };
}

/** The man page for a step, such as `move_mount(2)`. */
export function manPageOf({ man, call }: PlanStep): string {
  return man ?? `${call.callName}(2)`;
}
