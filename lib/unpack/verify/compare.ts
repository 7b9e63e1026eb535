/** Comparing a tree on disk with what an image says it is. */
import { Failure, failingAs } from '../../base/failure.js';
import { Status } from '../../base/status.js';
import { openat } from '../../sys/syscalls/calls.js';
import { AT } from '../../sys/syscalls/constants.js';
import { EACCES, ELOOP, ENOENT, ENOTDIR, ENXIO } from '../../sys/syscalls/errno.js';
import { SyscallError } from '../../sys/syscalls/syscall.js';
import { type ByteString, joinPath, namedPath, shown, toBytes } from '../../tar/bytes.js';
import { chmodAt, closing, directoryFlags, followingFlags, readEntries } from '../tree/directory.js';
import { costOf, NamesBudget } from '../tree/limits.js';
import { type Stat, statAt, statOf } from '../tree/stat.js';
import type { Unset } from '../tree/unset.js';
import {
  deviceOf,
  modeOf,
  type Owner,
  openFile,
  ownerOf,
  sameContent,
  targetOf,
  timeOf,
  typeName,
  xattrsOf,
  xattrText,
} from './properties.js';

/**
 * One property of one path that differs. `missing` and `extra`: only one side has the path. `link`: a file with several
 * names has another first name. `unreadable`: this user may not read it, so it could not be compared.
 */
export interface Difference {
  path: string;
  pathBase64?: string;
  difference:
    | 'missing'
    | 'extra'
    | 'type'
    | 'mode'
    | 'owner'
    | 'size'
    | 'mtime'
    | 'device'
    | 'link'
    | 'target'
    | 'content'
    | 'xattrs'
    | 'unreadable';
  /** What the tree has, and what the image has. */
  tree?: string;
  image?: string;
}

type Kind = Difference['difference'];
type Report = (difference: Difference) => void;

/** What has to be known about the image's tree besides what is on the disk. */
export interface Compared {
  /**
   * Whether an entry of the image gives a directory its time. Otherwise it has the time of the unpacking, which says
   * nothing.
   */
  isDescribed(path: ByteString): boolean;
  /** Whether symlinks have the image's times, too. */
  hasLinkTimes: boolean;
  /** Whether a path is to be compared: with parts of an image, only those are. */
  isWanted(path: ByteString): boolean;
  /** What the image has at a path and could not be set in its tree. The other tree is right with it and without it. */
  unset(path: ByteString): Unset | undefined;
}

/**
 * Reports how the tree at `dir` differs from the one at `image`, an open directory that is the caller's own; returns
 * the number of differences.
 */
export function compareTree(dir: string, image: number, compared: Compared, report: Report): number {
  let count = 0;
  const comparison = new Comparison(compared, new NamesBudget(dir), (difference) => {
    count += 1;
    report(difference);
  });
  failingAs(dir, () =>
    closing(openat(AT.FDCWD, dir, followingFlags, 0), (tree) =>
      // On btrfs a descriptor shows the entries that were there when it was opened, and this one was before the
      // unpacking.
      closing(openat(image, '.', directoryFlags, 0), (filled) => comparison.root({ tree, image: filled })),
    ),
  );
  return count;
}

/** Something that both sides have. */
interface Sides<T> {
  tree: T;
  image: T;
}

/** A path, with its name in an open directory of each side. */
interface At extends Sides<number> {
  path: ByteString;
  name: ByteString;
}

class Comparison {
  /** By device and inode, the first name of each file that has several: something may be mounted in a tree. */
  private readonly treeNames = new Map<string, ByteString>();
  private readonly imageNames = new Map<string, ByteString>();

  constructor(
    private readonly compared: Compared,
    private readonly budget: NamesBudget,
    private readonly report: Report,
  ) {}

  root(roots: Sides<number>): void {
    this.attributes('', { tree: statOf(roots.tree), image: statOf(roots.image) });
    this.directory('', roots);
  }

