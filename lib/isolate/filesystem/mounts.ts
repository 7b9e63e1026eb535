/**
 * Mounts without paths. A file system is made and mounted as a file descriptor that no directory shows yet: a detached
 * mount. Then it is attached to a second descriptor, that of its target, which openat2(2) has looked up inside the
 * container's root. So nothing in a hostile image leads out of that root, and no path is looked up twice with two
 * results.
 */

import { compare, Result, returned } from '../../sys/native-code/step.js';
import {
  fsconfig,
  fsmount,
  fsopen,
  mkdirat,
  mknodat,
  mount_setattr,
  mountAttr,
  move_mount,
  open_tree,
  openat2,
  openHow,
} from '../../sys/syscalls/calls.js';
import {
  AT,
  FSCONFIG,
  FSMOUNT,
  FSOPEN,
  MOUNT_ATTR,
  MOVE_MOUNT,
  O,
  OPEN_TREE,
  RESOLVE,
  S,
} from '../../sys/syscalls/constants.js';
import { EAGAIN } from '../../sys/syscalls/errno.js';
import type { Path } from '../../sys/syscalls/syscall.js';
import { type Hint, type PlanStep, type StepOptions, step } from '../child/step.js';

const { NOSUID, NODEV, NOEXEC } = MOUNT_ATTR;
/** Attributes of every mount in the container that needs neither programs nor devices. */
export const plainAttributes = NOSUID | NODEV | NOEXEC;

/** The ways to look up a path, as `struct open_how`. They are made once, since a plan uses them dozens of times. */
const lookups = {
  own: openHow(O.PATH | O.CLOEXEC, RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS),
  none: lookupsInRoot(RESOLVE.NO_SYMLINKS),
  inside: lookupsInRoot(RESOLVE.NO_MAGICLINKS),
};

function lookupsInRoot(links: number) {
  return {
    file: openHow(O.PATH | O.CLOEXEC, RESOLVE.IN_ROOT | links),
    directory: openHow(O.PATH | O.CLOEXEC | O.DIRECTORY, RESOLVE.IN_ROOT | links),
  };
}

/** A descriptor, and the steps that open it. */
export interface Opened {
  fd: Result;
  steps: PlanStep[];
}

/** A detached mount of a new file system. An option has a string as its value, or true when it takes none. */
export function newFileSystem(
  type: string,
  options: Record<string, string | true>,
  attributes: number,
  why: string,
  fd = new Result(type),
  hintOf: (option?: string) => Hint | undefined = () => undefined,
): Opened {
  const context = new Result(`${type} context`);
  // The source is what mount(8) and df(1) show in the first column.
  const all: Record<string, string | true> = { source: type, ...options };
  // fsconfig(2) checks some options at once, and the rest when all are there.
  const told = (option?: string): StepOptions => ({ hint: hintOf(option) });
  const configured = Object.entries(all).map(([key, value]) => {
    const [command, text] = value === true ? [FSCONFIG.SET_FLAG, null] : [FSCONFIG.SET_STRING, value];
    return step(fsconfig, [context, command, key, text, 0], `An option of ${type}.`, told(key));
  });
  return {
    fd,
    steps: [
      step(fsopen, [type, FSOPEN.CLOEXEC], why, { saves: context }),
      ...configured,
      step(
        fsconfig,
        [context, FSCONFIG.CMD_CREATE, null, null, 0],
        `The ${type} comes into being, in the namespaces of this process.`,
        told(),
      ),
      step(fsmount, [context, FSMOUNT.CLOEXEC, attributes], 'A mount of it, detached: no path leads to it yet.', {
        saves: fd,
      }),
    ],
  };
}

/** Adds attributes to a mount. `deep` is AT_RECURSIVE, or 0 for this mount alone. */
export function setAttributes(mount: Result, set: number, why: string, deep = 0): PlanStep {
  return step(mount_setattr, [mount, '', AT.EMPTY_PATH | deep, mountAttr(set), 32], why);
}

export interface CopyOptions {
  /** With what is mounted below it. */
  recursive?: boolean;
  name?: string;
  hint?: Hint;
}

/** A detached copy of the mount at a path, with the attributes `set` added. */
export function copyOfTree(
  from: { fd: number | Result; path: Path },
  set: number,
  why: string,
  { recursive = false, name = 'tree', hint }: CopyOptions = {},
): Opened {
  const fd = new Result(name);
  const deep = recursive ? AT.RECURSIVE : 0;
  const empty = from.path === '' ? AT.EMPTY_PATH : 0;
  const steps = [
    step(open_tree, [from.fd, from.path, OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC | deep | empty], why, { saves: fd, hint }),
  ];
  const only = 'Attributes are of the mount, not of the file system: only this copy gets them.';
  if (set !== 0) steps.push(setAttributes(fd, set, only, deep));
  return { fd, steps };
}

/** Attaches a tree under a descriptor of its mount point. */
export function attach(tree: Result, target: number | Result, why: string): PlanStep {
  return step(move_mount, [tree, '', target, '', MOVE_MOUNT.F_EMPTY_PATH | MOVE_MOUNT.T_EMPTY_PATH], why);
}

