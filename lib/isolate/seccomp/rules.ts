/**
 * The rules of a seccomp filter, and what they say of a call.
 *
 * Sources: `include/uapi/linux/seccomp.h`; Documentation/userspace-api/seccomp_filter.rst.
 */

/** SECCOMP_RET_*, `linux/seccomp.h`. */
export const RET = {
  KILL_PROCESS: 0x80000000,
  KILL_THREAD: 0,
  TRAP: 0x00030000,
  ERRNO: 0x00050000,
  TRACE: 0x7ff00000,
  USER_NOTIF: 0x7fc00000,
  LOG: 0x7ffc0000,
  ALLOW: 0x7fff0000,
} as const;

export const operators = ['NE', 'LT', 'LE', 'EQ', 'GE', 'GT', 'MASKED_EQ'] as const;
export type Operator = (typeof operators)[number];

/**
 * A condition on one argument, all bits that the architecture has. MASKED_EQ: `(argument & value) == (valueTwo &
 * value)`.
 */
export interface Comparison {
  /** 0 to 5. */
  index: number;
  op: Operator;
  value: bigint;
  valueTwo: bigint;
}

/** What happens when a call has this number and all comparisons hold. */
export interface Rule {
  number: number;
  /** What the filter returns: a SECCOMP_RET_* value with its data. */
  action: number;
  args: readonly Comparison[];
}

/** The rules for one of the machine's architectures. */
export interface Section {
  /** AUDIT_ARCH_* of `linux/audit.h`. */
  auditArch: number;
  /**
   * In any order, with one exception: of several rules for a number, one without comparisons wins over all others, else
   * the first whose comparisons hold. That is how libseccomp reads a profile.
   */
  rules: readonly Rule[];
  defaultAction: number;
  /** For the numbers above `highest` that have no rule: calls that are newer than the profile. */
  newerAction: number;
  highest: number;
}

/**
 * Whether an architecture has arguments of 32 bits, as libseccomp takes it. The kernel drops the high words of such a
 * call, but shows them to a filter: a program of 64 bits that makes the call may have anything in them.
 */
export function isNarrow({ auditArch }: Section): boolean {
  return (auditArch & audit64Bit) === 0;
}

/** __AUDIT_ARCH_64BIT, `linux/audit.h`. */
const audit64Bit = 0x80000000;

/** What a filter made of these sections returns for a call; undefined for an architecture without a section. */
export function verdictOf(sections: readonly Section[], call: Call): number | undefined {
  const section = sections.find(({ auditArch }) => auditArch === call.auditArch);
  if (!section) return undefined;
  const mine = section.rules.filter(({ number }) => number === call.number);
  const bits = isNarrow(section) ? 32 : 64;
  const rule =
    mine.find(({ args }) => args.length === 0) ?? mine.find(({ args }) => args.every((arg) => holds(arg, call, bits)));
  return rule?.action ?? (call.number > section.highest ? section.newerAction : section.defaultAction);
}

export interface Call {
  number: number;
  auditArch: number;
  /** All six, unsigned. */
  args: readonly bigint[];
}

function holds({ index, op: operator, ...full }: Comparison, { args }: Call, bits: number): boolean {
  const argument = BigInt.asUintN(bits, args[index]!);
  const value = BigInt.asUintN(bits, full.value);
  const valueTwo = BigInt.asUintN(bits, full.valueTwo);
  switch (operator) {
    case 'EQ':
      return argument === value;
    case 'NE':
      return argument !== value;
    case 'GT':
      return argument > value;
    case 'GE':
      return argument >= value;
    case 'LT':
      return argument < value;
    case 'LE':
      return argument <= value;
    case 'MASKED_EQ':
      return (argument & value) === (valueTwo & value);
  }
}
