/** The root filesystem: how the directory becomes the root, and the host's root disappears. */

import { Block, compare, Result } from '../../sys/native-code/step.js';
import { fchdir, getcwd, mount, openat2, openHow, pivot_root, umount2 } from '../../sys/syscalls/calls.js';
import { AT, MNT, MOUNT_ATTR, MS, O, RESOLVE } from '../../sys/syscalls/constants.js';
import { type PlanStep, step } from '../child/step.js';
import {
  attach,
  type CopyOptions,
  copyOfTree,
  keptClosed,
  newFileSystem,
  type Opened,
  plainAttributes,
  setAttributes,
  target,
} from './mounts.js';

export function privateStep(): PlanStep {
  return step(
    mount,
    [null, '/', null, MS.REC | MS.PRIVATE, null],
    "Mounts of the host are shared as a rule: without this the host would see the container's.",
    { man: 'mount_namespaces(7)' },
  );
}

/** A copy of the directory as a mount of its own, attached on top of the host's root, which it is about to replace. */
export function rootSteps(directory: string, nodev: boolean): Opened {
  const why = 'pivot_root(2) wants a mount, and this one can have attributes that the host does not get to see.';
  const tree = treeAt(directory, nodev ? MOUNT_ATTR.NODEV : 0, why, { recursive: true, name: 'root' });
  return { fd: tree.fd, steps: [...tree.steps, ...attachOverRoot(tree.fd)] };
}

/**
 * A copy of the directory as a mount. Its path has no link in it, or had none when it was looked up at the start: who
 * may rename something on the way could make it a link to the host's root since.
 */
export function treeAt(directory: string, set: number, why: string, options: CopyOptions): Opened {
  const place = new Result('directory');
  const lookup = openHow(O.PATH | O.CLOEXEC | O.DIRECTORY, RESOLVE.NO_SYMLINKS);
  const found = step(openat2, [AT.FDCWD, directory, lookup, 24], 'The tree, where no link leads elsewhere by now.', {
    saves: place,
    hint: (code) =>
      code === 'ELOOP'
        ? 'it was exchanged for a link just now: choose a place where nobody else can rename it'
        : undefined,
  });
  const { fd, steps } = copyOfTree({ fd: place, path: '' }, set, why, options);
  return { fd, steps: [found, ...steps] };
}

export function attachOverRoot(fd: Result): PlanStep[] {
  const slash = new Result('/');
  return [
    directoryStep('/', 'Where the new root is attached.', slash),
    attach(fd, slash, "It covers the host's root, for this mount namespace only."),
  ];
}

/** Opens a directory of the host, by its path. */
export function directoryStep(path: string, why: string, saves: Result): PlanStep {
  return step(openat2, [AT.FDCWD, path, openHow(O.PATH | O.CLOEXEC | O.DIRECTORY, 0), 24], why, { saves });
}

/**
 * A tmpfs for files that belong neither in the image nor on the host. It is unmounted together with the host's root.
 */
export function workshopSteps(): Opened {
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
    step(
      umount2,
      ['.', MNT.DETACH],
      'On top of the old root is the tmpfs that was mounted first, which is not needed any more.',
    ),
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
export function workingDirectory(root: Result, path: string, next: PlanStep): Opened {
  const below = path.replace(/^\/+|\/+$/g, '');
  if (below === '') return { fd: root, steps: [] };
  const why =
    'The working directory. A link of /proc that jumps elsewhere, to a directory of the host, is refused (CVE-2024-21626).';
  return target(root, below, 'directory', why, { followsLinks: true, found: next });
}

/** Changes to that directory, and lets the kernel confirm that it is inside the root. */
export function enterSteps(directory: Result, path: string): PlanStep[] {
  const where = new Block(new Uint8Array(4096));
  return [
    step(fchdir, [directory], 'There the command starts.', {
      hint: (code) =>
        code === 'EACCES' ? `the working directory ${JSON.stringify(path)} is ${keptClosed}` : undefined,
    }),
    step(getcwd, [where, 4096], 'For a directory outside of the root the answer begins with "(unreachable)".'),
    step(compare, [where, 0xff, 0x2f, 1], 'It begins with "/": the directory lies inside the root.', {
      man: 'getcwd(3)',
    }),
  ];
}
