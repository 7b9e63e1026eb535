/** The seccomp filter of a container: a profile, compiled for its capabilities, this machine and this kernel. */
import { compile, x64Audit } from './bpf.js';
import { defaultProfile } from './default-profile.js';
import { type Entry, entriesFor, newerAction, type Profile, parseProfile, type Target } from './profile.js';
import type { Comparison, Rule, Section } from './rules.js';
import { firstPrivate, type SyscallArch, syscallNumbers } from './syscall-numbers.js';

/** AUDIT_ARCH_* of `linux/audit.h`. */
export const auditArch: Record<SyscallArch, number> = {
  x64: x64Audit,
  arm64: 0xc00000b7,
  x86: 0x40000003,
  arm: 0x40000028,
};

/** `default`, or a profile file's text with its name for messages. */
export type ProfileSource = 'default' | { name: string; text: string };

/** What seccomp(2) is to be given. */
export interface Filter {
  /** The array of `struct sock_filter`, 8 bytes an instruction. */
  program: Buffer;
  /** SECCOMP_FILTER_FLAG_*. */
  flags: number;
}

/** The rules behind a filter, a section for each architecture whose programs may run. */
interface Rules {
  sections: Section[];
  flags: number;
}

/** Throws `Failure` 65 for a profile that is wrong or too large. */
export function seccompFilter(source: ProfileSource, target: Target): Filter {
  const { sections, flags } = seccompRules(source, target);
  return { program: compile(sections), flags };
}

/** The same rules before they are compiled. Throws `Failure` 65 for a profile that is wrong. */
export function seccompRules(source: ProfileSource, target: Target): Rules {
  const profile = source === 'default' ? defaultProfile : parseProfile(source.text, source.name, target.arch);
  const entries = entriesFor(profile, target);
  const sections = architectures(profile, target).map((arch) => section(profile, entries, arch));
  return { sections, flags: profile.flags };
}

/** Whose programs, of 32 bits, the processor and the kernel may run beside their own. */
const narrow = { x64: ['SCMP_ARCH_X86', 'x86'], arm64: ['SCMP_ARCH_ARM', 'arm'] } as const;

/** The machine's own architecture, and the one of 32 bits when the profile names it. */
function architectures(profile: Profile, { arch }: Target): SyscallArch[] {
  const [name, beside] = narrow[arch];
  return profile.architectures.includes(name) ? [arch, beside] : [arch];
}

function section(profile: Profile, entries: Entry[], arch: SyscallArch): Section {
  const numbers = syscallNumbers(arch);
  const rules: Rule[] = [];
  // Also of those that are refused by name: whoever wrote the profile knew them.
  let highest = -1;
  for (const { names, action, args = [] } of entries) {
    for (const name of names) {
      const number = numbers.get(name);
      // A name that this architecture does not have is no call that could be made.
      if (number === undefined) continue;
      if (number < firstPrivate) highest = Math.max(highest, number);
      if (action === profile.defaultAction) continue;
      for (const alternative of alternatives(args)) rules.push({ number, action, args: alternative });
    }
  }
  const { defaultAction } = profile;
  // As in runc: a profile without a call does not say how old it is, so that none is newer.
  const newer = highest < 0 ? defaultAction : newerAction(profile);
  return { auditArch: auditArch[arch], rules, defaultAction, newerAction: newer, highest };
}

/**
 * All conditions must hold, except when two are on the same argument: then one of all is enough, as in docker's
 * runtimes.
 */
function alternatives(args: readonly Comparison[]): (readonly Comparison[])[] {
  const distinct = new Set(args.map(({ index }) => index)).size === args.length;
  return distinct ? [args] : args.map((arg) => [arg]);
}
