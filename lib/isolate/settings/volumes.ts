/** Volumes, and the flags that name them: `-v`, `--mount` and `--tmpfs`. */
import { statSync } from 'node:fs';
import { posix, resolve } from 'node:path';
import { errnoName, Failure, failureOf } from '../../base/failure.js';
import { Status } from '../../base/status.js';
import { truthOf } from '../../pipe/flags.js';
import { keptOutHint } from '../../sys/refusals/confinement.js';
import { MOUNT_ATTR } from '../../sys/syscalls/constants.js';
import { usage } from './failures.js';
import { parseSize } from './limits.js';
import { usualDeviceAt } from './usual-devices.js';

interface Place {
  /** Normalized path in the container, without the leading slash. */
  target: string;
  /** What is there then. */
  kind: 'directory' | 'file';
}

interface BindVolume extends Place {
  type: 'bind';
  /** Absolute path on the host. */
  source: string;
  readOnly: boolean;
}

/** `--device`, or `-v` of one of the usual: a node that works as a device. Nodes inside other volumes do not. */
export interface DeviceVolume extends Place {
  type: 'device';
  source: string;
}

interface TmpfsVolume extends Place {
  type: 'tmpfs';
  /** Options of tmpfs(5), over the mode and owner of the directory that the image has there. */
  options: Record<string, string>;
  /** MOUNT_ATTR_* */
  attributes: number;
}

export type Volume = BindVolume | DeviceVolume | TmpfsVolume;

/** That a mount of this one is nodev is what keeps devices closed (devices.ts). One that came later would not be. */
const alwaysPrivate =
  'mounts are always rprivate: device nodes would open in what the host mounts there later; mount it before the start';

/** docker makes a directory of it, which hides a mistake in the path. */
const notMade = 'unlike docker, md-isolate makes none: mkdir -p makes a directory';

/** `-v SOURCE:TARGET[:ro|rw]`. Source: docker's `--volume`, without named volumes, which need a daemon's store. */
export function volumeOf(text: string): BindVolume | DeviceVolume {
  const flag = `--volume ${text}`;
  const [source = '', target = '', options = 'rw', ...rest] = text.split(':');
  if (target === '' || rest.length > 0) {
    throw usage(flag, 'it is not SOURCE:TARGET[:ro]', '--tmpfs TARGET is for what need not stay');
  }
  expectSource(source, flag);
  if (!/^[./]/.test(source)) {
    throw usage(
      flag,
      `${JSON.stringify(source)} is not a path`,
      tildeHint(source) ?? 'named volumes do not exist here; write ./NAME for a directory',
    );
  }
  // The last three are for docker's desktop on a Mac, and have no meaning elsewhere.
  const known = ['ro', 'rw', 'z', 'Z', 'rprivate', 'private', 'cached', 'delegated', 'consistent'];
  const list = options.split(',');
  const unknown = list.find((option) => !known.includes(option));
  if (unknown !== undefined) throw usage(flag, `unknown option ${JSON.stringify(unknown)}`, optionHint(unknown));
  if (list.includes('ro') && list.includes('rw')) throw usage(flag, 'ro and rw exclude each other');
  return bind(source, target, list.includes('ro'), flag);
}

function optionHint(option: string): string {
  if (option.startsWith('/')) return '--mount type=bind,source=...,target=... takes paths with a colon';
  return /^r?(slave|shared)$/.test(option) ? alwaysPrivate : 'ro, rw, z and Z are known';
}

/** `--mount type=bind|tmpfs,source=...,target=...[,readonly]`. Source: docker's `--mount`. */
export function mountOf(text: string): Volume {
  const flag = `--mount ${text}`;
  const fields = mountFields(text, flag);
  const type = fields.get('type')?.toLowerCase();
  if (type === undefined)
    throw usage(flag, 'type= is missing', "bind and tmpfs are offered, and docker's volume is not");
  const known = type === 'tmpfs' ? ['tmpfs-size', 'tmpfs-mode'] : ['source', 'bind-propagation'];
  const unknown = [...fields.keys()].find((key) => !mountKeys.includes(key) && !known.includes(key));
  if (unknown !== undefined) throw usage(flag, `unknown field ${JSON.stringify(unknown)}`);
  if (type !== 'tmpfs' && type !== 'bind') throw usage(flag, `type=${type} is not offered`, 'bind and tmpfs are');
  const readOnly = asReadOnly(fields.get('readonly') ?? 'false', flag);
  const target = fields.get('target');
  if (target === undefined) throw usage(flag, 'target= is missing');
  if (type === 'tmpfs') return mountTmpfs(target, fields.get('tmpfs-size'), fields.get('tmpfs-mode'), readOnly, flag);
  const source = fields.get('source');
  if (source === undefined) throw usage(flag, 'source= is missing');
  expectSource(source, flag);
  const propagation = fields.get('bind-propagation') ?? 'rprivate';
  if (!['private', 'rprivate'].includes(propagation))
    throw usage(flag, `bind-propagation=${propagation} is not offered`, alwaysPrivate);
  return bind(source, target, readOnly, flag);
}