/** Attaches a tree at a path below a mount that this plan has made: `shown` to the container. No link is followed. */
export function attachBelow(mount: Result, path: string, tree: Result, shown: string, why: string): PlanStep[] {
  const place = new Result(shown);
  const whyOpened = 'Looked up below the mount that was just made, never by a path of the image.';
  return [step(openat2, [mount, path, lookups.own, 24], whyOpened, { saves: place }), attach(tree, place, why)];
}

/** Mounts a tree on a new directory in a file system that this plan has made, and that nobody else can have changed. */
export function mountOnOwn(mount: Result, name: string, tree: Opened, shown: string): PlanStep[] {
  return [
    ...tree.steps,
    step(mkdirat, [mount, name, 0o755], 'A mount point has to exist: an empty directory.'),
    step(move_mount, [tree.fd, '', mount, name, MOVE_MOUNT.F_EMPTY_PATH], `Now ${shown} shows it.`),
  ];
}

/** What is made when the image lacks the mount point. */
type TargetKind = 'directory' | 'file';

interface TargetOptions {
  /**
   * Symbolic links are followed as in the container. Otherwise one anywhere is an error, for places whose content the
   * container must be able to trust.
   */
  followsLinks?: boolean;
  /** It is not a failure when the mount point cannot be made. */
  optional?: boolean;
  /** Where to go on when it was there already; by default it is looked up once more, like one that was made. */
  found?: PlanStep;
}

/** Of a directory that even root of the container may not enter. */
export const keptClosed = 'of an owner that the container does not have, and lets nobody else in';

/** The hint when a mount point could neither be opened nor made. */
function hintAt(path: string, kind: TargetKind, followsLinks: boolean): Hint {
  const other = `the image has something else than a ${kind} at /${path}`;
  const refused = followsLinks ? other : `${other}; a symbolic link there is refused, since it could lead anywhere`;
  return (code) => (Object.hasOwn(hints, code) ? hints[code] : refused);
}

const hints: Record<string, string> = {
  ENOENT:
    "the tree lacks it, and it cannot be made there: --overlay helps if the tree is read-only, a tree of your own if it is another user's, room if the disk is full, and another path if it is a link to nothing",
  EACCES: `a directory there is ${keptClosed}`,
  EAGAIN: 'something on this machine was renamed at that moment, and the path has a ".." in it: try again',
};

/** Opens a mount point below `root`, making what is missing of it. */
export function target(
  root: Result,
  path: string,
  kind: TargetKind,
  why: string,
  { followsLinks = false, optional = false, found }: TargetOptions = {},
  fd = new Result(`/${path}`),
): Opened {
  const lookup = followsLinks ? lookups.inside : lookups.none;
  const open = (at: string, what: TargetKind, because: string, options: StepOptions) =>
    step(openat2, [root, at, lookup[what], 24], because, options);
  const openMade = (at: string, what: TargetKind, because: string, saves: Result) => {
    const hint = hintAt(at, what, followsLinks);
    return open(at, what, because, { saves, hint, onError: optional ? 'continue' : undefined });
  };
  const making: PlanStep[] = [];
  let parent = root;
  const parts = path.split('/');
  const name = parts.pop()!;
  parts.forEach((part, i) => {
    const above = parts.slice(0, i + 1).join('/');
    const next = new Result(`/${above}`);
    making.push(made(parent, part, 'directory'));
    making.push(openMade(above, 'directory', 'The parent of what is made next.', next));
    parent = next;
  });
  making.push(made(parent, name, kind));
  const retry = followsLinks ? [again(fd, making[0]!, () => first)] : [];
  const first = open(path, kind, why, { saves: fd, onError: retry[0] ?? making[0]!, next: found });
  return { fd, steps: [first, ...retry, ...making, openMade(path, kind, 'What was missing is there now.', fd)] };
}

/** Makes a mount point, unless it is there: the next step finds out. */
function made(parent: Result, name: string, kind: TargetKind): PlanStep {
  const why = `A mount point has to exist: an empty ${kind}.`;
  return kind === 'file'
    ? step(mknodat, [parent, name, S.IFREG | 0o644, 0], why, { onError: 'continue' })
    : step(mkdirat, [parent, name, 0o755], why, { onError: 'continue' });
}

/**
 * Back to a lookup that failed with EAGAIN, as openat2(2) asks for: links may have a `..`, and the kernel is not sure
 * of where that leads when anybody on the machine renames something meanwhile. Any other error leads on to `otherwise`.
 */
function again(opened: Result, otherwise: PlanStep, lookup: () => PlanStep): PlanStep {
  const why = 'Only because something was renamed meanwhile, anywhere on this machine? Then it is looked up again.';
  return {
    ...step(compare, returned(opened, -EAGAIN, EAGAIN), why, { onError: otherwise, man: 'openat2(2)' }),
    get next() {
      return lookup();
    },
  };
}

/** Mounts a tree on a mount point below `root`: of the image, or of a mount of which `shown` says where it will be. */
export function mountAt(
  root: Result,
  path: string,
  kind: TargetKind,
  tree: Opened,
  why: string,
  shown = `/${path}`,
): PlanStep[] {
  const place = new Result(shown);
  const attached = attach(tree.fd, place, `Now ${shown} shows it.`);
  return [...tree.steps, ...target(root, path, kind, why, { found: attached }, place).steps, attached];
}
