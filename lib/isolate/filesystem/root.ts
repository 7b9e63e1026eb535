/** The root filesystem: how the directory becomes the root, and the host's root disappears. */
import {
  fchdir,
  fchmodat,
  fchownat,
  getcwd,
  mkdirat,
  mount,
  openat2,
  openHow,
  pivot_root,
  statx,
  symlinkat,
  umount2,
} from '../../sys/calls.js';
import { AT, MNT, MOUNT_ATTR, MS, O, STATX, structStatx } from '../../sys/constants.js';
import { EBUSY } from '../../sys/errno.js';
import { Block, compare, Result } from '../../sys/native-code/program.js';
import { mountPaths } from '../../sys/proc/mountinfo.js';
import { type Hint, type PlanStep, step } from '../child/step.js';
import type { Layer } from './layer.js';
import { attach, copyOfTree, newFileSystem, plainAttributes, setAttributes, target } from './mounts.js';

export function privateStep(): PlanStep {
  return step(
    mount,
    [null, '/', null, MS.REC | MS.PRIVATE, null],
    "Mounts of the host are shared as a rule: without this the host would see the container's.",
    {
      man: 'mount_namespaces(7)',
    },
  );
}

export interface Root {
  fd: Result;
  steps: PlanStep[];
}

/** A copy of the directory as a mount of its own, attached on top of the host's root, which it is about to replace. */
export function rootSteps(directory: string, nodev: boolean): Root {
  const tree = copyOfTree(
    { fd: AT.FDCWD, path: directory },
    nodev ? MOUNT_ATTR.NODEV : 0,
    'pivot_root(2) wants a mount, and this one can have attributes that the host does not get to see.',
    { recursive: true, name: 'root' },
  );
  return {
    fd: tree.fd,
    steps: [...tree.steps, ...attachOverRoot(tree.fd)],
  };
}

function attachOverRoot(fd: Result): PlanStep[] {
  const slash = new Result('/');
  return [
    opened('/', 'Where the new root is attached.', slash),
    attach(fd, slash, "It covers the host's root, for this mount namespace only."),
  ];
}

/** Opens a directory of the host, by its path. */
function opened(path: string, why: string, saves: Result): PlanStep {
  return step(openat2, [AT.FDCWD, path, openHow(O.PATH | O.CLOEXEC | O.DIRECTORY, 0), 24], why, { saves });
}

/** What the tree of an overlay is made of. */
export interface OverlayOptions {
  /**
   * Mode and owner of the directory. The upper layer gets the same, since in an overlay its own are the visible ones.
   */
  mode: number;
  uid: number;
  gid: number;
  /** In a user namespace: overlayfs then has to keep its notes in user.* attributes. */
  user: boolean;
  nodev: boolean;
}

/**
 * The directory as the lower layer of an overlay: the tree itself never changes. The upper layer lies in the workshop.
 */
export function overlaySteps(directory: string, workshop: Result, options: OverlayOptions): Root {
  const lower = step(
    symlinkat,
    [directory, workshop, 'lower'],
    'The lower layer: fsconfig(2) takes up to 255 bytes, and /proc/mounts shows the container what it was told.',
  );
  const hint = (code: string) => mountedHint(code, directory, options);
  return overlayIn(workshop, 'in memory', [...upperSteps(workshop, options), lower], options, { hint });
}

/** An overlay like that, of the three parts in the directory of a layer. */
export function layerSteps(layer: Layer, options: OverlayOptions): Root {
  const place = new Result('layer');
  const why = 'The directory of --layer, with the parts of an overlay: lower, a link to the tree, upper and work.';
  const parts = [
    opened(layer.path, why, place),
    ...sameSteps(place, layer),
    ...upperSteps(place, options, layer.missing),
  ];
  // A directory that is renamed is copied, whatever the kernel's default is: view.ts does not look elsewhere for it.
  const parameters = { redirect_dir: 'nofollow' };
  const hint = (code: string) => mountedHint(code, layer.view.lower, options) ?? unfitLayer(code);
  const { fd, steps } = overlayIn(place, 'in this directory', parts, options, { parameters, hint });
  return { fd, steps: options.user ? [...steps, emptiableStep(place)] : steps };
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
  place: Result,
  where: string,
  parts: PlanStep[],
  { user, nodev }: OverlayOptions,
  { parameters = {}, hint }: { parameters?: Record<string, string>; hint?: Hint } = {},
): Root {
  const overlay = newFileSystem(
    'overlay',
    { lowerdir: 'lower', upperdir: 'upper', workdir: 'work', ...parameters, ...(user ? { userxattr: true } : {}) },
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
        [place],
        'An overlay takes its layers as paths; relative ones can name what no path from the root reaches.',
      ),
      ...overlay.steps,
      ...attachOverRoot(overlay.fd),
    ],
  };
}

