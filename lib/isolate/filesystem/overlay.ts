/** The tree as the lower layer of an overlay, which keeps what is written in memory or in the directory of a layer. */
import { statfsSync } from 'node:fs';
import { Block, compare, Result } from '../../sys/native-code/step.js';
import { mountPaths } from '../../sys/procfs/mountinfo.js';
import { orAsRoot } from '../../sys/refusals/confinement.js';
import { fchdir, fchmodat, fchownat, mkdirat, statx } from '../../sys/syscalls/calls.js';
import { AT, MOUNT_ATTR, STATX, structStatx } from '../../sys/syscalls/constants.js';
import { EBUSY } from '../../sys/syscalls/errno.js';
import { type Hint, type PlanStep, step } from '../child/step.js';
import type { Layer } from './layer.js';
import { copyOfTree, mountOnOwn, newFileSystem, type Opened } from './mounts.js';
import { attachOverRoot, directoryStep, treeAt } from './root.js';

/** OVERLAYFS_SUPER_MAGIC: statfs(2). */
const overlayMagic = 0x79_4c_76_30;

/** What the tree of an overlay is made of. */
interface OverlayOptions {
  /**
   * Mode and owner of the directory. The upper layer gets the same, since in an overlay its own are the visible ones.
   */
  mode: number;
  uid: number;
  gid: number;
  /** In a user namespace overlayfs has to keep its notes in user.* attributes. */
  inUserns: boolean;
  nodev: boolean;
}

/**
 * The directory as the lower layer of an overlay: the tree itself never changes. The upper layer lies in the workshop.
 */
export function overlaySteps(directory: string, workshop: Result, options: OverlayOptions): Opened {
  const mounted = (code: string) => mountedHint(code, directory, options);
  const parts = [...upperSteps(workshop, options), ...lowerSteps(directory, workshop, mounted)];
  const hint = (code: string) => mounted(code) ?? deepTree(code, directory);
  return overlayIn(workshop, 'in memory', parts, options, { hint });
}

/** The tree as a mount in the workshop, under a short name. */
function lowerSteps(directory: string, workshop: Result, hint: Hint): PlanStep[] {
  const why =
    'The lower layer: fsconfig(2) takes up to 255 bytes of a path, and follows links in it; /proc/mounts shows the container what it was told.';
  return mountOnOwn(workshop, 'lower', treeAt(directory, 0, why, { name: 'lower', hint }), 'the tree');
}

/** An overlay like that, with two of its parts in the directory of a layer. */
export function layerSteps(layer: Layer, workshop: Result, options: OverlayOptions): Opened {
  const place = new Result('layer');
  const why = 'The directory of --layer, with the parts of an overlay: upper and work, and a link to the tree.';
  const mounted = (code: string) => mountedHint(code, layer.view.lower, options);
  const beside = 'It comes beside the tree: relative paths lead to both.';
  const parts = [
    directoryStep(layer.path, why, place),
    ...sameSteps(place, layer),
    ...upperSteps(place, options, layer.missing),
    ...lowerSteps(layer.view.lower, workshop, mounted),
    ...mountOnOwn(workshop, 'layer', copyOfTree({ fd: place, path: '' }, 0, beside), 'the layer'),
  ];
  const parameters = {
    upperdir: 'layer/upper',
    workdir: 'layer/work',
    // A directory that is renamed is copied, whatever the kernel's default is: view.ts does not look elsewhere for it.
    redirect_dir: 'nofollow',
  };
  const hint = (code: string) => mounted(code) ?? unfitLayer(code);
  const { fd, steps } = overlayIn(workshop, 'in this directory', parts, options, { parameters, hint });
  return { fd, steps: options.inUserns ? [...steps, emptiableStep(place)] : steps };
}

