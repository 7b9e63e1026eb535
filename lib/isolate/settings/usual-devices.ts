/** The few harmless devices that every program expects, and every container has in /dev. */
import type { Stats } from 'node:fs';
import { deviceNumber } from '../../sys/files/device-number.js';

/** Name, major, minor. Source: kernel, Documentation/admin-guide/devices.txt; runtime-spec, "Default Devices". */
export const usualDevices: readonly [name: string, major: number, minor: number][] = [
  ['null', 1, 3],
  ['zero', 1, 5],
  ['full', 1, 7],
  ['random', 1, 8],
  ['urandom', 1, 9],
  ['tty', 5, 0],
];

/** The path of the usual device that a node of the host is, by whatever name; undefined for any other file. */
export function usualDeviceAt(stats: Stats): string | undefined {
  if (!stats.isCharacterDevice()) return undefined;
  const found = usualDevices.find(([, major, minor]) => stats.rdev === deviceNumber(major, minor));
  return found && `/dev/${found[0]}`;
}