/** Fields of every type. `consistency` is for docker's desktop on a Mac. */
const mountKeys = ['type', 'target', 'readonly', 'consistency'];
const otherNames = new Map([
  ['src', 'source'],
  ['dst', 'target'],
  ['destination', 'target'],
  ['ro', 'readonly'],
]);

/** The fields by their keys. One without a value is true. */
function mountFields(text: string, flag: string): Map<string, string> {
  return new Map(
    fieldsOf(text, flag).map((field) => {
      const [, word = '', value] = /^([^=]*)(?:=(.*))?$/s.exec(field) ?? [];
      const name = word.toLowerCase();
      const key = otherNames.get(name) ?? name;
      if (value === undefined && ['source', 'target', 'type'].includes(key))
        throw usage(flag, `the field ${JSON.stringify(word)} has no value`);
      return [key, value ?? 'true'];
    }),
  );
}

/** The fields, in CSV as in docker: a field in quotes may have commas, and a quote in it is doubled. */
function fieldsOf(text: string, flag: string): string[] {
  const fields = [...text.matchAll(/(?<=^|,)(?:"((?:[^"]|"")*)"|([^",][^,]*|))(?=,|$)/g)];
  if (fields.map(([whole]) => whole).join() !== text) throw usage(flag, 'a quote is not closed, or followed by more');
  return fields.map(([, quoted, plain]) => quoted?.replaceAll('""', '"') ?? plain ?? '');
}

function asReadOnly(value: string, flag: string): boolean {
  const known = truthOf(value);
  if (known === undefined) throw usage(flag, `readonly=${JSON.stringify(value)} is neither true nor false`);
  return known;
}

function mountTmpfs(
  target: string,
  size: string | undefined,
  mode: string | undefined,
  readOnly: boolean,
  flag: string,
): TmpfsVolume {
  // docker's units here, `1GB`, and those of tmpfs(5), which has a percentage as well.
  const bytes = size === undefined || tmpfsValues.size!.test(size) ? size : String(parseSize(size, flag));
  const options = { ...(bytes === undefined ? {} : { size: bytes }), ...(mode === undefined ? {} : { mode }) };
  return tmpfs(target, options, tmpfsDefaults | (readOnly ? MOUNT_ATTR.RDONLY : 0), flag);
}

const tmpfsDefaults = MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV | MOUNT_ATTR.NOEXEC;
const attributesByName: Record<string, [set: number, clear: number]> = {
  ro: [MOUNT_ATTR.RDONLY, 0],
  rw: [0, MOUNT_ATTR.RDONLY],
  noexec: [MOUNT_ATTR.NOEXEC, 0],
  exec: [0, MOUNT_ATTR.NOEXEC],
  nosuid: [MOUNT_ATTR.NOSUID, 0],
  suid: [0, MOUNT_ATTR.NOSUID],
  nodev: [MOUNT_ATTR.NODEV, 0],
  atime: [0, MOUNT_ATTR.NOATIME],
  noatime: [MOUNT_ATTR.NOATIME, MOUNT_ATTR.STRICTATIME],
  strictatime: [MOUNT_ATTR.STRICTATIME, MOUNT_ATTR.NOATIME],
  nostrictatime: [0, MOUNT_ATTR.STRICTATIME],
  relatime: [0, MOUNT_ATTR.NOATIME | MOUNT_ATTR.STRICTATIME],
  diratime: [0, MOUNT_ATTR.NODIRATIME],
  nodiratime: [MOUNT_ATTR.NODIRATIME, 0],
};

/** These have no effect on a file system in memory that only one mount namespace has. */
const idleOptions = ['defaults', 'norelatime', 'nomand', 'sync', 'async', 'dirsync', 'private', 'rprivate'];

