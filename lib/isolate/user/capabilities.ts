/** The capabilities that the command keeps. */
import { readFileSync } from 'node:fs';
import { failingAs } from '../../base/failure.js';
import { capset, prctl } from '../../sys/syscalls/calls.js';
import { capabilities, PR } from '../../sys/syscalls/constants.js';
import { type PlanStep, step } from '../child/step.js';
import { refused, usage } from '../settings/failures.js';

/** What root in a container has by default, as in docker. Source: moby, oci/caps/defaults.go. */
export const defaultCapabilities: readonly string[] = [
  'AUDIT_WRITE',
  'CHOWN',
  'DAC_OVERRIDE',
  'FOWNER',
  'FSETID',
  'KILL',
  'MKNOD',
  'NET_BIND_SERVICE',
  'NET_RAW',
  'SETFCAP',
  'SETGID',
  'SETPCAP',
  'SETUID',
  'SYS_CHROOT',
];

/**
 * The numbers of the capabilities that the command gets: the defaults, with `--cap-add` and `--cap-drop` over them, of
 * those that are `available`. Throws `Failure` for one that is added and unknown, or not there to give.
 */
export function chooseCapabilities(
  add: readonly string[],
  drop: readonly string[],
  available: readonly number[],
): number[] {
  const added = add.map((name) => named(name, '--cap-add'));
  const dropped = drop.map((name) => named(name, '--cap-drop'));
  // docker's order: a drop by name wins over --cap-add ALL, and an addition by name over every drop.
  if (added.includes('all')) return available.filter((number) => !dropped.includes(number));
  const base = dropped.includes('all')
    ? []
    : defaultCapabilities.map(numberOf).filter((number) => available.includes(number));
  const kept = new Set(base.filter((number) => !dropped.includes(number)));
  for (const number of added) {
    if (number === 'all') continue;
    if (!available.includes(number))
      throw refused(`--cap-add ${capabilities[number]}`, 'this process does not have it itself');
    kept.add(number);
  }
  return [...kept].sort((a, b) => a - b);
}

/**
 * The defaults that nobody has given up and that are not there to give: runtime-spec, config.md, "capabilities", wants
 * them to be told.
 */
export function missingCapabilities(
  add: readonly string[],
  drop: readonly string[],
  available: readonly number[],
): string[] {
  if (add.some((name) => named(name, '--cap-add') === 'all')) return [];
  const wanted = chooseCapabilities([], drop, [...capabilities.keys()]);
  return wanted.filter((number) => !available.includes(number)).map((number) => `CAP_${capabilities[number]}`);
}

function named(text: string, flag: string): number | 'all' {
  const name = text.toUpperCase().replace(/^CAP_/, '');
  if (name === 'ALL') return 'all';
  const number = numberOf(name);
  if (number < 0) throw usage(flag, `${JSON.stringify(text)} is not a capability`, 'capabilities(7) lists them');
  return number;
}

function numberOf(name: string): number {
  return (capabilities as readonly string[]).indexOf(name);
}

/** The last capability that the kernel knows. */
export function lastCapability(): number {
  const path = '/proc/sys/kernel/cap_last_cap';
  return failingAs(path, () => Number(readFileSync(path, 'utf8')), {
    hint: 'the proc mounted here shows processes alone (subset=pid): mount it without that; in a unit of systemd it is called ProcSubset=pid',
  });
}

/** Takes all others out of the bounding set: no program that the command executes can get them back. */
export function boundingSteps(kept: readonly number[], last: number): PlanStep[] {
  const steps: PlanStep[] = [];
  for (let number = 0; number <= last; number++) {
    if (kept.includes(number)) continue;
    steps.push(
      step(
        prctl,
        [PR.CAPBSET_DROP, number, 0, 0, 0],
        `A set-user-ID or file-capability program could otherwise win CAP_${capabilities[number] ?? number} back.`,
        { man: 'capabilities(7)' },
      ),
    );
  }
  return steps;
}

const version3 = 0x20080522;

/** Sets the effective and permitted sets; the inheritable set is empty, and the ambient set with it. */
export function capabilityStep(kept: readonly number[]): PlanStep {
  const header = Buffer.alloc(8);
  header.writeUInt32LE(version3, 0);
  const data = Buffer.alloc(24);
  for (const number of kept) {
    const half = number < 32 ? 0 : 12;
    const bit = (1 << (number % 32)) >>> 0;
    data.writeUInt32LE((data.readUInt32LE(half) | bit) >>> 0, half);
    data.writeUInt32LE((data.readUInt32LE(half + 4) | bit) >>> 0, half + 4);
  }
  return step(
    capset,
    [header, data],
    'The process itself gives up what it no longer needs; an empty inheritable set empties the ambient one as well.',
    { man: 'capabilities(7)' },
  );
}
