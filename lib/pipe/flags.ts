/** The flags of a command: declared once, parsed with mri, and listed by `--help`. */
import mri from 'mri';
import { Failure } from '../base/failure.js';
import { Status } from '../base/status.js';
import { nearest } from './nearest.js';

export interface Flag {
  /**
   * `boolean`: there or not. `choice`: the same, and undefined where nothing is said, so `--tty=false` can be told from
   * that. `string`: one value. `list`: may be given several times. `count`: a whole number from 0.
   */
  kind: 'boolean' | 'choice' | 'string' | 'list' | 'count';
  /** One letter. */
  alias?: string;
  /** What stands for the value in the help text. */
  value?: string;
  help: string;
}

export type Flags = Record<string, Flag>;

type ValueOf<F extends Flag> = F['kind'] extends 'boolean'
  ? boolean
  : F['kind'] extends 'choice'
    ? boolean | undefined
    : F['kind'] extends 'list'
      ? string[]
      : F['kind'] extends 'count'
        ? number | undefined
        : string | undefined;

export type FlagValues<F extends Flags> = { [K in keyof F]: ValueOf<F[K]> };

interface Parsed<F extends Flags> {
  flags: FlagValues<F>;
  operands: string[];
}

/** The hint for an unknown flag, which is given without its dashes. */
export type HintFor = (flag: string) => string | undefined;

/** Hints, each with the flags that it is for: their long names or letters. */
export function hintsFor(hints: readonly [flags: string, hint: string][]): HintFor {
  return (flag) => hints.find(([flags]) => flags.split(/\s+/).includes(flag))?.[1];
}

interface Known {
  declared: Flags;
  hintFor: HintFor | undefined;
  /** What is said so far of the flags without a value. */
  said: Map<string, boolean>;
}

/**
 * Parses an argument vector (without node and script). With `stopAtOperand` everything from the first operand on is an
 * operand, since another command line begins there. Throws `Failure` 64 for an unknown flag, and for a value that is
 * missing, not wanted, or not a number.
 */
export function parseFlags<F extends Flags>(
  declared: F,
  argv: string[],
  stopAtOperand: boolean,
  hintFor?: HintFor,
): Parsed<F> {
  const said = new Map<string, boolean>();
  const { words, operands } = canonical({ declared, hintFor, said }, argv, stopAtOperand);
  const names = Object.keys(declared);
  const valued = names.filter((name) => !isTruth(declared[name]!));
  const parsed = mri(words, { string: valued });
  const flags: Record<string, unknown> = Object.fromEntries(
    names.map((name) => [name, said.get(name) ?? (declared[name]!.kind === 'choice' ? undefined : false)]),
  );
  for (const name of valued) flags[name] = flagValue(name, declared[name]!.kind, parsed[name]);
  return { flags: flags as FlagValues<F>, operands };
}

/** Whether it is true or false, and takes no value but that. */
function isTruth({ kind }: Flag): boolean {
  return kind === 'boolean' || kind === 'choice';
}

/**
 * Separates flags and operands, and writes every flag with a value as `--name=value`. By itself mri would ignore `-`
 * and a missing value, take `--no-x` for a negation, and `-eA=1` for a group of letters.
 */
function canonical(known: Known, argv: string[], stopAtOperand: boolean): { words: string[]; operands: string[] } {
  const words: string[] = [];
  const operands: string[] = [];
  const rest = [...argv];
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    if (word === '--') {
      operands.push(...rest);
      break;
    }
    if (word === '-' || !word.startsWith('-')) {
      operands.push(word);
      if (!stopAtOperand) continue;
      operands.push(...rest);
      break;
    }
    if (word.startsWith('--')) words.push(...longFlag(known, word, rest));
    else words.push(...shortFlags(known, word, rest));
  }
  return { words, operands };
}

