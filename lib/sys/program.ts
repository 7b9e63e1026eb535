/**
 * A program of system calls for a child process. The parent writes it down in full, since the child can run neither
 * JavaScript nor malloc (machine-code.ts has the reasons); the child makes the calls, one after the other, and leaves
 * each result where the parent reads it.
 */
import { trace, tracing } from '../pipe/trace.js';
import { exit_group, rt_sigprocmask } from './calls.js';
import { CLONE, SIG } from './constants.js';
import { callCode } from './ffi.js';
import { cString, flags, hex, int, memory } from './kinds.js';
import { compareNumber, entryLayout, headerLayout, machineCode } from './machine-code.js';
import { Arena, mapCode } from './memory.js';
import { type Arg, formatResult, isErrno, type Syscall, SyscallError, syscall } from './syscall.js';

/** A number that only the child will know, the result of one of its calls: a file descriptor, mostly. */
export class Result {
  constructor(
    /** What a dry run shows in place of the number. */
    readonly name: string,
  ) {}
}

/**
 * Memory that the kernel is to read or fill in the child. `parts` are written into it before the start: the address of
 * another block, or the result of an earlier call, 8 bytes each at a multiple of 4.
 */
export class Block {
  constructor(
    readonly content: Uint8Array,
    readonly parts: readonly { offset: number; value: Block | Result }[] = [],
  ) {}
}

export type StepArg = Arg | Result | Block;

/** One system call of the child. */
export interface Step {
  readonly call: Syscall;
  readonly args: readonly StepArg[];
  /** Takes the result. */
  readonly saves?: Result | undefined;
  /**
   * What an error leads to: the end of the child (the default), the next step, or the step given, which comes later.
   */
  readonly onError?: 'stop' | 'continue' | Step | undefined;
  /** Where to go on after success; the next step when absent. */
  readonly next?: Step | undefined;
}

/** `(*address & mask) == expected`, or the errno given: how the child checks what a call has put into memory. */
export const compare: Syscall = Object.assign(
  syscall('compare', { x64: compareNumber, arm64: compareNumber }, memory, hex, hex, int),
) as unknown as Syscall;

/** What the child ends with when a step failed; the parent looks at the results, not at this. */
const stoppedStatus = 125;
/** The result of a step that has not been reached. No system call returns it. */
const notRun = -(2 ** 63);
/** Its upper half; the lower one is 0. */
const notRunUpper = -(2 ** 31);
/** The addresses in an entry: six arguments, the place for the result, the entry to go on at, the same after an error. */
const pointerPlaces = [
  ...Array.from({ length: 6 }, (_, i) => entryLayout.args + 8 * i),
  entryLayout.out,
  entryLayout.next,
  entryLayout.nextOnError,
];

let code: number | undefined;

export class Program {
  readonly #arena: Arena;
  readonly #entries = new Map<Step, number>();
  readonly #blocks = new Map<Block, number>();
  readonly #cells = new Map<Result | number | bigint, number>();
  /** The arena once more: numbers are written by halves, since a BigInt for each would take longer than the calls. */
  readonly #words: Int32Array;
  readonly #strings = new Map<string, number>();
  /** Where the nine addresses of the entry that is being written lead. */
  readonly #pointers: number[] = [0, 0, 0, 0, 0, 0, 0, 0, 0];
  readonly #zero: number;
  readonly #scratch: number;
  readonly #header: number;
  #started = false;

