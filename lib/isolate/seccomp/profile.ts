/**
 * Seccomp profiles in docker's JSON format, and what is left of one for a given container: the entries that apply to
 * its capabilities, architecture and kernel.
 *
 * Sources: OCI runtime-spec, config-linux.md, "Seccomp"; docker's documentation, "Seccomp security profiles for
 * Docker", whose format adds `archMap`, `includes` and `excludes`.
 */
import { arrayOf, asArray, asObject, asSize, asString, optional, wrong } from '../../base/check.js';
import { errnoOf } from '../../base/errno-names.js';
import { Failure } from '../../base/failure.js';
import { goArch } from '../../base/oci.js';
import { Status } from '../../base/status.js';
import { isAtLeast, kernelVersion } from '../../sys/procfs/kernel-release.js';
import { SECCOMP } from '../../sys/syscalls/constants.js';
import { ENOSYS, EPERM } from '../../sys/syscalls/errno.js';
import { type Comparison, operators, RET } from './rules.js';

export interface Profile {
  /** What the filter returns for a call that no entry names: a SECCOMP_RET_* value with its data. */
  defaultAction: number;
  /** Beside the machine's own, the architectures whose programs may run: SCMP_ARCH_* names. */
  architectures: readonly string[];
  entries: readonly Entry[];
  /** SECCOMP_FILTER_FLAG_*, for seccomp(2). */
  flags: number;
}

export interface Entry {
  names: readonly string[];
  action: number;
  /** All must hold; of several for the same argument, one. */
  args?: readonly Comparison[];
  /** The entry counts only when all of this is so. */
  includes?: Condition;
  /** The entry does not count when any of this is so. */
  excludes?: Condition;
}

interface Condition {
  /** Without `CAP_`. */
  caps?: readonly string[];
  /** Go's names: amd64, arm64. */
  arches?: readonly string[];
  /** `4.8` */
  minKernel?: string;
}

/** What a profile is resolved for. */
export interface Target {
  /** The capabilities in the container's bounding set, without `CAP_`. */
  capabilities: readonly string[];
  arch: 'x64' | 'arm64';
  /** The kernel's release as uname(2) tells it: `6.1.0-18-amd64`. */
  kernel: string;
}

const maxErrno = 4095;
const maxU64 = 2n ** 64n - 1n;

/** TSYNC is for the other threads of a process: here there are none. */
const knownFlags = new Map<string, number>([
  ['SECCOMP_FILTER_FLAG_TSYNC', 0],
  ['SECCOMP_FILTER_FLAG_LOG', SECCOMP.FILTER_FLAG_LOG],
  ['SECCOMP_FILTER_FLAG_SPEC_ALLOW', SECCOMP.FILTER_FLAG_SPEC_ALLOW],
]);

const scmpArch = { x64: 'SCMP_ARCH_X86_64', arm64: 'SCMP_ARCH_AARCH64' };

/** The entries of a profile that count for a target. */
export function entriesFor(profile: Profile, target: Target): Entry[] {
  return profile.entries.filter(({ includes = {}, excludes = {} }) => {
    const excluded =
      excludes.arches?.includes(goArch[target.arch]) ||
      excludes.caps?.some((cap) => target.capabilities.includes(cap)) ||
      (excludes.minKernel !== undefined && isAtLeast(target.kernel, excludes.minKernel));
    const included =
      (!includes.arches?.length || includes.arches.includes(goArch[target.arch])) &&
      (includes.caps ?? []).every((cap) => target.capabilities.includes(cap)) &&
      (includes.minKernel === undefined || isAtLeast(target.kernel, includes.minKernel));
    return included && !excluded;
  });
}

/**
 * Reads a profile from the text of a JSON file; `name` is the file's name for messages. Throws `Failure` 65 that names
 * the field which is wrong. Fields that are not known are passed over, as docker does.
 */
export function parseProfile(text: string, name: string, arch: Target['arch']): Profile {
  return asProfile(parseJsonExactly(text, name), name, arch);
}

/**
 * Parses JSON. Values of arguments may be up to 2^64-1: large ones are made strings first, since numbers would lose
 * digits.
 */