  /** Two open directories: their extended attributes, then their entries. */
  private directory(path: ByteString, { tree, image }: Sides<number>): void {
    // When it may be read but not searched, its entries cannot be looked at.
    if (!statAt(tree, '.')) {
      this.tell(path, 'unreadable');
      return;
    }
    this.xattrs({ path, name: '.', tree, image });
    // Both sides are filtered: through a symlink, parts of an image may have put something at a path that is not
    // wanted.
    const [wanted, found] = [this.namesIn(path, image), this.namesIn(path, tree)];
    for (const name of [...new Set([...wanted, ...found])].sort()) {
      const at = { path: joinPath(path, name), name, tree, image };
      if (!found.has(name)) this.tell(at.path, 'missing');
      else if (!wanted.has(name)) this.additional(at);
      else this.entry(at);
    }
    for (const name of [...wanted, ...found]) this.budget.release(costOf(name));
  }

  /** The names in an open directory that are to be compared. A container may have made millions. */
  private namesIn(path: ByteString, fd: number): Set<ByteString> {
    const names = new Set<ByteString>();
    for (const name of readEntries(fd)) {
      if (names.has(name) || !this.compared.isWanted(joinPath(path, name))) continue;
      this.budget.hold(costOf(name));
      names.add(name);
    }
    return names;
  }

  private entry(at: At): void {
    const { path, name } = at;
    // NFS and FUSE remember for a while: a name that got a second link would still have one.
    const current = (dir: number) => statAt(dir, name, AT.STATX_FORCE_SYNC);
    const [tree, image] = [current(at.tree), current(at.image)!];
    const type = typeName(image);
    if (!tree) this.tell(path, 'missing');
    else if (typeName(tree) !== type) this.same(path, 'type', typeName(tree), type);
    else {
      this.attributes(path, { tree, image });
      if (type === 'directory')
        this.opened(at, openDirectoryAt, 0o500, (directories) => this.directory(path, directories));
      else this.leaf(at, { tree, image });
    }
  }

  /** A path that only the tree has: a device that could not be made on the image's side, or something extra. */
  private additional({ path, name, tree }: At): void {
    const { device, ...unset } = this.compared.unset(path) ?? {};
    const stat = statAt(tree, name);
    if (!device || !stat) this.tell(path, 'extra');
    else if (typeName(stat) !== device.type) this.same(path, 'type', typeName(stat), device.type);
    else {
      const wanted = { ...device, uid: stat.uid, gid: stat.gid, mode: stat.mode, ...unset };
      this.owner(path, stat, wanted);
      this.same(path, 'mode', modeOf(stat), modeOf(wanted));
      this.same(path, 'device', deviceOf(stat), deviceOf(wanted));
    }
  }

  /** Compares anything but directories. */
  private leaf(at: At, { tree, image }: Sides<Stat>): void {
    const { path, name } = at;
    this.sameBytes(path, 'link', firstName(this.treeNames, tree, path), firstName(this.imageNames, image, path));
    if (typeName(image) !== 'file') {
      this.xattrs(at);
      if (typeName(image) === 'symlink')
        this.sameBytes(path, 'target', targetOf(at.tree, name), targetOf(at.image, name));
      return;
    }
    this.same(path, 'size', String(tree.size), String(image.size));
    this.opened(at, openFile, 0o400, (files) => {
      this.xattrs(at);
      if (tree.size === image.size && !sameContent(files, image.size)) this.tell(path, 'content');
    });
  }

  /** Opens the path on both sides, with the permissions `needed` on the image's. */
  private opened(
    { path, name, ...directories }: At,
    open: (dir: number, name: Buffer) => number,
    needed: number,
    use: (opened: Sides<number>) => void,
  ): void {
    const bytes = toBytes(name);
    const tree = open(directories.tree, bytes);
    if (tree === -EACCES) {
      this.tell(path, 'unreadable');
      return;
    }
    if (exchanged.includes(-tree))
      throw new Failure(Status.tryLater, shown(path), 'it was exchanged just now', {
        hint: 'end what changes the tree first',
      });
    if (tree < 0) throw new SyscallError('openat', -tree, shown(path));
    const useBoth = () => {
      const image = open(directories.image, bytes);
      if (image < 0) throw new SyscallError('openat', -image, shown(path));
      closing(image, () => use({ tree, image }));
    };
    closing(tree, () => permitted(directories.image, name, needed, useBoth));
  }

