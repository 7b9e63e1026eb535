/**
 * A program of system calls for a child process. The parent writes all of it down in advance, since the child can run
 * neither JavaScript nor malloc (machine-code.ts tells why). The child makes the calls one after the other, and leaves
 * each result in memory that the parent reads.
 */
import { once } from '../../base/once.js';
import { trace, tracing } from '../../base/trace.js';
import { callCode } from '../ffi/ffi.js';
import { Arena } from '../syscalls/arena.js';
import { exit_group, rt_sigprocmask } from '../syscalls/calls.js';
import { SIG, SIGCHLD } from '../syscalls/constants.js';
import { cString } from '../syscalls/kinds.js';
import { formatResult, isErrno, SyscallError, type SyscallInfo } from '../syscalls/syscall.js';
import { entryLayout, headerLayout, machineCode } from './machine-code.js';
import { mapCode } from './map-code.js';
import { Block, Result, type Step, type StepArg, showClone, showStep, stepOf } from './step.js';

/** The exit status of the child after a failed step. The parent looks at the results instead. */
const stoppedStatus = 125;
/** The result of a step that has not been reached. No system call returns it. */
const notRun = -(2 ** 63);

/** The places of the addresses in an entry that are not those of arguments. */
const otherPlaces = [entryLayout.out, entryLayout.next, entryLayout.nextOnError];

/** Bytes of an entry, rounded up so that the next one is aligned. */
const entrySize = (entryLayout.size + 15) & ~15;

const code = once(() => mapCode(machineCode()));

export class Program {
  private readonly arena: Arena;
  /** To look for each in an array would take minutes where an image has thousands of directories in its PATH. */
  private readonly indexes: ReadonlyMap<Step, number>;
  private readonly blocks = new Map<Block, number>();
  private readonly cells = new Map<Result | number | bigint, number>();
  /**
   * A view of the arena. Numbers are written in two halves, since a BigInt for each would take longer than the calls.
   */
  private readonly words: Int32Array;
  private readonly strings = new Map<string, number>();
  private readonly structures = new Map<Uint8Array, number>();
  /**
   * The address of the arena in two halves, the lower one as a signed number, and the offset from which on the upper
   * half is one more. V8 puts each number beyond 32 bits on the heap, and thousands of them cause a garbage collection.
   */
  private readonly lower: number;
  private readonly upper: number;
  private readonly carry: number;
  /** Scratch space for `write`: what belongs in `otherPlaces`, as offsets in the arena. */
  private readonly others: number[] = [0, 0, 0];
  /** The offset of the entries: one for each step, and a last one that ends the child. */
  private readonly first: number;
  private readonly scratch: number;
  private readonly header: number;
  private started = false;

  /** Compiles the steps, into a memory file when one is given. */
  constructor(
    readonly steps: readonly Step[],
    file?: number,
  ) {
    const { size, blocks } = survey(steps);
    this.indexes = new Map(steps.map((step, i) => [step, i]));
    this.arena = new Arena(size, file);
    this.words = new Int32Array(this.arena.bytes.buffer, this.arena.bytes.byteOffset, size / 4);
    this.lower = this.arena.address | 0;
    this.upper = Math.floor(this.arena.address / 2 ** 32);
    this.carry = 2 ** 32 - (this.lower >>> 0);
    this.header = this.arena.allocate(headerLayout.size);
    this.scratch = this.arena.allocate(8);
    this.first = this.arena.allocate(entrySize * (steps.length + 1));
    // Blocks come first, since a result that is a part of a block has its place there.
    for (const block of blocks) this.block(block);
    const end = steps.length;
    this.writeBlank(this.entry(end));
    steps.forEach((step, i) => {
      const { next, onError } = step;
      const afterError = typeof onError === 'object' ? this.index(onError) : onError === 'continue' ? i + 1 : end;
      this.write(i, step, next ? this.index(next) : i + 1, afterError);
    });
    this.write(end, stepOf(exit_group, [stoppedStatus]), end, end);
    // A filter may refuse even that. Nothing can be read at address 0, so the kernel ends the child there.
    this.put(this.entry(end) + entryLayout.next, 0);
    this.put(this.entry(end) + entryLayout.nextOnError, 0);
    this.put(this.header + headerLayout.first, this.address(this.first));
  }

