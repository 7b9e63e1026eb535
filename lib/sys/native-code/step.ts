/** The steps of a child's program (program.ts): system calls, with what only the child will know in their arguments. */
import { CLONE } from '../syscalls/constants.js';
import { cString, flags, hex, int, memory } from '../syscalls/kinds.js';
import { type Arg, type Syscall, type SyscallInfo, syscall } from '../syscalls/syscall.js';
import { compareNumber } from './machine-code.js';

/** A number that is known only in the child: the result of one of its calls, usually a file descriptor. */
export class Result {
  private block: Block | undefined;

  constructor(
    /** Shown in a dry run in the place of the number. */
    readonly name: string,
  ) {}

  /** Where the child finds it, for `compare`. */
  get memory(): Block {
    this.block ??= new Block(new Uint8Array(8), [{ offset: 0, value: this }]);
    return this.block;
  }
}

/**
 * Memory that the kernel reads or fills in the child. `parts` of it, 8 bytes each at a multiple of 4, are the addresses
 * of other blocks, or the results of earlier calls.
 */
export class Block {
  constructor(
    readonly content: Uint8Array,
    readonly parts: readonly { offset: number; value: Block | Result }[] = [],
  ) {}
}

export type StepArg = Arg | Result | Block;

/** The arguments of a call. In the place of each there may be what only the child will know. */
export type StepArgs<A extends readonly Arg[]> = { [I in keyof A]: A[I] | Result | Block };

/** One system call of the child. */
export interface Step {
  readonly call: SyscallInfo;
  readonly args: readonly StepArg[];
  /** Receives the result. */
  readonly saves?: Result | undefined;
  /**
   * Where to go on after an error: the child ends (the default), the next step, or the given one.
   */
  readonly onError?: 'stop' | 'continue' | Step | undefined;
  /** Where to go on after success; the next step when absent. */
  readonly next?: Step | undefined;
}

/** A step whose arguments are those of the call. `flow`: what it saves, and where to go on. */
export function stepOf<A extends readonly Arg[]>(
  call: Syscall<A>,
  args: StepArgs<A>,
  flow: Omit<Step, 'call' | 'args'> = {},
): Step {
  return { call, args, ...flow };
}

/** `(*address & mask) == expected`, or the errno given: how the child checks what a call has put into memory. */
export const compare = syscall('compare', [compareNumber, compareNumber], memory, hex, hex, int);

/** The arguments with which `compare` asks whether a call has returned `value`. All such values are ints of 32 bits. */
export function returned(result: Result, value: number | Result, otherwise: number) {
  return [result.memory, 0xffffffff, typeof value === 'number' ? value >>> 0 : value, otherwise] as const;
}

const cloneFlags = flags(['CLONE_', CLONE]);

/** The clone(2) of `Program.start`, in the notation of strace. */
export function showClone(flags: number): string {
  return `clone(${cloneFlags.show(flags)}|SIGCHLD)`;
}

/** A step in the notation of strace. Results that `value` does not know yet are shown by name. */
export function showStep(step: Step, value: (result: Result) => number | undefined = () => undefined): string {
  const shown = step.args.map((arg, i) => {
    const kind = step.call.kinds[i];
    if (arg instanceof Result) {
      const known = value(arg);
      return known === undefined ? `<${arg.name}>` : (kind?.show(known) ?? String(known));
    }
    if (arg instanceof Block) return `[${arg.content.length} bytes]`;
    return kind?.show(arg) ?? String(arg);
  });
  return `${step.call.callName}(${shown.join(', ')})`;
}

/** A null-terminated array of pointers to strings: argv and envp of execve(2). */
export function pointerArray(strings: readonly (string | Uint8Array)[]): Block {
  return new Block(
    new Uint8Array(8 * (strings.length + 1)),
    strings.map((text, i) => ({ offset: 8 * i, value: new Block(cString(text)) })),
  );
}
