/**
 * User namespaces: in one of its own, the caller is root, with power over its own files and those of its subordinate
 * ids. Sources: user_namespaces(7), subuid(5), newuidmap(1).
 */
import { existsSync, readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { errnoName, errnoText, Failure } from '../base/failure.js';
import { Status } from '../base/status.js';
import { capabilities } from './constants.js';
import { ownStatus, statusBits } from './proc/proc-status.js';
import { missingCallHint, policyHint } from './refusals/confinement.js';
import { refusal, tooManyProcesses } from './refusals/refusals.js';

/** Lines of uid_map or gid_map: first id inside, first id outside, how many. */
export type IdMap = [inside: number, outside: number, count: number][];

export interface IdMaps {
  uid: IdMap;
  gid: IdMap;
  /** To be written by newuidmap and newgidmap, since the map has ids that are not the caller's own. */
  helped: boolean;
}

export interface CallerIds {
  uid: number;
  gid: number;
}

/**
 * How many lines of a map the kernel takes, and how many bytes: less than a page, which is 4096 or more.
 * user_namespaces(7)
 */
const maxExtents = 340;
const maxText = 4095;

/** What is missing for `rangeMaps`, and how to get it. */
export interface Missing {
  why: string;
  hint: string;
}

const kinds = ['uid', 'gid'] as const;
type Kind = (typeof kinds)[number];

/**
 * Maps root to the caller, and ids from 1 on to all subordinate ids, range after range. Throws `Failure` 77 that names
 * `flag` when the system grants the caller none.
 */
export function rangeMaps(caller: CallerIds, flag: string): IdMaps {
  const found = findRangeMaps(caller);
  if ('why' in found) throw new Failure(Status.notPermitted, flag, found.why, { hint: found.hint });
  return found;
}

/** What is missing for `rangeMaps`; undefined when nothing is. */
export function missingForRange(caller: CallerIds): Missing | undefined {
  const found = findRangeMaps(caller);
  return 'why' in found ? found : undefined;
}

/** The maps of `rangeMaps`, or what is missing for them. */
export function findRangeMaps(caller: CallerIds): IdMaps | Missing {
  const unhelped = caller.uid === 0 ? undefined : missingHelper();
  if (unhelped) return unhelped;
  const name = userName(caller.uid);
  const granted = kinds.map((kind) => ({ kind, ranges: subordinate(kind, [String(caller.uid), name]) }));
  const ungranted = granted.filter(({ ranges }) => ranges.length === 0).map(({ kind }) => kind);
  if (ungranted.length > 0) return missingGrant(name, ungranted);
  const here = granted.map(({ kind, ranges }) => ({ kind, ranges: present(kind, ranges) }));
  const absent = here.find(({ ranges }) => ranges.length === 0);
  if (absent) {
    return {
      why: `the user namespace around this process has none of the ids that /etc/sub${absent.kind} grants ${name}`,
      hint: 'start outside of it; in a unit of systemd it is called PrivateUsers',
    };
  }
  const [uid, gid] = here.map(({ kind, ranges }) => mapOf(caller[kind], ranges));
  return { uid: uid!, gid: gid!, helped: caller.uid !== 0 };
}

/**
 * One map. No id outside may be mapped twice, so ids that are in several ranges are used only once. Ranges that the
 * kernel has no room for are left out.
 */
function mapOf(own: number, ranges: Range[]): IdMap {
  const map: IdMap = [[0, own, 1]];
  let text = mapText(map).length;
  for (const range of ranges) {
    for (const [start, end] of without(range, map)) {
      const [inside, , count] = map.at(-1)!;
      const line: IdMap[number] = [inside + count, start, end - start];
      text += mapText([line]).length;
      if (map.length === maxExtents || text > maxText) return map;
      map.push(line);
    }
  }
  return map;
}

/** The parts of a range that the map does not have yet, in order. */
function without(range: Range, map: IdMap): Range[] {
  let parts = [range];
  for (const [, taken, count] of map) {
    parts = parts.flatMap(([start, end]): Range[] => [
      [start, Math.min(end, taken)],
      [Math.max(start, taken + count), end],
    ]);
    parts = parts.filter(([start, end]) => start < end);
  }
  return parts;
}

/** Whether something keeps newuidmap and newgidmap from helping. */
function missingHelper(): Missing | undefined {
  // PR_SET_NO_NEW_PRIVS(2const): newuidmap would not become root by its set-user-ID bit.
  if (/^NoNewPrivs:\t1$/m.test(ownStatus())) {
    return {
      why: 'no_new_privs is set, so newuidmap gets no powers',
      hint: 'start without it; in a unit of systemd it is called NoNewPrivileges',
    };
  }
  const uninstalled = kinds.find((kind) => !onPath(`new${kind}map`));
  if (!uninstalled) return undefined;
  return { why: `the program new${uninstalled}map is not installed`, hint: 'it is in the package uidmap' };
}

function missingGrant(name: string, lacking: Kind[]): Missing {
  const files = lacking.map((kind) => `/etc/sub${kind}`).join(' and ');
  const flags = lacking.map((kind) => `--add-sub${kind}s ${freeRange(kind)}`).join(' ');
  const grant = lacking.length === 1 ? 'grants' : 'grant';
  return { why: `${files} ${grant} ${name} no ids`, hint: `sudo usermod ${flags} ${name}` };
}

/** A range of ids outside: the first one, and the one after the last. */
type Range = [start: number, end: number];

/** The parts of these ranges that there are here: not all, where this process is in a user namespace itself. */
function present(kind: Kind, ranges: Range[]): Range[] {
  const here = ownMap(kind);
  return ranges.flatMap(([start, end]) =>
    here
      .map(([first, , count]): Range => [Math.max(start, first), Math.min(end, first + count)])
      .filter(([from, to]) => from < to),
  );
}

/** The ranges that subuid(5) or subgid(5) grants a user, by any of these names. */
function subordinate(kind: Kind, names: string[]): Range[] {
  return grants(kind)
    .filter(({ name }) => names.includes(name))
    .map(({ range }) => range);
}

/** All that subuid(5) or subgid(5) grants, to whomever. */
function grants(kind: Kind): { name: string; range: Range }[] {
  const path = `/etc/sub${kind}`;
  if (!existsSync(path)) return [];
  const found: { name: string; range: Range }[] = [];
  for (const line of readFileSync(path, 'utf8').split('\n')) {
    const [name = '', start = '', count = ''] = line.split(':');
    const isGrant = /^\d+$/.test(start) && /^\d+$/.test(count) && Number(count) > 0;
    if (isGrant) found.push({ name, range: [Number(start), Number(start) + Number(count)] });
  }
  return found;
}

/** 65536 ids that nobody has, as useradd(8) would choose them: two users with the same could change each other's files. */
function freeRange(kind: Kind): string {
  let first = 100_000;
  const taken = grants(kind).map(({ range }) => range);
  for (const [start, end] of taken.sort(([a], [b]) => a - b)) {
    if (start >= first + 65_536) break;
    first = Math.max(first, end);
  }
  return `${first}-${first + 65_535}`;
}

function userName(uid: number): string {
  try {
    return userInfo().username;
  } catch {
    // No entry for this user in the host's /etc/passwd: the number will do.
    return String(uid);
  }
}

function onPath(program: string): boolean {
  return (process.env.PATH ?? '').split(':').some((directory) => existsSync(`${directory}/${program}`));
}

/**
 * Writes the maps for the waiting child. `otherwise` is a hint for the case that the helper programs fail. Throws
 * `Failure` 77.
 */
export function writeMaps(pid: number, { uid, gid, helped }: IdMaps, otherwise: string): void {
  // Otherwise the files would be those of another process.
  if (readlinkSync('/proc/self') !== String(process.pid))
    throw new Failure(Status.notPermitted, '/proc', 'it shows another PID namespace than that of this process', {
      hint: 'mount -t proc proc /proc, or unshare --mount-proc',
    });
  if (helped) {
    runHelpers(pid, uid, gid, otherwise);
    return;
  }
  // Without this the kernel does not let an ordinary user write gid_map: user_namespaces(7), "setgroups".
  if (process.geteuid!() !== 0) write(`/proc/${pid}/setgroups`, 'deny');
  write(`/proc/${pid}/uid_map`, mapText(uid));
  write(`/proc/${pid}/gid_map`, mapText(gid));
}

function mapText(map: IdMap): string {
  return map.map((line) => `${line.join(' ')}\n`).join('');
}

function write(path: string, text: string): void {
  try {
    writeFileSync(path, text);
  } catch (error) {
    const name = errnoName(error);
    if (name === undefined) throw error;
    throw new Failure(Status.notPermitted, `writing ${path}`, errnoText(name), {
      cause: error,
      hint: refusal() ?? whoMayMap(path),
    });
  }
}

/** Source: user_namespaces(7), "Defining user and group ID mappings". */
function whoMayMap(path: string): string {
  if (process.geteuid!() === 0)
    return 'root needs CAP_SETUID, CAP_SETGID and CAP_SETFCAP for that, and an ordinary user none';
  return statSync(path).uid === process.geteuid!() ? 'user_namespaces(7) tells who may' : whyOfRoot();
}

/**
 * Why root has the files of this process in /proc, and of those that it makes: proc_pid(5), PR_SET_DUMPABLE(2const).
 */
function whyOfRoot(): string {
  const differs = process.getuid!() !== process.geteuid!() || process.getgid!() !== process.getegid!();
  return differs
    ? 'the real user and group of this process are not the effective ones, as in a set-group-ID program, and so that file is of root: setpriv --keep-groups --regid $(id -g) in front of it makes them the same'
    : 'that file is of root, since this user may not read the executable of node: chmod a+r';
}

function runHelpers(pid: number, uid: IdMap, gid: IdMap, otherwise: string): void {
  const { spawnSync } = process.getBuiltinModule('node:child_process');
  for (const [program, map] of [
    ['newuidmap', uid],
    ['newgidmap', gid],
  ] as const) {
    const { status, stderr, error } = spawnSync(program, [String(pid), ...map.flat().map(String)], {
      encoding: 'utf8',
      env: { ...process.env, LC_ALL: 'C' },
    });
    if (status === 0) continue;
    const code = errnoName(error);
    const why = code ? errnoText(code) : stderr.trim() || `it ended with status ${status}`;
    const hint = code === 'EAGAIN' ? tooManyProcesses : helperHint(why, otherwise);
    throw new Failure(Status.notPermitted, program, why, { cause: error, hint });
  }
}

/**
 * Why a helper failed that said this. It opens the map with openat2(2), and some, such as Debian's, as root, for whom
 * the kernel asks for CAP_SYS_ADMIN: user_namespaces(7), "Defining user and group ID mappings".
 */
export function helperHint(said: string, otherwise: string, status = ownStatus()): string {
  if (said.endsWith('Function not implemented')) return missingCallHint('openat2');
  const policy = policyHint(true);
  if (policy) return policy;
  if (!statusBits(status, 'CapBnd').includes(capabilities.indexOf('SYS_ADMIN')))
    return `nobody gets CAP_SYS_ADMIN here, as in a container of docker; ${otherwise}`;
  return `it has to be set-user-ID root; ${otherwise}`;
}

/** Whether this process is in a user namespace other than the initial one, which maps every id to itself. */
export function inUserNamespace(): boolean {
  return ownMap('uid').join() !== '0,0,4294967295';
}

/** The map of the user namespace that this process is in. */
export function ownMap(kind: Kind): IdMap {
  const lines = readFileSync(`/proc/self/${kind}_map`, 'latin1').trim().split('\n');
  return lines.map((line) => {
    const [inside = 0, outside = 0, count = 0] = line.trim().split(/\s+/).map(Number);
    return [inside, outside, count];
  });
}

/** Whether a user namespace with this map has an id. */
export function isMapped(map: IdMap, id: number): boolean {
  return map.some(([inside, , count]) => id >= inside && id < inside + count);
}

/** A directory with its owner as seen inside. An owner that is not mapped has no id there, and is replaced by root. */
export function ownerInside<Directory extends { uid: number; gid: number }>(
  directory: Directory,
  maps: IdMaps | undefined,
): Directory {
  if (!maps) return directory;
  const map = (id: number, lines: IdMaps['uid']) => {
    const line = lines.find(([, outside, count]) => id >= outside && id < outside + count);
    return line ? id - line[1] + line[0] : 0;
  };
  return { ...directory, uid: map(directory.uid, maps.uid), gid: map(directory.gid, maps.gid) };
}