  /**
   * Starts the child, which runs at once, and returns its pid. `flags` are those of clone(2): CLONE_NEW*, and
   * CLONE_VM|CLONE_VFORK for a child that soon executes something. Such a child uses the memory of this process, which
   * waits; that is safe since it touches neither stack nor heap, and saves copying the page tables. All signals are
   * blocked in the child, so that no handler of Node runs there. Its program unblocks them. Throws `SyscallError` of
   * clone. `why` is shown above it in the trace.
   */
  start(flags: number, why?: string): number {
    if (this.started) throw new Error('a program runs once');
    this.started = true;
    this.put(this.header + headerLayout.flags, (flags | SIGCHLD) >>> 0);
    const address = code();
    const old = Buffer.alloc(8);
    rt_sigprocmask(SIG.SETMASK, Buffer.alloc(8, 0xff), old, 8);
    const pid = callCode(address, this.arena.address + this.header);
    rt_sigprocmask(SIG.SETMASK, old, null, 8);
    if (why !== undefined) trace(`# ${why}`);
    if (tracing()) trace(`${showClone(flags)} = ${formatResult(pid)}`);
    if (isErrno(pid)) throw new SyscallError('clone', -pid, showClone(flags));
    return pid;
  }

  /** The address and size of the table, and the address of a step in it, for the stub (stub.ts). */
  location(step: Step): { address: number; size: number; entry: number } {
    return {
      address: this.arena.address,
      size: this.arena.bytes.length,
      entry: this.address(this.entry(this.index(step))),
    };
  }

  /** What a step returned, or undefined when it has not been reached (or, of execve, when it succeeded). */
  result(step: Step): number | undefined {
    return this.resultAt(this.index(step));
  }

  private resultAt(i: number): number | undefined {
    const value = this.get(this.entry(i) + entryLayout.result);
    return value === notRun ? undefined : value;
  }

  /** The step whose error ended the child, and errno. */
  failure(): { step: Step; error: SyscallError } | undefined {
    for (let i = 0; i < this.steps.length; i++) {
      const step = this.steps[i]!;
      const result = this.resultAt(i);
      if (result === undefined || !isErrno(result) || (step.onError ?? 'stop') !== 'stop') continue;
      return { step, error: new SyscallError(step.call.callName, -result, this.show(step)) };
    }
    return undefined;
  }

  /** The step after the last one that has ended: the one in which a child that was killed stopped. */
  unfinished(): Step | undefined {
    const last = this.steps.findLastIndex((_, i) => this.resultAt(i) !== undefined);
    return this.steps[last + 1];
  }

  /** A block as it is now, shared with the child. */
  memory(block: Block): Buffer {
    const at = this.block(block);
    return this.arena.bytes.subarray(at, at + block.content.length);
  }

  /** A step in the notation of strace, with numbers in the place of the results that are known by now. */
  show(step: Step): string {
    return showStep(step, (result) => {
      const at = this.cells.get(result);
      const saved = this.steps.find(({ saves }) => saves === result);
      return at !== undefined && saved && this.result(saved) !== undefined ? this.get(at) : undefined;
    });
  }

  /** Writes an entry whose arguments are all 0, for a step that has not been reached. */
  private writeBlank(at: number): void {
    const zero = this.address(this.cell(0));
    for (let j = 0; j < 6; j++) this.put(at + entryLayout.args + 8 * j, zero);
    this.put(at + entryLayout.result, notRun);
  }

  /**
   * Writes the entry of a step. This runs hundreds of times, and must end before V8 takes the trouble to optimize it:
   * that would cost a start more than it saves. So what is the same in all entries is copied from the last one, which
   * is blank until then; and there are loops, since small functions are optimized early.
   */
  private write(i: number, { args, call, saves }: Step, next: number, afterError: number): void {
    const at = this.entry(i);
    const words = this.words;
    const blank = this.entry(this.steps.length) / 4;
    words.copyWithin(at / 4, blank, blank + entrySize / 4);
    this.put(at + entryLayout.number, call.number);
    const lower = this.lower;
    const upper = this.upper;
    const carry = this.carry;
    const count = args.length;
    for (let j = 0, word = (at + entryLayout.args) >> 2; j < count; j++, word += 2) {
      const pointer = this.argument(call, j, args[j]!);
      words[word] = lower + pointer;
      words[word + 1] = pointer < carry ? upper : upper + 1;
    }
    const others = this.others;
    others[0] = saves ? this.cell(saves) : this.scratch;
    others[1] = this.entry(next);
    others[2] = this.entry(afterError);
    for (let j = 0; j < 3; j++) {
      const word = (at + otherPlaces[j]!) >> 2;
      const pointer = others[j]!;
      words[word] = lower + pointer;
      words[word + 1] = pointer < carry ? upper : upper + 1;
    }
  }

