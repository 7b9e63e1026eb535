/** The container's own /dev, with the few harmless devices that every program expects. */
import { statSync } from 'node:fs';
import { deviceNumber } from '../../sys/files/device-number.js';
import type { Result } from '../../sys/native-code/step.js';
import { inUserNamespace } from '../../sys/procfs/own-id-map.js';
import { mkdirat, mknodat, symlinkat } from '../../sys/syscalls/calls.js';
import { AT, capabilities, MOUNT_ATTR, S } from '../../sys/syscalls/constants.js';
import { type PlanStep, step } from '../child/step.js';
import type { HostDevice } from '../settings/devices.js';
import { refused } from '../settings/failures.js';
import { usualDevices } from '../settings/usual-devices.js';
import {
  attachBelow,
  copyOfTree,
  mountAt,
  mountOnOwn,
  newFileSystem,
  type Opened,
  plainAttributes,
  setAttributes,
} from './mounts.js';

/** Links that programs expect. Source: runtime-spec, "Dev symbolic links". */
const links: readonly [name: string, text: string][] = [
  ['fd', '/proc/self/fd'],
  ['stdin', '/proc/self/fd/0'],
  ['stdout', '/proc/self/fd/1'],
  ['stderr', '/proc/self/fd/2'],
  ['ptmx', 'pts/ptmx'],
];

export interface DeviceOptions {
  /** The usual devices are the host's, since no new node can be made. */
  bindDevices: boolean;
  /** All devices of the host, with `--privileged`. */
  hostDevices: readonly HostDevice[];
  /** Nodes that root makes in /dev open nothing, unless they should, or the kernel sees to that (`closesDevices`). */
  nodevOnDev: boolean;
  /** The group of terminals; undefined where no such group is mapped. */
  ttyGroup: number | undefined;
}

/**
 * Attributes for a mount of one of the host's nodes. Read-only does not keep anybody from writing to the device. It
 * keeps root of the container from changing the node's mode, owner and times, which root of the host could do.
 */
export const nodeAttributes = MOUNT_ATTR.NOSUID | MOUNT_ATTR.NOEXEC | MOUNT_ATTR.RDONLY;

/**
 * Whether the devices have to be the host's: mknod(2) of one is refused in a user namespace, and to root without
 * CAP_MKNOD, as in a container of podman.
 */
export function bindsDevices(inUserns: boolean, available: readonly number[]): boolean {
  return inUserns || !available.includes(capabilities.indexOf('MKNOD'));
}

/**
 * Whether /dev has to be nodev. In a user namespace the kernel opens no node of a tmpfs that was made there, and nodev
 * would be in the way: where user namespaces are made in turn, a mount keeps it, and `buildah --isolation chroot` fails
 * when it makes /dev read-only without repeating it.
 */
export function closesDevices(inUserns: boolean, privileged: boolean): boolean {
  return !inUserns && !privileged;
}

/**
 * Throws `Failure` when the host's device nodes are not what they should be: some containers get these. A regular file
 * at /dev/null would collect what containers throw away, and it would be what is mounted over secrets.
 */
export function checkDevices(): void {
  for (const [name, major, minor] of usualDevices) {
    const stats = statSync(`/dev/${name}`, { throwIfNoEntry: false });
    if (stats?.isCharacterDevice() && stats.rdev === deviceNumber(major, minor)) continue;
    throw refused(
      `/dev/${name}`,
      `it is not the device ${major}:${minor} on this host`,
      inUserNamespace()
        ? `no device can be made in a user namespace: what made this one has to mount the host's (bwrap: --dev /dev)`
        : `sudo rm -f /dev/${name}; sudo mknod -m 666 /dev/${name} c ${major} ${minor}`,
    );
  }
}

const whyNodev = 'CAP_MKNOD lets root make a node of any disk; on a mount with nodev such a node opens nothing.';

