/** Limits of a container, as docker's flags have them. */
import type { Failure } from '../../base/failure.js';
import { structRlimit, unlimited } from '../../sys/process/rlimit.js';
import { RLIMIT } from '../../sys/syscalls/constants.js';
import { usage } from './failures.js';
import type { IsolateFlags } from './flags.js';

export type LimitFlags = Pick<IsolateFlags, 'memory' | 'cpus' | 'pids-limit' | 'cpuset-cpus'>;

/** What a cgroup is to enforce. */
export interface Limits {
  /** Bytes. */
  memory?: number | undefined;
  /** Microseconds of processor time in each `cpuPeriod`. */
  cpuQuota?: number | undefined;
  /** `max` is no limit, but takes a cgroup. */
  pids?: number | 'max' | undefined;
  /** Processors by number, as cpuset(7) writes them: `0-3,5`. */
  cpus?: string | undefined;
}

/** Microseconds; the kernel's own default. */
export const cpuPeriod = 100_000;
/** Bytes, as in docker: with less not even a program can start. */
const leastMemory = 6 * 1024 * 1024;

/**
 * Reads the flags; undefined when they set no limit. What stands for no limit is as in docker. `processors` tells
 * the number that this machine has. Throws `Failure` 64.
 */
export function parseLimits(flags: LimitFlags, processors: () => number): Limits | undefined {
  const { memory, cpus, 'pids-limit': pids, 'cpuset-cpus': set } = flags;
  const limits: Limits = {
    memory: memory === undefined ? undefined : memoryLimit(memory),
    cpuQuota: cpus === undefined ? undefined : cpuQuota(cpus, processors()),
    pids: pids === undefined ? undefined : pidsLimit(pids),
    cpus: set ? cpuset(set) : undefined,
  };
  return Object.values(limits).some((limit) => limit !== undefined) ? limits : undefined;
}

/** 0 stands for no limit. */
function memoryLimit(text: string): number | undefined {
  const bytes = parseSize(text, '--memory');
  if (bytes === 0) return undefined;
  if (bytes >= leastMemory) return bytes;
  throw wrong('--memory', text, 'less than 6m', 'a program does not even start in so little');
}

/**
 * A size in bytes, with docker's units: `64m`, `.5g`, `512k`, `1.5GiB`, `1024`. All are powers of 1024. Throws `Failure`
 * 64.
 */
export function parseSize(text: string, flag: string): number {
  const [, number, unit = ''] = /^(\d+(?:\.\d*)?|\.\d+) ?([kmgtpKMGTP]?)(?:[iI]?[bB])?$/.exec(text) ?? [];
  const bytes = Math.floor(Number(number) * 1024 ** ' kmgtp'.indexOf(unit.toLowerCase() || ' '));
  if (number !== undefined && Number.isSafeInteger(bytes)) return bytes;
  throw wrong(flag, text, 'not a size', 'for example 64m or 1g');
}

/** A number of processors, down to hundredths: `1.5`. 0 stands for no limit. */
function cpuQuota(text: string, processors: number): number | undefined {
  const cpus = /^(\d+(?:\.\d*)?|\.\d+)$/.test(text) ? Number(text) : Number.NaN;
  if (cpus === 0) return undefined;
  if (cpus >= 0.01 && cpus <= processors) return Math.round(cpus * cpuPeriod);
  throw wrong('--cpus', text, `not between 0.01 and ${processors}, the processors that there are`);
}

/** -1 and 0 stand for no limit. */
function pidsLimit(text: string): number | undefined {
  if (text === '-1' || text === '0') return undefined;
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw wrong('--pids-limit', text, 'not a number of processes', 'a whole number, or -1 for no limit');
}

function cpuset(text: string): string {
  const ranges = text.split(',').map((range) => /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(range));
  const right = ranges.every((range) => range !== null && Number(range[1]) <= Number(range[2] ?? range[1]));
  if (right) return text;
  throw wrong('--cpuset-cpus', text, 'not a list of processors', 'for example 0-3 or 0,2');
}

/** A limit of getrlimit(2). */
export interface ResourceLimit {
  /** RLIMIT_*, the number. */
  resource: number;
  /** `struct rlimit64`: soft and hard limit. */
  value: Buffer;
}

/** `--ulimit NAME=SOFT[:HARD]`: `nofile=1024:4096`, `core=-1` for no limit. Throws `Failure` 64. */
export function parseUlimit(text: string): ResourceLimit {
  const [, name = '', softText = '', hardText = softText] =
    /^([a-z]+)=(-1|\d{1,19})(?::(-1|\d{1,19}))?$/.exec(text) ?? [];
  const known: Record<string, number> = RLIMIT;
  const resource = known[name.toUpperCase()];
  if (resource === undefined) {
    throw wrong(
      '--ulimit',
      text,
      'not a limit',
      'NAME=SOFT:HARD, for example nofile=1024:4096; the names are those of docker',
    );
  }
  const soft = softText === '-1' ? unlimited : BigInt(softText);
  const hard = hardText === '-1' ? unlimited : BigInt(hardText);
  if (soft > hard) throw wrong('--ulimit', text, 'a soft limit above the hard one');
  return { resource, value: structRlimit(soft, hard) };
}

function wrong(flag: string, text: string, why: string, hint?: string): Failure {
  return usage(flag, `${JSON.stringify(text)} is ${why}`, hint);
}