/** Whether it is the directory that the supervisor has checked: whoever can rename it may have exchanged it since. */
function sameSteps(place: Result, layer: Layer): PlanStep[] {
  const [inode, device] = [new Result('inode'), new Result('device')];
  const stat = new Block(new Uint8Array(structStatx.length), [
    { offset: structStatx.ino, value: inode },
    { offset: structStatx.dev, value: device },
  ]);
  const same = (checked: Uint8Array, found: Result, what: string) =>
    step(
      compare,
      [new Block(checked), 0xffffffffffffffffn, found, EBUSY],
      `It has the ${what} of the one that was checked.`,
      {
        man: 'statx(2)',
        hint: 'the directory of --layer was exchanged just now: choose a place where nobody else can rename it',
      },
    );
  return [
    step(statx, [place, '', AT.EMPTY_PATH, STATX.INO, stat], 'By now the path may lead to another one.'),
    same(layer.identity.inode, inode, 'inode number'),
    same(layer.identity.device, device, 'device'),
  ];
}

/** For its owner, whom permissions bind when the container has ended. */
function emptiableStep(place: Result): PlanStep {
  const why = 'The kernel made it with no permissions, and keeps files in it: so that rm -r can remove the layer.';
  return step(fchmodat, [place, 'work/work', 0o700], why, { onError: 'continue' });
}

function upperSteps(
  place: Result,
  { mode, uid, gid }: OverlayOptions,
  missing: Layer['missing'] = ['upper', 'work'],
): PlanStep[] {
  if (missing.length === 0) return [];
  const [upper, work] = [missing.includes('upper'), missing.includes('work')];
  return [
    ...(upper ? [step(mkdirat, [place, 'upper', mode], 'The upper layer.')] : []),
    ...(uid === 0 && gid === 0
      ? []
      : [step(fchownat, [place, 'upper', uid, gid, 0], 'Its owner is that of the root.')]),
    // Last: where it is there, nothing was left undone.
    ...(work ? [step(mkdirat, [place, 'work', 0o700], 'The overlay prepares changes here before they appear.')] : []),
  ];
}

function overlayIn(
  workshop: Result,
  where: string,
  parts: PlanStep[],
  { inUserns, nodev }: OverlayOptions,
  { parameters = {}, hint }: { parameters?: Record<string, string>; hint: Hint },
): Opened {
  const overlay = newFileSystem(
    'overlay',
    { lowerdir: 'lower', upperdir: 'upper', workdir: 'work', ...parameters, ...(inUserns ? { userxattr: true } : {}) },
    nodev ? MOUNT_ATTR.NODEV : 0,
    `What is written lands in the upper layer, ${where}; the directory below stays as it is.`,
    new Result('root'),
    (option) => (option === 'lowerdir' ? unfitTree : hint),
  );
  return {
    fd: overlay.fd,
    steps: [
      ...parts,
      step(
        fchdir,
        [workshop],
        'An overlay takes its layers as paths; relative ones can name what no path from the root reaches.',
      ),
      ...overlay.steps,
      ...attachOverRoot(overlay.fd),
    ],
  };
}

/** In a user namespace an overlay would uncover what is below a mount of the host: kernel, clone_private_mount(). */
function mountedHint(code: string, directory: string, { inUserns }: OverlayOptions): string | undefined {
  if (code !== 'EINVAL' || !inUserns) return undefined;
  const tree = Buffer.from(directory).toString('latin1').replace(/\/$/, '');
  const mounted = mountPaths().find((path) => path.length > 1 && path.startsWith(`${tree}/`));
  return (
    mounted &&
    `${mounted} is mounted, and in a user namespace no overlay can lie over a tree with a mount in it: umount that${orAsRoot()}`
  );
}

function unfitTree(code: string): string | undefined {
  if (code !== 'EINVAL') return undefined;
  return 'no overlay can lie over its filesystem, such as one where A and a are the same name: ext4, xfs, btrfs and tmpfs are fit';
}

/** FILESYSTEM_MAX_STACK_DEPTH of the kernel. */
function deepTree(code: string, directory: string): string | undefined {
  if (code !== 'EINVAL' || statfsSync(directory).type !== overlayMagic) return undefined;
  return 'the tree is on an overlay over another one, as in a container inside a container, and a third has no place on top: copy the tree to a volume';
}

/** EACCES is what an ordinary user gets on NFS. */
function unfitLayer(code: string): string | undefined {
  if (code !== 'EINVAL' && code !== 'EACCES') return undefined;
  return 'a layer cannot be on another overlay, on NFS or on FUSE, nor where A and a are the same name: ext4, xfs, btrfs and tmpfs are fit';
}
