/** What a container looks like from inside, as facts that can be compared: `mount /proc`, `limit nofile`, and so on. */
import { readlinkSync } from 'node:fs';

/** A script for any POSIX shell with busybox's tools; `parseView` understands what it prints. */
export const viewScript = `
echo '== user'; id -u; id -g; id -G; umask; pwd
echo '== status'; cat /proc/self/status
echo '== mounts'; cat /proc/self/mountinfo
echo '== devices'; cd /dev; for name in $(find . | sort); do ls -ld "$name"; done; cd /
echo '== limits'; cat /proc/self/limits
echo '== environment'; env
echo '== namespaces'; cd /proc/self/ns; for name in *; do echo "$name $(readlink $name)"; done; cd /
echo '== cgroup'; cat /proc/self/cgroup
echo '== score'; cat /proc/self/oom_score_adj
echo '== sysctls'; cd /proc/sys/net/ipv4; grep . ip_unprivileged_port_start ping_group_range; cd /
echo '== descriptors'; ls /proc/self/fd | wc -w
echo '== files'; ls -A /; ls -A /etc
`;

export type View = Map<string, string>;

export function parseView(text: string): View {
  const sections = new Map(
    text.split(/^== /m).map((part) => {
      const [name = '', ...lines] = part.trimEnd().split('\n');
      return [name, lines] as const;
    }),
  );
  const lines = (name: string) => sections.get(name) ?? [];
  const [uid, gid, groups, umask, directory] = lines('user');
  return new Map([
    ['user', `${uid}:${gid}`],
    ['groups', [...new Set(groups?.split(' '))].sort().join(' ')],
    ['umask', umask ?? ''],
    ['working directory', directory ?? ''],
    ...lines('status').flatMap(statusFact),
    ...lines('mounts').map(mountFact),
    ...lines('devices').flatMap(deviceFact),
    ...lines('limits').flatMap(limitFact),
    ...lines('environment').flatMap(variableFact),
    ...lines('namespaces').map(namespaceFact),
    ['path of the own cgroup', [...new Set(lines('cgroup').map(cgroupPath))].join(' ')],
    ['oom_score_adj', lines('score')[0] ?? ''],
    ...lines('sysctls').map(sysctlFact),
    ['descriptors', lines('descriptors')[0]?.trim() ?? ''],
    ...lines('files').map((name): [string, string] => [`file ${name}`, 'there']),
  ]);
}

type Fact = [name: string, value: string];

const statusNames: Record<string, string> = {
  CapInh: 'inheritable capabilities',
  CapPrm: 'permitted capabilities',
  CapEff: 'effective capabilities',
  CapBnd: 'bounding set',
  CapAmb: 'ambient capabilities',
  NoNewPrivs: 'no_new_privs',
  Seccomp: 'seccomp mode',
  SigIgn: 'ignored signals',
  SigBlk: 'blocked signals',
};

function statusFact(line: string): Fact[] {
  const [key = '', value = ''] = line.split(/:\s*/);
  const name = statusNames[key];
  return name === undefined ? [] : [[name, value]];
}

/** `NAME:VALUE`, by grep. */
function sysctlFact(line: string): Fact {
  const [name = '', value = ''] = line.split(':');
  return [name, value];
}

/** The type of a mount, and its flags in a fixed order. Its source is left out, since it differs by program. */
function mountFact(line: string): Fact {
  const [before = '', after = ''] = line.split(' - ');
  const [, , , , point = '', flags = ''] = before.split(' ');
  const [type = ''] = after.split(' ');
  // The type of the root depends on where the program stores images.
  const shown = point === '/' ? '' : `${type} `;
  return [`mount ${point}`, shown + flags.split(',').sort().join(',')];
}

/** `crw-rw-rw- 1 root root 1, 3 Nov 23 15:39 ./null` */
function deviceFact(line: string): Fact[] {
  const [, mode = '', owner, numbers, name] =
    /^(\S+)\s+\d+\s+(\S+\s+\S+)\s+(\d+,\s+\d+|\d+).*? \.?\/?(\S+(?: -> .*)?)$/.exec(line) ?? [];
  if (name === undefined || name === '.') return [];
  const [path, target] = name.split(' -> ');
  const what = mode.startsWith('c') ? `${numbers?.replace(/\s+/g, '')} ` : '';
  return [[`device /dev/${path}`, target ? `-> ${target}` : `${mode} ${what}${owner?.replace(/\s+/, ':')}`]];
}

function limitFact(line: string): Fact[] {
  const [, name, soft, hard] = /^Max (.*?)\s{2,}(\S+)\s+(\S+)/.exec(line) ?? [];
  return name === undefined ? [] : [[`limit of ${name}`, `${soft}:${hard}`]];
}

function variableFact(line: string): Fact[] {
  const [name = '', value = ''] = line.split(/=(.*)/s);
  // These two are the shell's.
  if (name === 'SHLVL' || name === 'PWD' || name === '_') return [];
  return [[`variable ${name}`, name === 'HOSTNAME' ? value.replace(/[0-9a-f]/g, 'x') : value]];
}

function namespaceFact(line: string): Fact {
  const [name = '', id] = line.split(' ');
  return [`namespace ${name}`, readlinkSync(`/proc/self/ns/${name}`) === id ? "the host's" : 'its own'];
}

function cgroupPath(line: string): string {
  const path = line.split(':').slice(2).join(':');
  return path === '/' ? '/' : 'a path of the host';
}

/** The facts in which two views differ, with both values; undefined where there is none. */
export function differences(
  ours: View,
  theirs: View,
): { fact: string; ours: string | undefined; theirs: string | undefined }[] {
  const facts = [...new Set([...ours.keys(), ...theirs.keys()])].sort();
  return facts
    .map((fact) => ({ fact, ours: ours.get(fact), theirs: theirs.get(fact) }))
    .filter((one) => one.ours !== one.theirs);
}