function parseJsonExactly(text: string, name: string): unknown {
  try {
    return JSON.parse(text.replace(/("value(?:Two)?"\s*:\s*)([0-9]{16,20})(?=\s*[,}])/g, '$1"$2"'));
  } catch (error) {
    throw new Failure(Status.data, name, `it is not JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function asProfile(value: unknown, name: string, arch: Target['arch']): Profile {
  const it = asObject(value, name);
  if (it.archMap && it.architectures) {
    throw wrong(name, 'one of architectures and archMap', 'both');
  }
  return {
    defaultAction: asAction(it.defaultAction, it.defaultErrnoRet, it.defaultErrno, `${name}.defaultAction`),
    architectures:
      optional(it.architectures, `${name}.architectures`, arrayOf(asString)) ??
      optional(it.archMap, `${name}.archMap`, (map, at) => subArchitectures(map, at, arch)) ??
      [],
    entries: arrayOf(asEntry)(it.syscalls ?? [], `${name}.syscalls`),
    flags: (optional(it.flags, `${name}.flags`, arrayOf(asFlag)) ?? []).reduce((all, flag) => all | flag, 0),
  };
}

function asFlag(value: unknown, name: string): number {
  const flag = knownFlags.get(asString(value, name));
  if (flag === undefined) throw wrong(name, `one of ${[...knownFlags.keys()].join(', ')}`, value);
  return flag;
}

function subArchitectures(value: unknown, name: string, arch: Target['arch']): string[] {
  const maps = asArray(value, name).map((item, i) => {
    const it = asObject(item, `${name}[${i}]`);
    return {
      architecture: asString(it.architecture, `${name}[${i}].architecture`),
      sub: optional(it.subArchitectures, `${name}[${i}].subArchitectures`, arrayOf(asString)) ?? [],
    };
  });
  return maps.find(({ architecture }) => architecture === scmpArch[arch])?.sub ?? [];
}

function asEntry(value: unknown, name: string): Entry {
  const it = asObject(value, name);
  const one = optional(it.name, `${name}.name`, asString);
  const names = optional(it.names, `${name}.names`, arrayOf(asString)) ?? [];
  if (one && names.length > 0) throw wrong(name, 'one of name and names', 'both');
  // Such an entry refuses nothing. Whoever wrote it meant something else.
  if (!one && names.length === 0) throw wrong(`${name}.names`, 'at least one system call', it.names);
  return {
    names: one ? [one] : names,
    action: asAction(it.action, it.errnoRet, it.errno, `${name}.action`),
    args: optional(it.args, `${name}.args`, arrayOf(asComparison)) ?? [],
    includes: optional(it.includes, `${name}.includes`, asCondition) ?? {},
    excludes: optional(it.excludes, `${name}.excludes`, asCondition) ?? {},
  };
}

function asComparison(value: unknown, name: string): Comparison {
  const it = asObject(value, name);
  const index = asSize(it.index, `${name}.index`);
  if (index > 5) throw wrong(`${name}.index`, 'an argument from 0 to 5', index);
  const op = operators.find((known) => `SCMP_CMP_${known}` === it.op);
  if (!op) throw wrong(`${name}.op`, `SCMP_CMP_ and one of ${operators.join(', ')}`, it.op);
  return {
    index,
    op,
    value: asU64(it.value ?? 0, `${name}.value`),
    valueTwo: asU64(it.valueTwo ?? 0, `${name}.valueTwo`),
  };
}

function asU64(value: unknown, name: string): bigint {
  const number = typeof value === 'string' && /^[0-9]{1,20}$/.test(value) ? BigInt(value) : BigInt(asSize(value, name));
  if (number > maxU64) throw wrong(name, 'a number below 2^64', value);
  return number;
}

function asCondition(value: unknown, name: string): Condition {
  const it = asObject(value, name);
  const minKernel = optional(it.minKernel, `${name}.minKernel`, asString);
  if (minKernel && !kernelVersion(minKernel)) throw wrong(`${name}.minKernel`, 'a version such as 4.8', minKernel);
  return {
    caps: (optional(it.caps, `${name}.caps`, arrayOf(asString)) ?? []).map((cap) => cap.replace(/^CAP_/, '')),
    arches: optional(it.arches, `${name}.arches`, arrayOf(asString)) ?? [],
    ...(minKernel ? { minKernel } : {}),
  };
}

const actions = new Map<unknown, number>([
  ['SCMP_ACT_ALLOW', RET.ALLOW],
  ['SCMP_ACT_KILL', RET.KILL_THREAD],
  ['SCMP_ACT_KILL_THREAD', RET.KILL_THREAD],
  ['SCMP_ACT_KILL_PROCESS', RET.KILL_PROCESS],
  ['SCMP_ACT_TRAP', RET.TRAP],
  ['SCMP_ACT_LOG', RET.LOG],
]);
const actionsWithErrno = new Map<unknown, number>([
  ['SCMP_ACT_ERRNO', RET.ERRNO],
  ['SCMP_ACT_TRACE', RET.TRACE],
]);

function asAction(value: unknown, errnoRet: unknown, errno: unknown, name: string): number {
  const withErrno = actionsWithErrno.get(value);
  if (withErrno !== undefined) return withErrno | asErrno(errnoRet, errno, name);
  // runtime-spec, "errnoRet": an error, where the action does not support it.
  if (typeof errnoRet === 'number')
    throw wrong(name, `an action that returns an errno, since ${errnoRet} is given`, value);
  const action = actions.get(value);
  if (action !== undefined) return action;
  if (value === 'SCMP_ACT_NOTIFY')
    throw new Failure(Status.data, name, `${value} needs a supervisor that answers, and there is none here`);
  throw wrong(name, 'an action such as SCMP_ACT_ALLOW or SCMP_ACT_ERRNO', value);
}

/**
 * `errnoRet` is docker's number. `errno` is what podman's profiles have beside or instead of it: a name such as ENOSYS,
 * or a number as text.
 */
function asErrno(errnoRet: unknown, errno: unknown, name: string): number {
  const number = optional(errnoRet, name, asSize) ?? optional(errno || null, name, asNamedErrno) ?? EPERM;
  if (number > maxErrno) throw wrong(name, `an errno of at most ${maxErrno}`, number);
  return number;
}

function asNamedErrno(value: unknown, name: string): number {
  const text = asString(value, name);
  const number = /^[0-9]{1,4}$/.test(text) ? Number(text) : errnoOf(text);
  if (number === undefined) throw wrong(name, 'an errno, such as ENOSYS or 38', value);
  return number;
}

/**
 * The action for calls that are newer than the profile: ENOSYS, so that the C library falls back, unless it allows by
 * default.
 */
export function newerAction(profile: Profile): number {
  const permissive: readonly number[] = [RET.ALLOW, RET.LOG];
  const kept = permissive.includes(profile.defaultAction) || (profile.defaultAction & RET.TRACE) === RET.TRACE;
  return kept ? profile.defaultAction : RET.ERRNO | ENOSYS;
}