  /** Compiles the steps, into a memory file when one is given. */
  constructor(
    readonly steps: readonly Step[],
    file?: number,
  ) {
    const size = sizeOf(steps);
    this.#arena = new Arena(size, file);
    this.#words = new Int32Array(this.#arena.bytes.buffer, this.#arena.bytes.byteOffset, size / 4);
    this.#header = this.#arena.allocate(headerLayout.size);
    this.#scratch = this.#arena.allocate(8);
    this.#zero = this.#cell(0);
    for (const step of steps) this.#entries.set(step, this.#arena.allocate(entryLayout.size));
    const stop: Step = { call: exit_group as unknown as Syscall, args: [stoppedStatus] };
    this.#entries.set(stop, this.#arena.allocate(entryLayout.size));
    // Blocks first: a result that lives inside a block has its place there.
    for (const step of steps) for (const arg of step.args) if (arg instanceof Block) this.#block(arg);
    steps.forEach((step, i) => {
      const next = steps[i + 1] ?? stop;
      this.#write(
        step,
        step.next ?? next,
        typeof step.onError === 'object' ? step.onError : step.onError === 'continue' ? next : stop,
      );
    });
    this.#write(stop, stop, stop);
    this.#put(this.#header + headerLayout.first, this.#address(this.#entry(steps[0] ?? stop)));
  }

  /**
   * Starts the child in new namespaces and returns its pid (and lets it run at once). `namespaces` are CLONE_NEW* flags.
   * The child starts with all signals blocked, so that no handler of Node's runs there: its program unblocks them.
   * Throws `SyscallError` of clone.
   */
  start(namespaces: number): number {
    if (this.#started) throw new Error('a program runs once');
    this.#started = true;
    code ??= mapCode(machineCode());
    const SIGCHLD = 17;
    this.#put(this.#header + headerLayout.flags, (namespaces | SIGCHLD) >>> 0);
    const old = Buffer.alloc(8);
    rt_sigprocmask(SIG.SETMASK, Buffer.alloc(8, 0xff), old, 8);
    const pid = callCode(code, this.#arena.address + this.#header);
    rt_sigprocmask(SIG.SETMASK, old, null, 8);
    const call = () => `clone(${cloneFlags.show(namespaces)}|SIGCHLD)`;
    if (tracing()) trace(`${call()} = ${formatResult(pid)}`);
    if (isErrno(pid)) throw new SyscallError('clone', -pid, call());
    return pid;
  }

  /** Where the table lies, and the address of a step in it: what an image has to know (image.ts). */
  location(step: Step): { address: number; size: number; entry: number } {
    return { address: this.#arena.address, size: this.#arena.bytes.length, entry: this.#address(this.#entry(step)) };
  }

  /** What a step returned, or undefined when it has not been reached (or, of execve, when it succeeded). */
  result(step: Step): number | undefined {
    const value = this.#get(this.#entry(step) + entryLayout.result);
    return value === notRun ? undefined : value;
  }

  /** The step whose error ended the child, and errno. */
  failure(): { step: Step; error: SyscallError } | undefined {
    for (const step of this.steps) {
      const result = this.result(step);
      if (result === undefined || !isErrno(result) || (step.onError ?? 'stop') !== 'stop') continue;
      return { step, error: new SyscallError(step.call.callName, -result, this.show(step)) };
    }
    return undefined;
  }

  /** A block as it is now, shared with the child. */
  memory(block: Block): Buffer {
    const at = this.#block(block);
    return this.#arena.bytes.subarray(at, at + block.content.length);
  }

  /** A step in the notation of strace, with numbers in the place of the results that are known by now. */
  show(step: Step): string {
    return showStep(step, (result) => {
      const at = this.#cells.get(result);
      const saved = this.steps.find(({ saves }) => saves === result);
      return at !== undefined && saved && this.result(saved) !== undefined ? this.#get(at) : undefined;
    });
  }

  /** One loop without further calls, since each would be made thousands of times before V8 has compiled it. */
  #write(step: Step, next: Step, nextOnError: Step): void {
    const { args, call, saves } = step;
    const at = this.#entry(step);
    this.#put(at + entryLayout.number, call.number);
    this.#words[(at + entryLayout.result) / 4 + 1] = notRunUpper;
    const pointers = this.#pointers;
    for (let i = 0; i < 6; i++) pointers[i] = i < args.length ? this.#argument(call, i, args[i]!) : this.#zero;
    pointers[6] = saves ? this.#cell(saves) : this.#scratch;
    pointers[7] = this.#entry(next);
    pointers[8] = this.#entry(nextOnError);
    const words = this.#words;
    const lower = this.#arena.address % 2 ** 32;
    const upper = (this.#arena.address - lower) / 2 ** 32;
    for (let i = 0; i < 9; i++) {
      const word = (at + pointerPlaces[i]!) >> 2;
      const address = lower + pointers[i]!;
      words[word] = address;
      words[word + 1] = address < 2 ** 32 ? upper : upper + 1;
    }
  }

  /** The offset of the 8 bytes that hold an argument. */
  #argument(call: Syscall, i: number, arg: StepArg): number {
    if (arg instanceof Result) return this.#cell(arg);
    if (arg instanceof Block) return this.#cell(this.#address(this.#block(arg)));
    if (typeof arg === 'string') return this.#string(arg);
    const lowered = call.kinds[i]?.lower(arg) ?? arg;
    if (lowered === null) return this.#cell(0);
    if (lowered instanceof Uint8Array) return this.#cell(this.#address(this.#bytes(lowered)));
    if (typeof lowered === 'string') throw new TypeError(`${call.callName}: argument ${i} cannot be a string`);
    return this.#cell(lowered);
  }

  /** Many are the same: file system types, options, the empty path. */
  #string(text: string): number {
    let at = this.#strings.get(text);
    if (at === undefined) {
      at = this.#cell(this.#address(this.#bytes(cString(text))));
      this.#strings.set(text, at);
    }
    return at;
  }

  #cell(value: Result | number | bigint): number {
    let at = this.#cells.get(value);
    if (at === undefined) {
      at = this.#arena.allocate(8);
      this.#cells.set(value, at);
      if (!(value instanceof Result)) this.#put(at, value);
    }
    return at;
  }

  #block(block: Block): number {
    const known = this.#blocks.get(block);
    if (known !== undefined) return known;
    const at = this.#bytes(block.content);
    this.#blocks.set(block, at);
    for (const { offset, value } of block.parts) {
      if (offset % 4 !== 0) throw new Error(`a part of a block at ${offset} is not aligned`);
      if (value instanceof Block) this.#put(at + offset, this.#address(this.#block(value)));
      else if (this.#cells.has(value)) throw new Error(`the result ${value.name} has two places`);
      else this.#cells.set(value, at + offset);
    }
    return at;
  }

  #bytes(content: Uint8Array): number {
    const at = this.#arena.allocate(content.length);
    this.#arena.bytes.set(content, at);
    return at;
  }

  #entry(step: Step): number {
    const at = this.#entries.get(step);
    if (at === undefined) throw new Error(`${step.call.callName} is no step of this program`);
    return at;
  }

  #address(offset: number): number {
    return this.#arena.address + offset;
  }

  #put(at: number, value: number | bigint): void {
    if (typeof value === 'bigint') {
      this.#arena.bytes.writeBigInt64LE(BigInt.asIntN(64, value), at);
      return;
    }
    // Storing into an Int32Array keeps the low 32 bits.
    this.#words[at / 4] = value;
    this.#words[at / 4 + 1] = Math.floor(value / 2 ** 32);
  }

  #get(at: number): number {
    return this.#words[at / 4 + 1]! * 2 ** 32 + (this.#words[at / 4]! >>> 0);
  }
}