/** `--tmpfs TARGET[:OPTIONS]`. Source: docker's `--tmpfs`; nosuid, nodev and noexec unless told otherwise. */
export function tmpfsOf(text: string): TmpfsVolume {
  const flag = `--tmpfs ${text}`;
  const [target = '', list = ''] = text.split(/:(.*)/s);
  const options: Record<string, string> = {};
  let attributes = tmpfsDefaults;
  for (const option of list.split(',').filter((word) => word !== '')) {
    const [name = '', value] = option.split(/=(.*)/s);
    if (idleOptions.includes(name)) continue;
    const known = Object.hasOwn(attributesByName, name) ? attributesByName[name] : undefined;
    if (known) attributes = (attributes | known[0]) & ~known[1];
    else if (value !== undefined && Object.hasOwn(tmpfsValues, name)) options[name] = value;
    else throw usage(flag, `unknown option ${JSON.stringify(option)}`, tmpfsHint(option));
  }
  return tmpfs(target, options, attributes, flag);
}

function tmpfsHint(option: string): string | undefined {
  return option === 'dev' ? 'leave it out: nothing opens a device node there, and --device gives devices' : undefined;
}

/**
 * Options of tmpfs(5) and their values. They are checked here, since the kernel answers a wrong one only with EINVAL.
 */
const tmpfsValues: Record<string, RegExp> = {
  size: /^[0-9]+([kmgtpe]|%)?$/i,
  mode: /^0?[0-7]{1,4}$/,
  uid: /^[0-9]{1,10}$/,
  gid: /^[0-9]{1,10}$/,
  nr_inodes: /^[0-9]+[kmgtpe]?$/i,
  nr_blocks: /^[0-9]+[kmgtpe]?$/i,
};

function tmpfs(target: string, options: Record<string, string>, attributes: number, flag: string): TmpfsVolume {
  for (const [name, value] of Object.entries(options)) {
    if (!tmpfsValues[name]!.test(value)) throw usage(flag, `${JSON.stringify(value)} is not a ${name} as in tmpfs(5)`);
  }
  return { type: 'tmpfs', target: inside(target, flag), kind: 'directory', options, attributes };
}

function bind(source: string, target: string, readOnly: boolean, flag: string): BindVolume | DeviceVolume {
  const path = onHost(flag, source, () => resolve(source));
  const stats = onHost(flag, path, () => statSync(path), tildeHint(source) ?? notMade);
  const place = inside(target, flag);
  // `-v /dev/null:FILE` is the way to empty a file of the image. Every container has this device in any case. It is named
  // by its own path: another one may lead to any device of the host by the time that it is mounted, without nodev.
  const device = usualDeviceAt(stats);
  if (device) return { type: 'device', source: device, kind: 'file', target: place };
  return { type: 'bind', source: path, kind: stats.isDirectory() ? 'directory' : 'file', target: place, readOnly };
}

/** As a path, an empty one would be the working directory, and hand that to the container. */
function expectSource(source: string, flag: string): void {
  if (source === '') throw usage(flag, 'its source is empty', 'a variable without a value? for this directory write .');
}

/** For `--volume=~/DIR:...` and `source=~/DIR`. */
function tildeHint(source: string): string | undefined {
  return source.startsWith('~') ? 'the shell replaces ~ only at the beginning of a word: write $HOME' : undefined;
}

/** The target without its leading slash, normalized. Throws `Failure` 64 for one that is not absolute. */
export function inside(target: string, flag: string): string {
  if (!target.startsWith('/')) throw usage(flag, `the target ${JSON.stringify(target)} is not absolute`);
  return posix.normalize(target).replace(/^\/+|\/+$/g, '');
}

/**
 * Does something with `path` on the host. Throws `Failure` 125 that names the flag and the path; `missing` is its hint
 * where nothing is there.
 */
export function onHost<T>(flag: string, path: string, work: () => T, missing?: string): T {
  try {
    return work();
  } catch (error) {
    const hint = hintOf(errnoName(error), missing);
    throw new Failure(Status.isolate, flag, `${path}: ${failureOf(error, path).why}`, { cause: error, hint });
  }
}

function hintOf(code: string | undefined, missing: string | undefined): string | undefined {
  if (code === 'ENOENT') return missing;
  return code === 'EACCES' ? keptOutHint() : undefined;
}
