/**
 * The user that the command runs as. Names are looked up in the image's own /etc/passwd and /etc/group. Nobody has
 * checked these: lines that make no sense are skipped, as the C library does. Sources: passwd(5), group(5), docker's
 * `--user`.
 */
import type { Failure } from '../../base/failure.js';
import { refused } from '../settings/failures.js';

export interface Identity {
  uid: number;
  gid: number;
  /** Supplementary groups, the primary one included: a file may deny a group, and giving that up must not help. */
  groups: number[];
  /** Home directory, `/` when there is no entry. */
  home: string;
}

/** The text of the image's files; empty when there is none. */
export interface AccountFiles {
  passwd: string;
  group: string;
}

interface Account {
  name: string;
  uid: number;
  gid: number;
  home: string;
}

interface Group {
  name: string;
  gid: number;
  members: string[];
}

/** The highest id of the kernel: -1 has a meaning of its own. docker and podman end at 2^31-1. */
const maxId = 2 ** 32 - 2;
/** NGROUPS_MAX: setgroups(2). */
const maxGroups = 65_536;

/**
 * The identity for `user`, `uid`, `user:group`, `uid:gid` or a mixture; empty means uid 0. A number is always an id,
 * never a name. Without a group, the user has its primary group and all groups that list it, also when a number names
 * it: that is config.md's word and docker's way, where conversion.md would leave such groups out. The groups in `added`
 * always come on top. `from` says in messages who has named the user. Throws `Failure` 125 for a name that the image
 * does not know, and for more groups than there can be.
 */
export function identify(spec: string, files: AccountFiles, added: readonly string[] = [], from = '--user'): Identity {
  const [userSpec = '', groupSpec = ''] = spec.split(/:(.*)/s);
  const account = findAccount(userSpec === '' ? '0' : userSpec, files.passwd, from);
  const groups = parseGroups(files.group);
  const further = added.map((name) => findGroup(name, groups, '--group-add'));
  if (groupSpec !== '') {
    const gid = findGroup(groupSpec, groups, from);
    return { uid: account.uid, gid, groups: [...new Set([gid, ...further])], home: account.home };
  }
  const listed = account.name === '' ? [] : groups.filter(({ members }) => members.includes(account.name));
  const gids = new Set([account.gid, ...listed.map(({ gid }) => gid), ...further]);
  if (gids.size > maxGroups) {
    const why = `it has ${account.name} in ${gids.size} groups, and the kernel knows ${maxGroups} of a process`;
    throw refused('/etc/group of the image', why, '--user USER:GROUP takes that one alone');
  }
  return { uid: account.uid, gid: account.gid, groups: [...gids], home: account.home };
}

/** Whether a user or a group is told by a name, which the files have to tell the number of. */
export function hasNames(spec: string, added: readonly string[]): boolean {
  return [...spec.split(/:(.*)/s), ...added].some((name) => /[^0-9]/.test(name));
}

function findAccount(spec: string, passwd: string, from: string): Account {
  const accounts = parseAccounts(passwd);
  const uid = asId(spec, `${from}: user`);
  const found = accounts.find((account) => (uid === undefined ? account.name === spec : account.uid === uid));
  if (found) return found;
  if (uid === undefined) throw unknown(`${from}: user`, spec, '/etc/passwd');
  return { name: '', uid, gid: 0, home: '/' };
}

function findGroup(spec: string, groups: Group[], flag: string): number {
  const gid = asId(spec, `${flag}: group`);
  if (gid !== undefined) return gid;
  const found = groups.find(({ name }) => name === spec);
  if (found) return found.gid;
  // What podman calls it.
  if (spec !== 'keep-groups') throw unknown(`${flag}: group`, spec, '/etc/group');
  throw refused(`${flag} ${spec}`, 'it is not offered', "without root, --userns self keeps the caller's groups");
}

function unknown(kind: string, name: string, file: string): Failure {
  return refused(
    `${kind} ${JSON.stringify(name)}`,
    `the image has no such name in ${file}`,
    'a number needs no entry there',
  );
}

function asId(text: string, kind: string): number | undefined {
  if (!/^[0-9]+$/.test(text)) return undefined;
  const id = Number(text);
  if (id > maxId) throw refused(`${kind} ${text}`, `ids end at ${maxId}`);
  return id;
}

function parseAccounts(text: string): Account[] {
  return lines(text).flatMap(([name = '', , uid = '', gid = '', , home = '']) =>
    isId(uid) && isId(gid) ? [{ name, uid: Number(uid), gid: Number(gid), home: home === '' ? '/' : home }] : [],
  );
}

function parseGroups(text: string): Group[] {
  return lines(text).flatMap(([name = '', , gid = '', members = '']) =>
    isId(gid) ? [{ name, gid: Number(gid), members: members.split(',') }] : [],
  );
}

/** White space around a line has no meaning: the C library leaves out that in front, docker all, a CR of DOS included. */
function lines(text: string): string[][] {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#') && !line.includes('\0'))
    .map((line) => line.split(':'));
}

function isId(text: string): boolean {
  return /^[0-9]{1,10}$/.test(text) && Number(text) <= maxId;
}