/**
 * Bytes that a program takes at most. V8 counts what an arena has as a burden of its own: one that is too large costs a
 * garbage collection.
 */
function sizeOf(steps: readonly Step[]): number {
  const seen = new Set<Block>();
  const sizeOfArg = (arg: StepArg): number => {
    if (typeof arg === 'string') return 3 * arg.length + cellSize;
    if (arg instanceof Uint8Array) return arg.length + cellSize;
    if (!(arg instanceof Block) || seen.has(arg)) return 0;
    seen.add(arg);
    return arg.parts.reduce((sum, { value }) => sum + sizeOfArg(value) + cellSize, arg.content.length + cellSize);
  };
  let size = 4096;
  for (const { args } of steps) {
    size += entryLayout.size + cellSize * (args.length + 2);
    for (const arg of args) size += sizeOfArg(arg);
  }
  return (size + 4095) & ~4095;
}

/** What an allocation of up to 8 bytes takes, and the most that rounding adds to a larger one. */
const cellSize = 16;

const cloneFlags = flags(['CLONE_', CLONE]);

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

/** A NUL-terminated string. */
export function stringBlock(text: string | Uint8Array): Block {
  return new Block(cString(text));
}

/** A null-terminated array of pointers to strings: argv and envp of execve(2). */
export function pointerArray(strings: readonly (string | Uint8Array)[]): Block {
  return new Block(
    new Uint8Array(8 * (strings.length + 1)),
    strings.map((text, i) => ({ offset: 8 * i, value: stringBlock(text) })),
  );
}
