/** Device nodes of the host: all of them for `--privileged`, those that `--device` names otherwise. */
import { readdirSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { ignoring } from '../../base/failure.js';
import { usage } from './failures.js';
import { type DeviceVolume, inside, onHost } from './volumes.js';

/** A device node of the host. */
export interface HostDevice {
  /** Below /dev. */
  path: string;
  /** Type and permissions. */
  mode: number;
  /** As stat(2) has it. */
  device: number;
}

/** All character and block devices below a directory of the host; terminals and what is mounted there are left out. */
export function deviceNodes(directory: string, below = ''): HostDevice[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    const path = below + entry.name;
    // Devices come and go: one, or its directory, may have gone since the directory around it was read.
    if (entry.isDirectory()) {
      if (['pts', 'shm', 'mqueue'].includes(path)) return [];
      return ignoring(['ENOENT'], () => deviceNodes(`${directory}/${entry.name}`, `${path}/`)) ?? [];
    }
    if (!entry.isCharacterDevice() && !entry.isBlockDevice()) return [];
    const stats = statSync(`${directory}/${entry.name}`, { throwIfNoEntry: false });
    return !stats || path === 'console' || path === 'ptmx' ? [] : [{ path, mode: stats.mode, device: stats.rdev }];
  });
}

/**
 * `--device HOST[:TARGET][:rwm]`: the device, or all that a directory has, as mounts of the host's nodes. Who may open
 * them is for their modes and owners to say. Source: docker's `--device`. Throws `Failure` 64, or 125 for what is not
 * there.
 */
export function devicesOf(text: string): DeviceVolume[] {
  const flag = `--device ${text}`;
  const { source, target } = splitDevice(text, flag);
  const path = onHost(flag, source, () => resolve(source));
  const stats = onHost(flag, path, () => statSync(path));
  const place = inside(target, flag);
  const device = (source: string, target: string): DeviceVolume => ({ type: 'device', source, target, kind: 'file' });
  if (stats.isCharacterDevice() || stats.isBlockDevice()) return [device(path, place)];
  const nodes = stats.isDirectory() ? onHost(flag, path, () => deviceNodes(path)) : [];
  if (nodes.length > 0) return nodes.map((node) => device(`${path}/${node.path}`, `${place}/${node.path}`));
  const why = stats.isDirectory() ? 'there is no device in it' : 'it is not a device';
  throw usage(flag, why, '-v shows files and directories');
}

/** The parts of the flag. With two fields the second is either the target or the rights. */
function splitDevice(text: string, flag: string): { source: string; target: string } {
  const [source = '', ...rest] = text.split(':');
  const last = rest.at(-1);
  const rights = last !== undefined && /^[rwm]+$/.test(last) ? rest.pop()! : 'rwm';
  const target = rest[0] ?? source;
  if (rest.length > 1 || target === '') throw usage(flag, 'it is not HOST[:TARGET][:rwm]');
  if (!/^[./]/.test(source))
    throw usage(flag, `${JSON.stringify(source)} is not a path`, 'a device is named by its node in /dev');
  if (!rights.includes('r') || !rights.includes('w')) {
    throw usage(
      flag,
      `with "${rights}" alone the container could read and write it all the same: no cgroup filters devices`,
      'leave them out: the mode of the node says who may do what',
    );
  }
  return { source, target };
}