/** In a user namespace an overlay would uncover what is below a mount of the host: kernel, clone_private_mount(). */
function mountedHint(code: string, tree: string, { user }: OverlayOptions): string | undefined {
  if (code !== 'EINVAL' || !user) return undefined;
  const mounted = mountPaths().find((path) => path.startsWith(`${Buffer.from(tree).toString('latin1')}/`));
  return (
    mounted &&
    `${mounted} is mounted, and in a user namespace no overlay can lie over a tree with a mount in it: umount that`
  );
}

function unfitTree(code: string): string | undefined {
  if (code !== 'EINVAL') return undefined;
  return 'no overlay can lie over its filesystem, such as one where A and a are the same name: ext4, xfs, btrfs and tmpfs are fit';
}

/** EACCES is what an ordinary user gets on NFS. */
function unfitLayer(code: string): string | undefined {
  if (code !== 'EINVAL' && code !== 'EACCES') return undefined;
  return 'a layer cannot be on another overlay, on NFS or on FUSE: ext4, xfs, btrfs and tmpfs can have it';
}

/**
 * A tmpfs for files that belong neither in the image nor on the host. It is unmounted together with the host's root.
 */
export function workshopSteps(): Root {
  const tmpfs = newFileSystem(
    'tmpfs',
    { mode: '755' },
    plainAttributes,
    'Room for files of this container alone: neither the image nor a directory of the host is written to.',
    new Result('workshop'),
  );
  return { fd: tmpfs.fd, steps: [...tmpfs.steps, ...attachOverRoot(tmpfs.fd)] };
}

export function readOnlyStep(root: Result): PlanStep {
  const why = '--read-only: the root can no longer be written to; what is mounted below it can.';
  return setAttributes(root, MOUNT_ATTR.RDONLY, why);
}

/** The exchange. Afterwards no path and no descriptor of this process leads to the host's files. */
export function pivotSteps(root: Result): PlanStep[] {
  return [
    step(fchdir, [root], 'pivot_root(2) is told both places as ".".'),
    step(pivot_root, ['.', '.'], 'The new root takes the place of the old one, which now lies on top of it.'),
    step(umount2, ['.', MNT.DETACH], 'On top of the old root is the workshop, which is not needed any more.'),
    step(
      umount2,
      ['.', MNT.DETACH],
      "The host's root goes, with everything below it: there is nothing left to escape to.",
    ),
  ];
}

/**
 * Opens the directory where the command starts. It is made when it is missing, as docker does. `next`: the step after
 * it.
 */
export function workingDirectory(root: Result, path: string, next: PlanStep): { fd: Result; steps: PlanStep[] } {
  const below = path.replace(/^\/+|\/+$/g, '');
  if (below === '') return { fd: root, steps: [] };
  return target(root, below, 'directory', {
    links: 'inside',
    why: 'The working directory. A link of /proc that jumps elsewhere, to a directory of the host, is refused (CVE-2024-21626).',
    found: next,
  });
}

/** Changes to that directory, and lets the kernel confirm that it is inside the root. */
export function enterSteps(directory: Result): PlanStep[] {
  const where = new Block(new Uint8Array(4096));
  return [
    step(fchdir, [directory], 'There the command starts.'),
    step(getcwd, [where, 4096], 'For a directory outside of the root the answer begins with "(unreachable)".'),
    step(compare, [where, 0xff, 0x2f, 1], 'It begins with "/": the directory lies inside the root.', {
      man: 'getcwd(3)',
    }),
  ];
}
