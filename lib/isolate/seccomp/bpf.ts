/**
 * A compiler from seccomp rules to classic BPF, the language that seccomp(2) takes. One program serves every
 * architecture that the machine can run; each has a binary search over its system call numbers, and a chain of
 * comparisons where a rule looks at arguments.
 *
 * Sources: `include/uapi/linux/filter.h`, `bpf_common.h`, `seccomp.h`; Documentation/userspace-api/seccomp_filter.rst.
 */
import { Failure } from '../../base/failure.js';
import { Status } from '../../base/status.js';
import { ENOSYS } from '../../sys/syscalls/errno.js';
import { type Comparison, isNarrow, RET, type Rule, type Section } from './rules.js';

/** The kernel's limit, BPF_MAXINSNS. */
const capacity = 4096;
/** AUDIT_ARCH_X86_64 has a second numbering, x32, in the numbers from here on. */
export const x64Audit = 0xc000003e;
const x32Bit = 0x40000000;

/**
 * Offsets in `struct seccomp_data`; both architectures are little-endian, so the low word of an argument comes first.
 */
const data = { number: 0, arch: 4, args: 16 };

const op = { load: 0x20, and: 0x54, jump: 0x05, eq: 0x15, gt: 0x25, ge: 0x35, ret: 0x06 };

/** The position of an instruction: how many instructions there are from it to the end. */
type Label = number;

/**
 * Builds a program from its end to its start. BPF jumps only forwards, so whatever a jump leads to is there already,
 * and its distance is known when the jump is made.
 */
class Assembler {
  /** Two words an instruction, as `struct sock_filter` has them, filled from the end. */
  private readonly words = new Uint32Array(2 * capacity);
  private readonly returnLabels = new Map<number, Label>();
  private count = 0;

  get here(): Label {
    return this.count;
  }

  emit(code: number, k: number, yes = 0, no = 0): Label {
    const at = 2 * (capacity - ++this.count);
    if (at < 0) throw tooLarge();
    this.words[at] = code | (yes << 16) | (no << 24);
    this.words[at + 1] = k;
    return this.count;
  }

  /** An instruction that returns `action`: an existing one if a jump reaches it, otherwise a new one. */
  returns(action: number): Label {
    const known = this.returnLabels.get(action);
    if (known !== undefined && this.reaches(known)) return known;
    const label = this.emit(op.ret, action);
    this.returnLabels.set(action, label);
    return label;
  }

  /**
   * A conditional jump. It has 8 bits for each distance; a target further away is reached through a long jump after it.
   */
  branch(code: number, k: number, yes: Label, no: Label): Label {
    const nearNo = this.near(no);
    const nearYes = this.near(yes);
    return this.emit(code, k, this.here - nearYes, this.here - nearNo);
  }

  /** Makes the instructions that are emitted next continue at `label`. */
  goOn(label: Label): void {
    if (label !== this.here) this.emit(op.jump, this.here - label);
  }

  private near(label: Label): Label {
    return this.reaches(label) ? label : this.emit(op.jump, this.here - label);
  }

  /** One less than 8 bits hold, since the long jump of the other branch may still come in between. */
  private reaches(label: Label): boolean {
    return this.here - label <= 254;
  }

  /** The program as an array of `struct sock_filter`. */
  finish(): Buffer {
    const { buffer, byteLength } = this.words;
    return Buffer.from(buffer, byteLength - 8 * this.count);
  }
}

function tooLarge(): Failure {
  return new Failure(
    Status.data,
    'seccomp profile',
    `it needs more than the ${capacity} instructions that BPF may have`,
  );
}

/**
 * Compiles sections to the array of `struct sock_filter` that `struct sock_fprog` points to: 8 bytes an instruction.
 * A call of an architecture without a section kills the process. Throws `Failure` 65 when the rules need more
 * instructions than the kernel takes.
 */
export function compile(sections: readonly Section[]): Buffer {
  const out = new Assembler();
  let next = out.returns(RET.KILL_PROCESS);
  for (const section of sections.toReversed()) {
    const entry = compileSection(out, section);
    next = out.branch(op.eq, section.auditArch, entry, next);
  }
  out.emit(op.load, data.arch);
  return out.finish();
}

function compileSection(out: Assembler, section: Section): Label {
  const entry = search(out, rangesOf(section), isNarrow(section));
  // No profile has rules for the numbers of x32. The filter answers as a kernel without x32 would.
  if (section.auditArch === x64Audit) out.branch(op.ge, x32Bit, out.returns(RET.ERRNO | ENOSYS), entry);
  else out.goOn(entry);
  return out.emit(op.load, data.number);
}