function longFlag({ declared, hintFor, said }: Known, word: string, rest: string[]): string[] {
  const [, name = '', value] = /^--([^=]*)(?:=(.*))?$/s.exec(word) ?? [];
  const flag = Object.hasOwn(declared, name) ? declared[name]! : undefined;
  if (!flag) throw usage(`--${name}`, 'unknown flag', hintFor?.(name) ?? meant(declared, name));
  if (!isTruth(flag)) return [`--${name}=${value ?? next(`--${name}`, rest)}`];
  const truth = truthOf(value ?? 'true');
  if (truth === undefined) throw usage(`--${name}`, 'it takes no value except true or false');
  said.set(name, truth);
  return [];
}

/** As Go's strconv.ParseBool has them, and so docker and podman: scripts in Python write `--privileged=True`. */
export function truthOf(word: string): boolean | undefined {
  return truths.get(word);
}

const truths = new Map([
  ...['true', 'True', 'TRUE', 't', 'T', '1'].map((word) => [word, true] as const),
  ...['false', 'False', 'FALSE', 'f', 'F', '0'].map((word) => [word, false] as const),
]);

/** `-it`, `-it=false`, `-e A=1`, `-eA=1`, `-e=A=1`. */
function shortFlags(known: Known, word: string, rest: string[]): string[] {
  const out: string[] = [];
  for (let i = 1; i < word.length; i++) {
    const [name, flag] = Object.entries(known.declared).find(([, { alias }]) => alias === word[i]) ?? [];
    if (!name || !flag) throw usage(`-${word[i]}`, 'unknown flag', known.hintFor?.(word[i]!));
    const attached = word.slice(i + 1);
    if (isTruth(flag) && !attached.startsWith('=')) {
      known.said.set(name, true);
      continue;
    }
    // `-w=` has an empty value, as in `-w=$DIR` with an empty variable. The next word is not its value.
    const value = attached === '' ? next(`-${word[i]}`, rest) : attached.replace(/^=/, '');
    out.push(...longFlag(known, `--${name}=${value}`, rest));
    break;
  }
  return out;
}

function next(flag: string, rest: string[]): string {
  const value = rest.shift();
  if (value === undefined) throw usage(flag, 'a value is missing');
  return value;
}

function flagValue(name: string, kind: Flag['kind'], value: unknown): unknown {
  const all = value === undefined ? [] : Array.isArray(value) ? value.map(String) : [value];
  if (kind === 'list') return all;
  const last = all.at(-1);
  if (kind === 'string' || last === undefined) return last;
  if (!/^[0-9]{1,15}$/.test(String(last))) {
    const hint = /^[0-9]+ ?[a-z]+$/i.test(String(last)) ? 'it takes no unit: --help says what is counted' : undefined;
    throw usage(`--${name}`, `${JSON.stringify(last)} is not a whole number`, hint);
  }
  return Number(last);
}

function meant(declared: Flags, typed: string): string | undefined {
  const name = nearest(typed, Object.keys(declared));
  return name && `did you mean --${name}?`;
}

function usage(what: string, why: string, hint = 'see --help'): Failure {
  return new Failure(Status.usage, what, why, { hint });
}

/** How wide a help text may be. */
const columns = 100;

/** The flags as lines of a help text. */
export function flagsHelp(declared: Flags): string {
  const rows = Object.entries(declared).map(([name, flag]) => {
    const { alias, value = 'VALUE', help } = flag;
    const left = `${alias ? `-${alias}, ` : '    '}--${name}${isTruth(flag) ? '' : ` ${value}`}`;
    return { left, help };
  });
  const width = Math.min(28, Math.max(...rows.map(({ left }) => left.length)));
  const indent = `\n  ${' '.repeat(width)}  `;
  // Up to so many characters, from the beginning of a word to the end of one.
  const line = new RegExp(`\\S.{0,${columns - indent.length}}(?= |$)`, 'g');
  return rows
    .map(({ left, help }) => {
      const first = left.length > width ? `  ${left}${indent}` : `  ${left.padEnd(width)}  `;
      return first + (help.match(line) ?? []).join(indent);
    })
    .join('\n');
}
