/** What the user adds to the container's tree: directories and files of the host, and temporary file systems. */
import { lstatSync } from 'node:fs';
import { failingAs } from '../../base/failure.js';
import type { Result } from '../../sys/native-code/step.js';
import { AT, MOUNT_ATTR } from '../../sys/syscalls/constants.js';
import { type IdMaps, ownerInside } from '../../sys/user-namespace/id-maps.js';
import type { PlanStep } from '../child/step.js';
import { refused, usage } from '../settings/failures.js';
import type { Volume } from '../settings/volumes.js';
import { nodeAttributes, ownDevicesOver } from './devices.js';
import { copyOfTree, mountAt, newFileSystem, type Opened, target } from './mounts.js';
import { isOfKernel, placeInside } from './places.js';
import { sideOf, type View } from './view.js';

/**
 * The volumes with their links resolved in the image. Nothing may be mounted over the root, /proc or /sys, whatever
 * links an image has: there the container has to see what the kernel shows (CVE-2019-16884, CVE-2023-28642). Below /dev
 * the image is not looked at, since the container gets a new /dev. Throws `Failure` 64.
 */
export function placed(view: View, volumes: readonly Volume[], maps: IdMaps | undefined): Volume[] {
  refuseTwice(volumes);
  return volumes.map((volume) => {
    const { path, kind } = volume.target.startsWith('dev/')
      ? { path: volume.target, kind: undefined }
      : placeInside(view, volume.target);
    const what = `the target /${volume.target}`;
    if (path === '') throw usage(what, 'the root itself is not a target');
    if (/^(proc|sys)(\/|$)/.test(path)) {
      const hint = 'the container has its own there; --privileged lets root write to it';
      throw usage(what, `/${path} belongs to the kernel and cannot be covered`, hint);
    }
    if (kind !== undefined && (kind === 'directory') !== (volume.kind === 'directory')) {
      throw usage(
        what,
        `a ${volume.kind} is to be mounted there, and the image has ${kind === 'directory' ? 'a directory' : 'none'}`,
      );
    }
    if (volume.type !== 'tmpfs') return { ...volume, target: path };
    const covered = kind === undefined ? { mode: '1777' } : ownershipOptions(`${sideOf(view, path)}/${path}`, maps);
    return { ...volume, target: path, options: { ...covered, ...volume.options } };
  });
}

/** As docker: of two at the same place the first would be hidden without a word. Two tmpfs are as good as one. */
function refuseTwice(volumes: readonly Volume[]): void {
  const shown = volumes.filter(({ type }) => type !== 'device');
  const twice = shown.find(({ type, target }, i) =>
    shown.slice(0, i).some((other) => other.target === target && (type === 'bind' || other.type === 'bind')),
  );
  if (twice) throw usage(`the target /${twice.target}`, 'it is named twice, and only one could be seen there');
}

/**
 * Mode and owner for a tmpfs, as options: those of the directory that it covers, so that the same users may enter and
 * write.
 */
function ownershipOptions(path: string, maps: IdMaps | undefined): Record<string, string> {
  // It was there a moment ago: a container that runs in this tree may have removed it.
  const { mode, uid, gid } = ownerInside(
    failingAs(path, () => lstatSync(path)),
    maps,
  );
  return { mode: (mode & 0o7777).toString(8), uid: String(uid), gid: String(gid) };
}

/** The volume that a path of the container is in, of several the innermost. The targets have their links resolved. */
export function volumeOver(volumes: readonly Volume[], path: string): Volume | undefined {
  const above = volumes.filter(({ target }) => `${path}/`.startsWith(`${target}/`));
  // Of two at the same place the last one covers the other.
  return above.sort((a, b) => a.target.length - b.target.length).at(-1);
}

/** Where a path of the image is in the directory or file of the host that covers it; undefined when none does. */
export function inVolume(
  view: View,
  volumes: readonly Volume[],
  path: string,
): { source: string; path: string } | undefined {
  if (volumes.length === 0) return undefined;
  const place = placeInside(view, path).path;
  const covering = volumeOver(volumes, place);
  if (covering?.type !== 'bind') return undefined;
  return { source: covering.source, path: place.slice(covering.target.length + 1) };
}

/** Ample: an image has a few VOLUMEs, each a few directories deep. Each directory takes several steps of the plan. */
const mostDirectories = 1000;

/**
 * The VOLUMEs that are missing in the tree, with their links resolved. docker mounts a volume on each, so programs find
 * a directory there: /tmp in an image from scratch, for example. Throws `Failure` 125 when there are far too many.
 */
export function missing(view: View, directories: readonly string[]): string[] {
  const named = directories.reduce((sum, path) => sum + path.split('/').filter((part) => part !== '').length, 0);
  if (named > mostDirectories) {
    const why = `they name ${named} directories, those above each included, and more than ${mostDirectories} are not made`;
    throw refused('the VOLUMEs of the image', why, 'take them out of DIR.json');
  }
  return directories
    .map((path) => placeInside(view, path))
    .filter(({ path, kind }) => kind === undefined && !isOfKernel(path))
    .map(({ path }) => path);
}

/**
 * Makes these directories. In a tree that cannot be written to they stay missing, and the command may not need them.
 */
export function directorySteps(root: Result, directories: readonly string[]): PlanStep[] {
  const why = 'A VOLUME of the image, which had no directory there. It is made, since programs count on it.';
  return directories.flatMap((path) => target(root, path, 'directory', why, { optional: true }).steps);
}

/** A volume that is not attached yet. */
interface VolumeTree {
  volume: Volume;
  tree: Opened;
}

/**
 * The mounts of the volumes, still detached. Their steps come before the container's root is mounted on top of the
 * host's: otherwise a copy of `/` would include that. Parents come before what is below them, as docker sorts them.
 */
export function volumeTrees(volumes: readonly Volume[], nodev: boolean): VolumeTree[] {
  const depth = ({ target }: Volume) => target.split('/').length;
  return [...volumes].sort((a, b) => depth(a) - depth(b)).map((volume) => ({ volume, tree: treeOf(volume, nodev) }));
}

function treeOf(volume: Volume, nodev: boolean): Opened {
  if (volume.type === 'tmpfs') {
    const why = 'Memory that the command may fill, gone with the container.';
    return newFileSystem('tmpfs', volume.options, volume.attributes, why);
  }
  const { source } = volume;
  if (volume.type === 'device') {
    const why = 'A device of the host that the user shares: the mount of this one node lets it be opened.';
    return copyOfTree({ fd: AT.FDCWD, path: source }, nodeAttributes, why, { name: source });
  }
  const attributes = (nodev ? MOUNT_ATTR.NODEV : 0) | (volume.readOnly ? MOUNT_ATTR.RDONLY : 0);
  const why = nodev ? 'What the user shares; device nodes in it open nothing.' : 'What the user shares.';
  return copyOfTree({ fd: AT.FDCWD, path: source }, attributes, why, { recursive: true, name: source });
}

/** Attaches what `volumeTrees` has made. `dev`: the container's own /dev. */
export function volumeSteps(root: Result, trees: readonly VolumeTree[], dev: Result): PlanStep[] {
  const why =
    'Where the user wants it; the links that the image had there were resolved before, and must not have changed.';
  return trees.flatMap(({ volume: { type, target, kind }, tree: { fd } }) => [
    ...mountAt(root, target, kind, { fd, steps: [] }, why),
    ...(type === 'bind' && target === 'dev' ? ownDevicesOver(root, dev) : []),
  ]);
}