/** Call numbers from `start` up to the next range: the first rule whose comparisons hold decides, else `otherwise`. */
interface Range {
  start: number;
  rules: readonly Rule[];
  otherwise: number;
}

/** All numbers in ascending ranges. Neighbours with the same outcome share a range, which keeps the search short. */
function rangesOf({ rules, defaultAction, newerAction, highest }: Section): Range[] {
  const byNumber = new Map<number, Rule[]>();
  for (const rule of rules) {
    const known = byNumber.get(rule.number);
    if (known) known.push(rule);
    else byNumber.set(rule.number, [rule]);
  }
  const starts = new Set([0, highest + 1, ...[...byNumber.keys()].flatMap((number) => [number, number + 1])]);
  const ranges: Range[] = [];
  let last: Range | undefined;
  for (const start of [...starts].sort((a, b) => a - b)) {
    const mine = byNumber.get(start) ?? none;
    const always =
      mine.length === 1 && mine[0]!.args.length === 0 ? mine[0] : mine.find(({ args }) => args.length === 0);
    const otherwise = always ? always.action : start > highest ? newerAction : defaultAction;
    const chain = always ? none : mine;
    if (last && last.rules.length + chain.length === 0 && last.otherwise === otherwise) continue;
    last = { start, rules: chain, otherwise };
    ranges.push(last);
  }
  return ranges;
}

const none: readonly Rule[] = [];

/** Binary search with the number in the accumulator. */
function search(out: Assembler, ranges: Range[], narrow: boolean, from = 0, to = ranges.length): Label {
  if (to - from === 1) return decide(out, ranges[from]!, narrow);
  const half = (from + to) >> 1;
  const above = search(out, ranges, narrow, half, to);
  const below = search(out, ranges, narrow, from, half);
  return out.branch(op.ge, ranges[half]!.start, above, below);
}

function decide(out: Assembler, { rules, otherwise }: Range, narrow: boolean): Label {
  let next = out.returns(otherwise);
  for (const { args, action } of rules.toReversed()) {
    let holds = out.returns(action);
    for (const arg of args.toReversed()) holds = compare(out, arg, narrow, holds, next);
    next = holds;
  }
  return next;
}

/** BPF compares 32 bits at a time: the high words decide, and where they are equal, or `narrow`, the low ones. */
function compare(out: Assembler, comparison: Comparison, narrow: boolean, yes: Label, no: Label): Label {
  const { index, op: operator, value, valueTwo } = comparison;
  const low = data.args + 8 * index;
  const high = low + 4;
  const [valueHigh, valueLow] = words(value);

  const equal = (yes: Label, no: Label) => {
    out.branch(op.eq, valueLow, yes, no);
    const lowWord = out.emit(op.load, low);
    if (narrow) return lowWord;
    out.branch(op.eq, valueHigh, lowWord, no);
    return out.emit(op.load, high);
  };
  const ordered = (code: number, yes: Label, no: Label) => {
    out.branch(code, valueLow, yes, no);
    const lowWord = out.emit(op.load, low);
    if (narrow) return lowWord;
    const notGreater = out.branch(op.eq, valueHigh, lowWord, no);
    out.branch(op.gt, valueHigh, yes, notGreater);
    return out.emit(op.load, high);
  };
  const masked = () => {
    const [wantHigh, wantLow] = words(value & valueTwo);
    out.branch(op.eq, wantLow, yes, no);
    out.emit(op.and, valueLow);
    const lowWord = out.emit(op.load, low);
    if (narrow || valueHigh === 0) return lowWord;
    out.branch(op.eq, wantHigh, lowWord, no);
    out.emit(op.and, valueHigh);
    return out.emit(op.load, high);
  };

  switch (operator) {
    case 'EQ':
      return equal(yes, no);
    case 'NE':
      return equal(no, yes);
    case 'GT':
      return ordered(op.gt, yes, no);
    case 'LE':
      return ordered(op.gt, no, yes);
    case 'GE':
      return ordered(op.ge, yes, no);
    case 'LT':
      return ordered(op.ge, no, yes);
    case 'MASKED_EQ':
      return masked();
  }
}

function words(value: bigint): [high: number, low: number] {
  return [Number(value >> 32n), Number(value & 0xffffffffn)];
}
