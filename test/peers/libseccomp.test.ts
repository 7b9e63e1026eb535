import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { compile } from '../../lib/isolate/seccomp/bpf.js';
import { type ProfileSource, seccompRules } from '../../lib/isolate/seccomp/filter.js';
import type { Target } from '../../lib/isolate/seccomp/profile.js';
import {
  type Comparison,
  operators,
  RET,
  type Rule,
  type Section,
  verdictOf,
} from '../../lib/isolate/seccomp/rules.js';
import { checkFilter, verdict } from '../support/bpf.js';
import { needsLibseccomp, referenceFilter } from '../support/libseccomp.js';
import { Random } from '../support/random.js';

const skip = needsLibseccomp;
const podmanProfile = '/usr/share/containers/seccomp.json';
const numbersTried = 520;
/** `MD_TEST_PROFILES=60` compares more. */
const randomProfiles = Number(process.env.MD_TEST_PROFILES ?? 10);

/** Arguments that are likely to matter: what the rules compare with, its neighbours, single bits, and anything. */
function arguments_(rules: readonly Rule[], random: Random): bigint[] {
  const compared = rules.flatMap(({ args }) => args.flatMap(({ value, valueTwo }) => [value, valueTwo]));
  return Array.from({ length: 6 }, () => {
    const base = compared.length > 0 ? random.pick(compared) : 0n;
    const choices = [
      base,
      base + 1n,
      base - 1n,
      base | (1n << 32n),
      1n << BigInt(random.below(64)),
      BigInt(random.below(2 ** 32)),
    ];
    return BigInt.asUintN(64, random.pick(choices));
  });
}

/** Compares the verdicts of both programs for every number, each with several arguments. */
function sameVerdicts(section: Section, seed: number, tries: number): void {
  const { filter, auditArch: arch, refused } = referenceFilter(section.defaultAction, section.rules);
  assert.deepEqual(refused, []);
  const ours = compile([{ ...section, auditArch: arch }]);
  checkFilter(ours);
  const random = new Random(seed);
  for (let number = 0; number < numbersTried; number++) {
    const rules = section.rules.filter((rule) => rule.number === number);
    for (let i = 0; i < (rules.length > 0 ? tries : 1); i++) {
      const call = { number, arch, args: arguments_(rules, random) };
      const expected = number > section.highest ? section.newerAction : verdict(filter, call);
      const told = `${number} (${call.args.map((arg) => `0x${arg.toString(16)}`).join(', ')})`;
      assert.equal(verdict(ours, call).toString(16), (expected >>> 0).toString(16), told);
      const byRules = verdictOf([{ ...section, auditArch: arch }], { ...call, auditArch: arch });
      assert.equal(byRules! >>> 0, expected >>> 0, `by the rules: ${told}`);
    }
  }
}

const targets: Target[] = [
  { capabilities: [], arch: 'x64', kernel: '6.1.0' },
  { capabilities: ['SYS_ADMIN', 'AUDIT_WRITE', 'BPF'], arch: 'x64', kernel: '4.4.0' },
  { capabilities: ['SYS_CHROOT'], arch: 'arm64', kernel: '6.1.0' },
];

const profiles: [name: string, source: () => ProfileSource, skip: string | false][] = [
  ['the default profile', () => 'default', skip],
  [
    "podman's profile",
    () => ({ name: podmanProfile, text: readFileSync(podmanProfile, 'utf8') }),
    skip || (!existsSync(podmanProfile) && `not there: ${podmanProfile}`),
  ],
];

for (const [name, source, skip] of profiles) {
  for (const target of targets) {
    const caps = target.capabilities.join(', ') || 'no capability';
    test(`libseccomp compiles ${name} to the same verdicts (${target.arch}, ${caps})`, { skip }, () => {
      for (const section of seccompRules(source(), target).sections) sameVerdicts(section, 1, 40);
    });
  }
}

test('libseccomp compiles random rules to the same verdicts', { skip }, () => {
  for (let seed = 1; seed <= randomProfiles; seed++) sameVerdicts(randomSection(new Random(seed)), seed, 60);
});

/**
 * Random rules. For one call they compare different arguments with the same action, or are one rule: where rules with
 * different actions overlap, libseccomp's order is its own.
 */
function randomSection(random: Random): Section {
  const values = [0n, 1n, 0x7fn, 0xffffffffn, 1n << 32n, (1n << 32n) + 5n, (1n << 63n) + 1n, (1n << 64n) - 1n];
  const actions = [RET.ALLOW, RET.ERRNO | 22, RET.TRAP, RET.LOG];
  const rules: Rule[] = [];
  for (let number = 0; number < 460; number += 1 + random.below(4)) {
    const action = random.pick(actions);
    const chosen = Array.from({ length: random.below(3) }, () => random.below(6));
    const args: Comparison[] = [...new Set(chosen)].map((index) => ({
      index,
      op: random.pick(operators),
      value: random.pick(values),
      valueTwo: random.pick(values),
    }));
    rules.push({ number, action, args });
  }
  return {
    auditArch: 0xc000003e,
    rules,
    defaultAction: RET.ERRNO | 1,
    newerAction: RET.ERRNO | 38,
    highest: Math.max(...rules.map(({ number }) => number)),
  };
}
