/** /etc/hostname, /etc/hosts and /etc/resolv.conf: of the container, not of the image. */
import { close, openat, write } from '../../sys/calls.js';
import { MOUNT_ATTR, O } from '../../sys/constants.js';
import { Block, Result } from '../../sys/native-code/program.js';
import { type PlanStep, step } from '../child/step.js';
import type { Host } from '../plan/host.js';
import { hostsFile, type Names, resolverFile } from '../settings/names.js';
import { copyOfTree, mountAt } from './mounts.js';

export function fileSteps(
  workshop: Result,
  root: Result,
  { hostname, readOnly, names }: { hostname: string; readOnly: boolean; names: Names },
  host: Host,
): PlanStep[] {
  const files: [name: string, content: string][] = [
    ['hostname', `${hostname}\n`],
    ['hosts', hostsFile(host.hosts, hostname, names.hosts)],
    ['resolv.conf', resolverFile(host.resolvConf, names)],
  ];
  return files.flatMap(([name, content]) => {
    const place = host.etcFiles[name] ?? `etc/${name}`;
    const attributes = readOnly ? MOUNT_ATTR.RDONLY : 0;
    const tree = copyOfTree({ fd: workshop, path: name }, attributes, 'A mount of this one file.');
    return [
      ...fileStepsOf(workshop, name, content),
      ...mountAt(root, place, 'file', tree, { links: 'none', why: `Where the command will find /etc/${name}.` }),
    ];
  });
}

function fileStepsOf(workshop: Result, name: string, content: string): PlanStep[] {
  const fd = new Result(name);
  const bytes = Buffer.from(content);
  const why = `The container's own /etc/${name}.`;
  return [
    step(openat, [workshop, name, O.CREAT | O.WRONLY | O.CLOEXEC, 0o644], why, { saves: fd }),
    ...(bytes.length > 0 ? [step(write, [fd, new Block(bytes), bytes.length], 'Its content.')] : []),
    step(close, [fd], 'It is written.'),
  ];
}
