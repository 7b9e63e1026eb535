/** A step of the plan: a system call of the container's first process, and why it is made. */
import type { Block, Result, Step, StepArg } from '../sys/program.js';
import type { Arg, Syscall } from '../sys/syscall.js';

export type Hint = string | ((code: string) => string);

export interface PlanStep extends Step {
  /** The kernel's reason for it, one plain sentence. */
  readonly why: string;
  /** Where to read on, when it is not the man page of the call. */
  readonly man: string | undefined;
  /** What an error of this step means in practice and what to do about it; by its errno name where that decides. */
  readonly hint?: Hint | undefined;
}

export interface StepOptions extends Pick<Step, 'saves' | 'onError' | 'next'> {
  /** The man page when it is not that of the call. */
  man?: string;
  hint?: Hint;
}

type Given<A extends readonly Arg[]> = { [I in keyof A]: A[I] | Result | Block };

const none: StepOptions = {};

/** One step. The arguments are those of the call, or what only the child will know. */
export function step<A extends readonly Arg[]>(
  call: Syscall<A>,
  args: Given<A>,
  why: string,
  options: StepOptions = none,
): PlanStep {
  // Field by field: spreading the options takes several times as long, and there are hundreds of steps.
  return {
    call: call as unknown as Syscall,
    args: args as readonly StepArg[],
    why,
    man: options.man,
    hint: options.hint,
    saves: options.saves,
    onError: options.onError,
    next: options.next,
  };
}

/** Where to read on about a step: a man page, as `move_mount(2)`. */
export function manPageOf({ man, call }: PlanStep): string {
  return man ?? `${call.callName}(2)`;
}
