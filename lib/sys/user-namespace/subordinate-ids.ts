/**
 * The ids that an ordinary user may have in a user namespace beside one's own, as root grants them. Sources: subuid(5),
 * newuidmap(1).
 */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { Failure, failingAs, ignoring } from '../../base/failure.js';
import { Status } from '../../base/status.js';
import { type IdKind, type IdMap, idKinds, ownMap } from '../procfs/own-id-map.js';
import { ownStatus } from '../procfs/status.js';
import { isWithout } from '../refusals/confinement.js';
import { S } from '../syscalls/constants.js';
import { callerIds, type IdMaps, mapText } from './id-maps.js';

/**
 * How many lines of a map the kernel takes, and how many bytes: less than a page, which is 4096 or more.
 * user_namespaces(7)
 */
const maxExtents = 340;
const maxText = 4095;

/** What is missing for these maps, and how to get it. */
interface Missing {
  why: string;
  hint: string;
}

/**
 * Maps root to the caller, and ids from 1 on to all subordinate ids, range after range. Throws `Failure` 77 that names
 * `flag` when the system grants the caller none.
 */
export function rangeMaps(flag: string): IdMaps {
  const found = findRangeMaps();
  if ('why' in found) throw new Failure(Status.notPermitted, flag, found.why, { hint: found.hint });
  return found;
}

/** What is missing for `rangeMaps`; undefined when nothing is. */
export function missingForRange(): Missing | undefined {
  const found = findRangeMaps();
  return 'why' in found ? found : undefined;
}