  /** The offset of the 8 bytes that hold an argument. */
  private argument(call: SyscallInfo, i: number, arg: StepArg): number {
    if (arg instanceof Result) return this.cell(arg);
    if (arg instanceof Block) return this.cell(this.address(this.block(arg)));
    if (typeof arg === 'string') return this.string(arg);
    const lowered = call.kinds[i]?.lower(arg) ?? arg;
    if (lowered === null) return this.cell(0);
    if (lowered instanceof Uint8Array) return this.contentAt(lowered);
    if (typeof lowered === 'string') throw new TypeError(`${call.callName}: argument ${i} cannot be a string`);
    return this.cell(lowered);
  }

  /** Many are the same: file system types, options, the empty path. */
  private string(text: string): number {
    let at = this.strings.get(text);
    if (at === undefined) {
      at = this.cell(this.address(this.bytes(cString(text))));
      this.strings.set(text, at);
    }
    return at;
  }

  /** The same structure may be the argument of many calls. */
  private contentAt(content: Uint8Array): number {
    let at = this.structures.get(content);
    if (at === undefined) {
      at = this.cell(this.address(this.bytes(content)));
      this.structures.set(content, at);
    }
    return at;
  }

  private cell(value: Result | number | bigint): number {
    let at = this.cells.get(value);
    if (at === undefined) {
      at = this.arena.allocate(8);
      this.cells.set(value, at);
      if (!(value instanceof Result)) this.put(at, value);
    }
    return at;
  }

  private block(block: Block): number {
    const known = this.blocks.get(block);
    if (known !== undefined) return known;
    const at = this.bytes(block.content);
    this.blocks.set(block, at);
    for (const { offset, value } of block.parts) {
      if (offset % 4 !== 0) throw new Error(`a part of a block at ${offset} is not aligned`);
      if (value instanceof Block) this.put(at + offset, this.address(this.block(value)));
      else if (this.cells.has(value)) throw new Error(`the result ${value.name} has two places`);
      else this.cells.set(value, at + offset);
    }
    return at;
  }

  private bytes(content: Uint8Array): number {
    const at = this.arena.allocate(content.length);
    this.arena.bytes.set(content, at);
    return at;
  }

  private entry(i: number): number {
    return this.first + entrySize * i;
  }

  private index(step: Step): number {
    const i = this.indexes.get(step);
    if (i === undefined) throw new Error(`${step.call.callName} is no step of this program`);
    return i;
  }

  private address(offset: number): number {
    return this.arena.address + offset;
  }

  private put(at: number, value: number | bigint): void {
    if (typeof value === 'bigint') {
      this.arena.bytes.writeBigInt64LE(BigInt.asIntN(64, value), at);
      return;
    }
    // Storing into an Int32Array keeps the low 32 bits.
    this.words[at >> 2] = value;
    this.words[(at >> 2) + 1] = value === (value | 0) ? value >> 31 : Math.floor(value / 2 ** 32);
  }

  private get(at: number): number {
    return this.words[at / 4 + 1]! * 2 ** 32 + (this.words[at / 4]! >>> 0);
  }
}

/**
 * The most bytes that a program takes, and the blocks in it. V8 counts the memory of the arena, so one that is too
 * large would cause a garbage collection. It has plain loops, since it runs once and is never compiled.
 */
function survey(steps: readonly Step[]): { size: number; blocks: Set<Block> } {
  const blocks = new Set<Block>();
  const sizeOf = (arg: StepArg): number => {
    if (typeof arg === 'string') return 3 * arg.length + cellSize;
    if (arg instanceof Uint8Array) return arg.length + cellSize;
    if (!(arg instanceof Block) || blocks.has(arg)) return 0;
    blocks.add(arg);
    return arg.parts.reduce((sum, { value }) => sum + sizeOf(value) + cellSize, arg.content.length + cellSize);
  };
  let size = 4096 + entrySize;
  for (let i = 0; i < steps.length; i++) {
    const { args } = steps[i]!;
    size += entrySize + cellSize * (args.length + 2);
    for (let j = 0; j < args.length; j++) {
      const arg = args[j] as StepArg;
      // Most are numbers.
      if (typeof arg === 'object') size += sizeOf(arg);
      else if (typeof arg === 'string') size += 3 * arg.length + cellSize;
    }
  }
  return { size: (size + 4095) & ~4095, blocks };
}

/** Bytes of an allocation of up to 8 bytes, and the most that rounding adds to a larger one. */
const cellSize = 16;
