/**
 * An ordinary user with subordinate ids, who exists for one test alone: in a mount namespace, files of the test's own
 * are mounted over those in /etc, so that nothing on the machine changes.
 */
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { copyCommands, needs, needsRoot, scratch } from './run.js';

/** The user's id and group. */
export const user = 61_235;
const name = 'md-test-user';
/** The first subordinate id: what is 1 in the namespace. */
export const firstId = 1_500_000_000;

const files = ['passwd', 'subuid', 'subgid'];
const missing = files.map((name) => `/etc/${name}`).filter((path) => !existsSync(path));
export const needsSubordinate: string | false =
  needsRoot ||
  needs('newuidmap', 'newgidmap', 'unshare', 'setpriv', 'mount') ||
  (missing.length > 0 && `not there: ${missing.join(', ')}`);

export interface SubordinateUser {
  /** A directory that the user owns and everybody may enter. */
  home: string;
  /** What runs a command line as this user. */
  as: (argv: string[]) => string[];
  /** One of the built commands, from where the user may read it. */
  command: (name: string, args: string[]) => string[];
}

export interface Grants {
  /** What /etc/subuid and /etc/subgid give the user: first ids and how many. */
  ranges?: [start: number, count: number][];
  /** The lines of both files for the user, in the place of those for `ranges`. */
  lines?: string[] | undefined;
  /** The group that the user's processes have, where it is not that of /etc/passwd. */
  group?: number;
  /** Whether /etc/passwd knows the user. */
  known?: boolean;
  /** Flags of setpriv(1) besides. */
  setpriv?: string;
}

export function subordinateUser(
  t: TestContext,
  {
    ranges = [[firstId, 65_536]],
    lines = ranges.map(([start, count]) => `${name}:${start}:${count}`),
    group = user,
    known = true,
    setpriv = '',
  }: Grants = {},
): SubordinateUser {
  const base = scratch(t);
  const home = join(base, 'home');
  const etc = join(base, 'etc');
  for (const path of [home, etc]) mkdirSync(path);
  chmodSync(base, 0o755);
  chownSync(home, user, user);
  const entry = known ? `${name}:x:${user}:${user}::${home}:/bin/sh\n` : '';
  writeFileSync(join(etc, 'passwd'), `${readFileSync('/etc/passwd', 'utf8')}${entry}`);
  for (const file of ['subuid', 'subgid'])
    writeFileSync(join(etc, file), ['other:100000:65536', ...lines].map((line) => `${line}\n`).join(''));
  copyCommands(base);
  const script = [
    'etc=$1; shift',
    `for file in ${files.join(' ')}; do mount --bind "$etc/$file" "/etc/$file" || exit; done`,
    `exec setpriv --reuid=${user} --regid=${group} --clear-groups --inh-caps=-all ${setpriv} "$@"`,
  ].join('\n');
  const as = (argv: string[]) => [
    ...['unshare', '--mount', '--propagation', 'private'],
    ...['sh', '-c', script, 'sh', etc, ...argv],
  ];
  return { home, as, command: (name, args) => as([process.execPath, join(base, 'bundle', `${name}.cjs`), ...args]) };
}

/** How an owner in the namespace looks outside: `7:0` is `1500000006:61235`. */
export function outside(owner: string): string {
  return owner
    .split(':')
    .map((id) => (id === '0' ? user : firstId + Number(id) - 1))
    .join(':');
}