/** The maps of `rangeMaps`, or what is missing for them. */
export function findRangeMaps(): IdMaps | Missing {
  const caller = callerIds();
  const unhelped = caller.uid === 0 ? undefined : missingHelper();
  if (unhelped) return unhelped;
  const closed = idKinds.find((kind) => grantText(kind) === undefined);
  if (closed) return { why: `this user may not read ${fileOf(closed)}`, hint: `sudo chmod a+r ${fileOf(closed)}` };
  const entry = userEntry();
  // No entry for this user in the host's /etc/passwd: the number will do.
  const name = entry?.username ?? String(caller.uid);
  const granted = idKinds.map((kind) => ({ kind, ranges: subordinate(kind, [String(caller.uid), name]) }));
  const ungranted = granted.filter(({ ranges }) => ranges.length === 0).map(({ kind }) => kind);
  if (ungranted.length > 0) return missingGrant(name, ungranted);
  const stranger = caller.uid === 0 ? undefined : strangerToHelper(caller.gid, name, entry);
  if (stranger) return stranger;
  const here = granted.map(({ kind, ranges }) => ({ kind, ranges: present(kind, ranges) }));
  const absent = here.find(({ ranges }) => ranges.length === 0);
  if (absent) {
    return {
      why: `the user namespace around this process has none of the ids that ${fileOf(absent.kind)} grants ${name}`,
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
  const helpers = idKinds.map((kind) => ({ program: `new${kind}map`, path: onPath(`new${kind}map`) }));
  const uninstalled = helpers.find(({ path }) => path === undefined);
  if (uninstalled)
    return { why: `the program ${uninstalled.program} is not installed`, hint: 'it is in the package uidmap' };
  const powerless = helpers.find(({ path }) => isPowerless(path!));
  if (!powerless) return undefined;
  return {
    why: `nobody gets CAP_SYS_ADMIN here, as in a container of docker, and ${powerless.program} needs it`,
    hint: 'start that one with --cap-add SYS_ADMIN',
  };
}

/**
 * Whether a helper does its work as root, whom the kernel asks for CAP_SYS_ADMIN, where nobody gets that. With file
 * capabilities it does it as the caller, to whom the namespace belongs. user_namespaces(7), "Defining user and group ID
 * mappings"
 */
function isPowerless(path: string): boolean {
  if ((statSync(path).mode & S.ISUID) === 0) return false;
  return isWithout('SYS_ADMIN', 'CapBnd');
}

function missingGrant(name: string, lacking: IdKind[]): Missing {
  const files = lacking.map(fileOf).join(' and ');
  const flags = lacking.map((kind) => `--add-sub${kind}s ${showRange(freeRange(kind))}`).join(' ');
  const grant = lacking.length === 1 ? 'grants' : 'grant';
  const why = `${files} ${grant} ${name} no ids`;
  if (lacking.some((kind) => present(kind, [freeRange(kind)]).length === 0))
    return {
      why,
      hint: 'the user namespace around this process lacks those that usermod would grant: start outside of it',
    };
  return { why, hint: `sudo usermod ${flags} ${name}` };
}

/** A range of ids outside: the first one, and the one after the last. */
type Range = [start: number, end: number];

/** The parts of these ranges that there are here: not all, where this process is in a user namespace itself. */
function present(kind: IdKind, ranges: Range[]): Range[] {
  const here = ownMap(kind);
  return ranges.flatMap(([start, end]) =>
    here
      .map(([first, , count]): Range => [Math.max(start, first), Math.min(end, first + count)])
      .filter(([from, to]) => from < to),
  );
}

/** The ranges that subuid(5) or subgid(5) grants a user, by any of these names. */
function subordinate(kind: IdKind, names: string[]): Range[] {
  return grants(kind)
    .filter(({ name }) => names.includes(name))
    .map(({ range }) => range);
}

/** All that subuid(5) or subgid(5) grants, to whomever. */
function grants(kind: IdKind): { name: string; range: Range }[] {
  const found: { name: string; range: Range }[] = [];
  for (const line of (grantText(kind) ?? '').split('\n')) {
    const [name = '', start = '', count = ''] = line.split(':');
    // With a leading zero newuidmap takes a number for an octal one, and others take it for a decimal one.
    const isGrant = isDecimal(start) && isDecimal(count) && Number(count) > 0;
    if (isGrant) found.push({ name, range: [Number(start), Number(start) + Number(count)] });
  }
  return found;
}

function isDecimal(text: string): boolean {
  return /^(0|[1-9]\d*)$/.test(text);
}

/** The text of /etc/subuid or /etc/subgid; empty where there is none, undefined where this user may not read it. */
function grantText(kind: IdKind): string | undefined {
  const path = fileOf(kind);
  return failingAs(path, () =>
    ignoring(['EACCES'], () => ignoring(['ENOENT'], () => readFileSync(path, 'utf8')) ?? ''),
  );
}

function fileOf(kind: IdKind): string {
  return `/etc/sub${kind}`;
}

/**
 * 65536 ids that nobody has, as useradd(8) would choose them: two users with the same could change each other's files.
 */
function freeRange(kind: IdKind): Range {
  let first = 100_000;
  const taken = grants(kind).map(({ range }) => range);
  for (const [start, end] of taken.sort(([a], [b]) => a - b)) {
    if (start >= first + 65_536) break;
    first = Math.max(first, end);
  }
  return [first, first + 65_536];
}

function showRange([start, end]: Range): string {
  return `${start}-${end - 1}`;
}

/** What the host's /etc/passwd has about this user; undefined where it has no entry. */
function userEntry(): { username: string; gid: number } | undefined {
  try {
    return process.getBuiltinModule('node:os').userInfo();
  } catch {
    // Node has no code of its own for it.
    return undefined;
  }
}

/**
 * Why newuidmap takes this process for somebody else's: it looks its user up in /etc/passwd, and the group has to be the
 * one that stands there, unless login.defs(5) permits others.
 */
function strangerToHelper(gid: number, name: string, entry: { gid: number } | undefined): Missing | undefined {
  if (!entry)
    return { why: `newuidmap does not know user ${name}`, hint: 'this user has to have an entry in /etc/passwd' };
  if (gid === entry.gid || grantsOtherGroups()) return undefined;
  return {
    why: `group ${gid} of this process is not that of ${name} in /etc/passwd, as behind newgrp, and newuidmap wants that one`,
    hint: `sg $(id -gn ${name}) starts a shell with it`,
  };
}

/** Whether newuidmap serves a user whose group is not that of /etc/passwd. */
function grantsOtherGroups(): boolean {
  const text = ignoring(['ENOENT', 'EACCES'], () => readFileSync('/etc/login.defs', 'utf8')) ?? '';
  return /^\s*GRANT_AUX_GROUP_SUBIDS\s+"?yes"?\s*$/im.test(text);
}

function onPath(program: string): string | undefined {
  const places = (process.env.PATH ?? '').split(':').map((directory) => `${directory}/${program}`);
  return places.find((path) => existsSync(path));
}
