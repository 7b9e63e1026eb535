/** /etc/hostname, /etc/hosts and /etc/resolv.conf: of the container, not of the image. */

import { Block, Result } from '../../sys/native-code/step.js';
import { close, openat, write } from '../../sys/syscalls/calls.js';
import { MOUNT_ATTR, O } from '../../sys/syscalls/constants.js';
import { type PlanStep, step } from '../child/step.js';
import { hostText } from '../settings/files.js';
import type { Names } from '../settings/names.js';
import type { Settings } from '../settings/settings.js';
import type { Volume } from '../settings/volumes.js';
import { copyOfTree, mountAt } from './mounts.js';
import { placeOfFile } from './places.js';
import type { View } from './view.js';
import { volumeOver } from './volumes.js';

const fileNames = ['hostname', 'hosts', 'resolv.conf'] as const;
type FileName = (typeof fileNames)[number];

export interface EtcFiles {
  /** Text of the host's /etc/hosts and /etc/resolv.conf; empty when there is none. */
  hosts: string;
  resolvConf: string;
  /** Where the files of the image really are, or would be, with its links resolved. */
  places: Record<FileName, string>;
}

export function findEtcFiles(view: View): EtcFiles {
  const place = (name: string) => placeOfFile(view, `etc/${name}`);
  return {
    places: { hostname: place('hostname'), hosts: place('hosts'), 'resolv.conf': place('resolv.conf') },
    hosts: hostText('/etc/hosts'),
    resolvConf: hostText('/etc/resolv.conf'),
  };
}

/**
 * The steps for the three files. Most come `before` the volumes. A file whose place a `--tmpfs` covers comes `after`
 * them and is made in there, as docker does: the /etc/resolv.conf of many images leads to /run, and a tmpfs is empty.
 */
export function etcFileSteps(
  workshop: Result,
  root: Result,
  { hostname, readOnly, names }: Settings,
  { hosts, resolvConf, places }: EtcFiles,
  volumes: readonly Volume[],
): { before: PlanStep[]; after: PlanStep[] } {
  const contents = {
    hostname: `${hostname}\n`,
    hosts: hostsFile(hosts, hostname, names.hosts),
    'resolv.conf': resolverFile(resolvConf, names),
  };
  // A link of the image is covered as well.
  const placeOf = (name: FileName) => (isInTmpfs(volumes, `etc/${name}`) ? `etc/${name}` : places[name]);
  const stepsOf = (name: FileName) => {
    const tree = copyOfTree(
      { fd: workshop, path: name },
      readOnly ? MOUNT_ATTR.RDONLY : 0,
      'A mount of this one file.',
    );
    return [
      ...newFileSteps(workshop, name, contents[name]),
      ...mountAt(root, placeOf(name), 'file', tree, `Where the command will find /etc/${name}.`),
    ];
  };
  const isLate = (name: FileName) => isInTmpfs(volumes, placeOf(name));
  return {
    before: fileNames.filter((name) => !isLate(name)).flatMap(stepsOf),
    after: fileNames.filter(isLate).flatMap(stepsOf),
  };
}

/** Whether a file would be covered by a tmpfs in which there is room for it. */
function isInTmpfs(volumes: readonly Volume[], path: string): boolean {
  const innermost = volumeOver(volumes, path);
  return innermost?.type === 'tmpfs' && innermost.target !== path && (innermost.attributes & MOUNT_ATTR.RDONLY) === 0;
}

/** A new file in the workshop. */
function newFileSteps(workshop: Result, name: string, content: string): PlanStep[] {
  const fd = new Result(name);
  const bytes = Buffer.from(content);
  const why = `The container's own /etc/${name}.`;
  return [
    step(openat, [workshop, name, O.CREAT | O.WRONLY | O.CLOEXEC, 0o644], why, { saves: fd }),
    ...(bytes.length > 0 ? [step(write, [fd, new Block(bytes), bytes.length], 'Its content.')] : []),
    step(close, [fd], 'It is written.'),
  ];
}

/** The text of /etc/hosts: the host's names, since its network is usually shared, then the container's own. */
export function hostsFile(hosts: string, hostname: string, added: readonly string[]): string {
  const base = hosts === '' ? '127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n' : hosts;
  return [base.replace(/\n$/, ''), `127.0.1.1\t${hostname}`, ...added, ''].join('\n');
}

/** The text of /etc/resolv.conf. `--dns-search .` means no search at all, and an empty option none, as in docker. */
export function resolverFile(text: string, { nameservers, search, options }: Names): string {
  const setOptions = options.filter((option) => option !== '');
  const replaced: [kind: RegExp, lines: string[], given: number][] = [
    [/^(search|domain)\b/, search.includes('.') ? [] : [`search ${search.join(' ')}`], search.length],
    [/^nameserver\b/, nameservers.map((server) => `nameserver ${server}`), nameservers.length],
    [/^options\b/, setOptions.length > 0 ? [`options ${setOptions.join(' ')}`] : [], options.length],
  ];
  const inForce = replaced.filter(([, , given]) => given > 0);
  if (inForce.length === 0) return text;
  const kept = text.split('\n').filter((line) => line !== '' && !inForce.some(([kind]) => kind.test(line)));
  return [...kept, ...inForce.flatMap(([, lines]) => lines), ''].join('\n');
}
