/** What the user adds to the container's tree: directories and files of the host, and temporary file systems. */
import { statSync } from 'node:fs';
import { posix, resolve } from 'node:path';
import { Failure, failureOf } from '../../pipe/failure.js';
import { Status } from '../../pipe/status.js';
import { AT, MOUNT_ATTR } from '../../sys/constants.js';
import type { Result } from '../../sys/program.js';
import type { PlanStep } from '../step.js';
import { copyOfTree, mountAt, newFileSystem, type TargetKind, type Tree, target } from './mounts.js';
import { placeInside } from './places.js';

export interface BindVolume {
  type: 'bind';
  /** Absolute path on the host. */
  source: string;
  kind: TargetKind;
  /** Normalized path in the container, without the leading slash. */
  target: string;
  readOnly: boolean;
  /** A device node that works, which those in a volume do not. */
  isDevice?: boolean;
}

export interface TmpfsVolume {
  type: 'tmpfs';
  target: string;
  /** Options of tmpfs(5). */
  options: Record<string, string>;
  /** MOUNT_ATTR_* */
  attributes: number;
}

export type Volume = BindVolume | TmpfsVolume;

/** `-v SOURCE:TARGET[:ro|rw]`. Source: docker's `--volume`, without named volumes, which need a daemon's store. */
export function volumeOf(text: string): BindVolume {
  const flag = `--volume ${text}`;
  const [source = '', target = '', options = 'rw', ...rest] = text.split(':');
  if (target === '' || rest.length > 0) {
    throw usage(flag, 'it is not SOURCE:TARGET[:ro]', '--tmpfs TARGET is for what need not stay');
  }
  if (!/^[./]/.test(source)) {
    throw usage(
      flag,
      `${JSON.stringify(source)} is no path`,
      'named volumes do not exist here; write ./NAME for a directory',
    );
  }
  // The last three say how docker's desktop on a Mac keeps both sides the same; elsewhere they say nothing.
  const known = ['ro', 'rw', 'z', 'Z', 'rprivate', 'private', 'cached', 'delegated', 'consistent'];
  const unknown = options.split(',').find((option) => !known.includes(option));
  if (unknown !== undefined) throw usage(flag, `unknown option ${JSON.stringify(unknown)}`);
  return bind(source, target, options.split(',').includes('ro'), flag);
}

/** `--mount type=bind|tmpfs,source=...,target=...[,readonly]`. Source: docker's `--mount`. */
export function mountOf(text: string): Volume {
  const flag = `--mount ${text}`;
  const fields = new Map(
    text.split(',').map((field) => {
      const [, key = '', value] = /^([^=]*)(?:=(.*))?$/s.exec(field) ?? [];
      return [mountKeys[key] ?? key, value ?? 'true'] as const;
    }),
  );
  const take = (key: string) => {
    const value = fields.get(key);
    fields.delete(key);
    return value;
  };
  const type = take('type') ?? 'volume';
  const target = take('target');
  const readOnly = !['false', '0', undefined].includes(take('readonly'));
  if (target === undefined) throw usage(flag, 'target= is missing');
  const volume =
    type === 'tmpfs' ? mountTmpfs(target, take('tmpfs-size'), take('tmpfs-mode'), readOnly, flag) : undefined;
  const source = volume ? undefined : take('source');
  take('consistency');
  const [left] = fields.keys();
  if (left !== undefined) throw usage(flag, `unknown field ${JSON.stringify(left)}`);
  if (volume) return volume;
  if (type !== 'bind') throw usage(flag, `type=${type} is not offered`, 'bind and tmpfs are');
  if (source === undefined) throw usage(flag, 'source= is missing');
  return bind(source, target, readOnly, flag);
}

const mountKeys: Record<string, string> = { src: 'source', dst: 'target', destination: 'target', ro: 'readonly' };

function mountTmpfs(
  target: string,
  size: string | undefined,
  mode: string | undefined,
  readOnly: boolean,
  flag: string,
): TmpfsVolume {
  const options = { ...(size === undefined ? {} : { size }), ...(mode === undefined ? {} : { mode }) };
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
};

/** `--tmpfs TARGET[:OPTIONS]`. Source: docker's `--tmpfs`; nosuid, nodev and noexec unless told otherwise. */
export function tmpfsOf(text: string): TmpfsVolume {
  const flag = `--tmpfs ${text}`;
  const [target = '', list = ''] = text.split(/:(.*)/s);
  const options: Record<string, string> = {};
  let attributes = tmpfsDefaults;
  for (const option of list.split(',').filter((word) => word !== '')) {
    const [name = '', value] = option.split(/=(.*)/s);
    const known = attributesByName[name];
    if (known) attributes = (attributes | known[0]) & ~known[1];
    else if (value !== undefined && Object.hasOwn(tmpfsValues, name)) options[name] = value;
    else throw usage(flag, `unknown option ${JSON.stringify(option)}`);
  }
  return tmpfs(target, options, attributes, flag);
}

/** Of the options of tmpfs(5). The kernel itself refuses a wrong one with no more than EINVAL. */
const tmpfsValues: Record<string, RegExp> = {
  size: /^[0-9]+([kmgtpe]|%)?$/i,
  mode: /^[0-7]{1,4}$/,
  uid: /^[0-9]{1,10}$/,
  gid: /^[0-9]{1,10}$/,
  nr_inodes: /^[0-9]+[kmgtpe]?$/i,
  nr_blocks: /^[0-9]+[kmgtpe]?$/i,
};