  private attributes(path: ByteString, { tree, image }: Sides<Stat>): void {
    const type = typeName(image);
    this.owner(path, tree, image);
    if (type !== 'symlink') this.same(path, 'mode', modeOf(tree), modeOf(image));
    const { isDescribed, hasLinkTimes } = this.compared;
    const hasTime = type === 'directory' ? isDescribed(path) : type !== 'symlink' || hasLinkTimes;
    if (hasTime) this.same(path, 'mtime', timeOf(tree), timeOf(image));
    if (type === 'char' || type === 'block') this.same(path, 'device', deviceOf(tree), deviceOf(image));
  }

  /**
   * In an ordinary user's tree that user owns everything. What then has no record of its owner belongs to root in the
   * image.
   */
  private owner(path: ByteString, tree: Owner, image: Owner): void {
    if (ownerOf(tree) === ownerOf(image)) return;
    const byDefault = process.geteuid!() === 0 ? image : { uid: 0, gid: 0 };
    const { uid = byDefault.uid, gid = byDefault.gid } = this.compared.unset(path) ?? {};
    this.same(path, 'owner', ownerOf(tree), ownerOf({ uid, gid }));
  }

  private xattrs({ path, name, tree, image }: At): void {
    const [has, wants] = [xattrsOf(tree, name, path), xattrsOf(image, name, path)];
    for (const [key, value] of Object.entries(this.compared.unset(path)?.xattrs ?? {})) {
      if (has.has(key)) wants.set(key, Buffer.from(value, 'base64').toString('hex'));
    }
    this.same(path, 'xattrs', xattrText(has), xattrText(wants));
  }

  /** Compares the bytes: different names may be shown alike, such as a byte that is not UTF-8 and the text `\xe9`. */
  private sameBytes(path: ByteString, difference: 'link' | 'target', tree: ByteString, image: ByteString): void {
    if (tree !== image) this.tell(path, difference, { tree: shown(tree), image: shown(image) });
  }

  private same(path: ByteString, difference: Kind, tree: string, image: string): void {
    if (tree !== image) this.tell(path, difference, { tree, image });
  }

  private tell(path: ByteString, difference: Kind, values?: Sides<string>): void {
    this.report({ ...namedPath(path || '.'), difference, ...values });
  }
}

/** Does `act` while this user has the permissions `needed` on an entry of the image's tree, which is only temporary. */
function permitted(dir: number, name: ByteString, needed: number, act: () => void): void {
  const { mode } = statAt(dir, name)!;
  // Only when needed, since a change of the mode changes an access control list as well.
  if (process.geteuid!() === 0 || (mode & needed) === needed) {
    act();
    return;
  }
  const bytes = toBytes(name);
  chmodAt(dir, bytes, mode | needed);
  try {
    act();
  } finally {
    chmodAt(dir, bytes, mode);
  }
}

/** What opening gives when something else is at the name than a moment ago. */
const exchanged = [ENOENT, ENOTDIR, ELOOP, ENXIO];

function openDirectoryAt(dir: number, name: Buffer): number {
  return openat.try(dir, name, directoryFlags, 0);
}

/** The first name of a file, by which hard links are told from copies. */
function firstName(names: Map<string, ByteString>, { nlink, device, inode }: Stat, path: ByteString): ByteString {
  if (nlink < 2) return path;
  const file = `${device}:${inode}`;
  const known = names.get(file);
  if (known === undefined) names.set(file, path);
  return known ?? path;
}