/** Everything below /dev. `dev` is the descriptor of the tmpfs that is mounted there, `pts` that of its terminals. */
export function deviceSteps(
  root: Result,
  { bindDevices, hostDevices, nodevOnDev, ttyGroup }: DeviceOptions,
  shmSize: string,
): { steps: PlanStep[]; dev: Result; pts: Result } {
  const tmpfs = newFileSystem(
    'tmpfs',
    { mode: '755', size: '65536k' },
    MOUNT_ATTR.NOSUID | MOUNT_ATTR.NOEXEC,
    "The host's /dev, with its disks and memory, stays outside: the container gets an empty one of its own.",
  );
  const dev = tmpfs.fd;
  const pts = terminals(ttyGroup);
  const whyShm = 'shm_open(3) puts its objects here.';
  const shm = newFileSystem('tmpfs', { mode: '1777', size: shmSize }, plainAttributes, whyShm);
  const whyQueues = 'mq_overview(7): the message queues of this IPC namespace.';
  const steps = [
    ...mountAt(root, 'dev', 'directory', tmpfs, 'A link at /dev in the image could point anywhere; it is refused.'),
    ...usualDevices.flatMap((device) => (bindDevices ? boundDevice(dev, device) : ownDevice(dev, device))),
    ...hostDevices.flatMap((device) => hostDevice(dev, device)),
    ...(nodevOnDev ? [setAttributes(dev, MOUNT_ATTR.NODEV, whyNodev)] : []),
    ...mountOnOwn(dev, 'pts', pts, '/dev/pts'),
    ...mountOnOwn(dev, 'shm', shm, '/dev/shm'),
    ...mountOnOwn(dev, 'mqueue', newFileSystem('mqueue', {}, plainAttributes, whyQueues), '/dev/mqueue'),
    ...links.map(([name, text]) =>
      step(symlinkat, [text, dev, name], 'Programs expect this link.', { man: 'proc(5)' }),
    ),
  ];
  return { steps, dev, pts: pts.fd };
}

function terminals(group: number | undefined): Opened {
  return newFileSystem(
    'devpts',
    { ptmxmode: '0666', mode: '0620', ...(group === undefined ? {} : { gid: String(group) }) },
    MOUNT_ATTR.NOSUID | MOUNT_ATTR.NOEXEC,
    "Terminals of the container's own: every mount of devpts is a new instance, where no terminal of the host exists.",
  );
}

/**
 * For a volume at /dev, which covers all of that: what works in the container's own /dev, mounted over what the volume
 * has of the same name. `dev`: that /dev. The terminal is there, and a device node in a volume opens nothing.
 */
export function ownDevicesOver(root: Result, dev: Result): PlanStep[] {
  const paths = [...usualDevices.map(([name]) => name), 'pts', 'pts/ptmx', 'console'];
  return paths.flatMap((path) => {
    const shown = `/dev/${path.replace('pts/ptmx', 'ptmx')}`;
    const node = copyOfTree({ fd: dev, path }, 0, "The container's own once more.", { name: path });
    const why = `Now ${shown} shows it, if the volume has such a place.`;
    const steps = [...node.steps, ...attachBelow(root, shown.slice(1), node.fd, shown, why)];
    return steps.map((it) => ({ ...it, onError: 'continue' as const }));
  });
}

/** A new node, mounted on itself before /dev becomes nodev. Because of that mount this node keeps working. */
function ownDevice(dev: Result, [name, major, minor]: (typeof usualDevices)[number]): PlanStep[] {
  const node = copyOfTree(
    { fd: dev, path: name },
    0,
    'A mount of the node alone, which keeps its use when /dev loses it.',
    { name },
  );
  return [
    step(mknodat, [dev, name, S.IFCHR | 0o666, deviceNumber(major, minor)], `The device ${major}:${minor}.`),
    ...node.steps,
    ...attachBelow(dev, name, node.fd, `/dev/${name}`, `/dev/${name} works as a device.`),
  ];
}

/** The host's node, where the kernel does not let us make one. */
function boundDevice(dev: Result, [name]: (typeof usualDevices)[number]): PlanStep[] {
  const node = copyOfTree(
    { fd: AT.FDCWD, path: `/dev/${name}` },
    nodeAttributes,
    "mknod(2) of a device is refused in a user namespace, whose root is not the host's: the host's own node serves.",
    { name },
  );
  return [
    ...node.steps,
    step(mknodat, [dev, name, S.IFREG | 0o666, 0], 'A mount point has to exist: an empty file.'),
    ...attachBelow(dev, name, node.fd, `/dev/${name}`, `/dev/${name} works as a device.`),
  ];
}

/** `--privileged`: the same node in the container's /dev, in directories as on the host. */
function hostDevice(dev: Result, { path, mode, device }: HostDevice): PlanStep[] {
  const parents = path.split('/').slice(0, -1);
  return [
    ...parents.map((_, i) =>
      step(mkdirat, [dev, parents.slice(0, i + 1).join('/'), 0o755], 'A directory as on the host.', {
        onError: 'continue',
      }),
    ),
    step(mknodat, [dev, path, mode, device], '--privileged: every device of the host.', { onError: 'continue' }),
  ];
}