function tmpfs(target: string, options: Record<string, string>, attributes: number, flag: string): TmpfsVolume {
  for (const [name, value] of Object.entries(options)) {
    if (!tmpfsValues[name]!.test(value)) throw usage(flag, `${JSON.stringify(value)} is no ${name} as in tmpfs(5)`);
  }
  return { type: 'tmpfs', target: inside(target, flag), options: { mode: '1777', ...options }, attributes };
}

function bind(source: string, target: string, readOnly: boolean, flag: string): BindVolume {
  let path = source;
  let directory: boolean;
  try {
    path = resolve(source);
    directory = statSync(path).isDirectory();
  } catch (error) {
    const { why } = failureOf(error, path);
    throw new Failure(Status.isolate, flag, `${path}: ${why}`, { cause: error });
  }
  return { type: 'bind', source: path, kind: directory ? 'directory' : 'file', target: inside(target, flag), readOnly };
}

/** A target as the plan has it. Throws `Failure` 64 for one that is not absolute. */
export function inside(target: string, flag: string): string {
  if (!target.startsWith('/')) throw usage(flag, `the target ${JSON.stringify(target)} is not absolute`);
  return posix.normalize(target).replace(/^\/+|\/+$/g, '');
}

/**
 * The volumes with their targets where the image really has them. Over the root, /proc and /sys nothing is mounted,
 * whatever links an image has: what the container sees there is what the kernel says (CVE-2019-16884, CVE-2023-28642).
 * What the image has in its /dev is covered by a new one and says nothing.
 * Throws `Failure` 64.
 */
export function placed(root: string, volumes: readonly Volume[]): Volume[] {
  return volumes.map((volume) => {
    const { path, kind } = volume.target.startsWith('dev/')
      ? { path: volume.target, kind: undefined }
      : placeInside(root, volume.target);
    const what = `the target /${volume.target}`;
    if (path === '') throw usage(what, 'the root itself is no target');
    if (/^(proc|sys)(\/|$)/.test(path)) throw usage(what, `/${path} belongs to the kernel and cannot be covered`);
    const wanted = volume.type === 'bind' ? volume.kind : 'directory';
    if (kind !== undefined && (kind === 'directory') !== (wanted === 'directory')) {
      throw usage(
        what,
        `a ${wanted} is to be mounted there, and the image has ${kind === 'directory' ? 'a directory' : 'none'}`,
      );
    }
    return { ...volume, target: path };
  });
}

/**
 * Those of an image's VOLUMEs that it lacks, where they really would be. docker mounts a volume on each, so that programs
 * find a directory: /tmp of an image from scratch, for example.
 */
export function missing(root: string, directories: readonly string[]): string[] {
  return directories
    .map((path) => placeInside(root, path))
    .filter(({ path, kind }) => kind === undefined && !/^(proc|sys|dev)(\/|$)/.test(path))
    .map(({ path }) => path);
}

function usage(what: string, why: string, hint?: string): Failure {
  return new Failure(Status.usage, what, why, hint === undefined ? {} : { hint });
}

/** A tree that cannot be written to stays without: its command may do without as well. */
export function directorySteps(root: Result, directories: readonly string[]): PlanStep[] {
  const why = 'A VOLUME of the image, which had no directory there. It is made, since programs count on it.';
  return directories.flatMap((path) => target(root, path, 'directory', { links: 'none', why, optional: true }).steps);
}

/** A volume that is not attached yet. */
export interface VolumeTree {
  volume: Volume;
  tree: Tree;
}

/**
 * The steps of the trees come while the host's root is alone: a copy of `/` takes along what lies on top of it, which
 * would be the container's root. Parents before what lies below them, as docker sorts them.
 */
export function volumeTrees(volumes: readonly Volume[], nodev: boolean): VolumeTree[] {
  const depth = ({ target }: Volume) => target.split('/').length;
  return [...volumes].sort((a, b) => depth(a) - depth(b)).map((volume) => ({ volume, tree: treeOf(volume, nodev) }));
}

function treeOf(volume: Volume, nodev: boolean): Tree {
  if (volume.type === 'tmpfs') {
    const why = 'Memory that the command may fill, gone with the container.';
    return newFileSystem('tmpfs', volume.options, volume.attributes, why);
  }
  const { source, readOnly } = volume;
  if (volume.isDevice) {
    const why = 'A device of the host that the user shares: the mount of this one node lets it be opened.';
    return copyOfTree({ fd: AT.FDCWD, path: source }, MOUNT_ATTR.NOSUID | MOUNT_ATTR.NOEXEC, why, { name: source });
  }
  const attributes = (nodev ? MOUNT_ATTR.NODEV : 0) | (readOnly ? MOUNT_ATTR.RDONLY : 0);
  const why = nodev ? 'What the user shares; device nodes in it open nothing.' : 'What the user shares.';
  return copyOfTree({ fd: AT.FDCWD, path: source }, attributes, why, { recursive: true, name: source });
}

/** Attaches what `volumeTrees` has made. */
export function volumeSteps(root: Result, trees: readonly VolumeTree[]): PlanStep[] {
  const place = {
    links: 'none' as const,
    why: 'Where the user wants it; the links that the image had there were resolved before, and must not have changed.',
  };
  return trees.flatMap(({ volume, tree: { fd } }) =>
    mountAt(root, volume.target, volume.type === 'bind' ? volume.kind : 'directory', { fd, steps: [] }, place),
  );
}
