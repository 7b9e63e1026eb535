/**
 * The only way to a path inside a root. The kernel resolves every path as if the root were `/` (openat2(2) with
 * RESOLVE_IN_ROOT), so that neither `..` nor a symlink leads out, whatever the tree holds. The result is an open
 * directory. Its entries are then named by their last component alone, in calls that do not follow symlinks.
 */

import { errnoNameOf } from '../../base/errno-names.js';
import { Failure } from '../../base/failure.js';
import { Status } from '../../base/status.js';
import { openIn } from '../../sys/files/open-in.js';
import { limitsOn } from '../../sys/process/rlimit.js';
import { close, mkdirat, openHow, readlinkat } from '../../sys/syscalls/calls.js';
import { O, RESOLVE, RLIMIT } from '../../sys/syscalls/constants.js';
import { EEXIST, EINVAL, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR } from '../../sys/syscalls/errno.js';
import { SyscallError } from '../../sys/syscalls/syscall.js';
import { type ByteString, fromBytes, joinPath, shown, splitPath, toBytes } from '../../tar/bytes.js';
import { directHow } from './directory.js';
import { isTooLong } from './entry-failure.js';
import { LimitExceeded } from './limits.js';
import { openPath } from './open-path.js';
import { statOf } from './stat.js';

/** A directory inside the root, open. */
export interface Dir {
  readonly fd: number;
  /** Its path from the root without symlinks; `''` is the root. */
  readonly path: ByteString;
  /**
   * Whether new entries get this process's group. A mount option gives them that of the directory instead, so the two
   * have to be the same.
   */
  readonly ownGroup: boolean;
}

const following = openHow(O.RDONLY | O.DIRECTORY | O.CLOEXEC, RESOLVE.IN_ROOT);

/** How many directories stay open. The entries of a layer come directory by directory, so a few are enough. */
const maxOpen = 128;
/** The same for a process that may open only `fewFiles`: its soft limit, which Node has raised to the hard one. */
const maxOpenOfFew = 16;
const fewFiles = 512;
/** As the kernel: path_resolution(7). */
const maxLinks = 40;

export interface RootOptions {
  /** How many parts a path may have. */
  maxDepth: number;
  /** Called with the path of each directory that had to be made on the way, also in the place of something else. */
  made(path: ByteString): void;
  /** Removes what stands at a name, whatever it is. */
  remove(dir: Dir, name: ByteString): void;
  /** Called before the kernel resolves a path, and before a directory is closed. */
  settle(): void;
}

export class Root {
  /** Open directories by the path under which they were looked up, the least recently used first. */
  private readonly open = new Map<ByteString, Dir>();
  private throughLinks = false;
  private stale = false;
  private readonly home: string;
  private readonly group = process.getegid!();
  private readonly maxOpen = limitsOn(RLIMIT.NOFILE).soft < fewFiles ? maxOpenOfFew : maxOpen;

  constructor(
    private readonly fd: number,
    private readonly options: RootOptions,
  ) {
    this.home = openPath(fd);
  }

  /** The directory at a clean path, or a negative errno: ENOENT, ENOTDIR, ELOOP. Symlinks are followed in the root. */
  find(path: ByteString): Dir | number {
    if (this.stale || !this.open.has(path)) this.options.settle();
    if (this.stale) this.closeAll();
    const known = this.open.get(path);
    if (known) {
      this.open.delete(path);
      this.open.set(path, known);
      return known;
    }
    const name = path === '' ? '.' : toBytes(path);
    const fd = openIn(this.fd, name, directHow);
    if (fd >= 0) return this.keep(path, { fd, path, ownGroup: this.isOwnGroup(fd) });
    if (fd !== -ELOOP) return fd;
    const behind = openIn(this.fd, name, following);
    // A link to a name that nothing can have leads nowhere: `make` follows it part by part, and says which it is.
    if (behind < 0) return behind === -ENAMETOOLONG ? -ENOENT : behind;
    this.throughLinks = true;
    return this.keep(path, { fd: behind, path: this.pathOf(behind), ownGroup: this.isOwnGroup(behind) });
  }

  /** The same, `undefined` where the tree has none. Throws `SyscallError` when that is the fault of the disk. */
  findIfThere(path: ByteString): Dir | undefined {
    const found = this.find(path);
    if (typeof found !== 'number') return found;
    const failure = unreachable(path, found);
    if (failure instanceof SyscallError) throw failure;
    return undefined;
  }

  /**
   * The directory at a clean path, made when it is not there. What stands in its way and is not a directory is removed.
   * A symlink that leads nowhere is followed, and what it names is made. Throws `Failure` 65 for a loop of symlinks.
   */
  ensure(path: ByteString): Dir {
    const found = this.find(path);
    return typeof found === 'number' ? this.make(path, found, 0) : found;
  }

  /** To be called after a removal: what a path leads to may have changed, when a directory or a symlink went. */
  removed(wasDirectory: boolean): void {
    // They are closed at the next look-up and not here, since the caller may be using one.
    if (wasDirectory || this.throughLinks) this.stale = true;
  }

  /** To be called when a directory changed its group: `ownGroup` of open directories may no longer be right. */
  regrouped(): void {
    this.stale = true;
  }

  closeAll(): void {
    for (const { fd } of this.open.values()) close(fd);
    this.open.clear();
    this.stale = false;
    this.throughLinks = false;
  }

  private make(path: ByteString, errno: number, links: number): Dir {
    if (errno !== -ENOENT && errno !== -ENOTDIR) throw unreachable(path, errno);
    if (links > maxLinks) throw unreachable(path, -ELOOP);
    const [above, name] = splitPath(path);
    const found = this.find(above);
    const parent = typeof found === 'number' ? this.make(above, found, links) : found;
    const depth = parent.path === '' ? 1 : parent.path.split('/').length + 1;
    if (depth > this.options.maxDepth) throw tooDeep(path, this.options.maxDepth);
    const target = errno === -ENOENT ? linkTarget(parent, name) : undefined;
    if (target !== undefined) return this.makeTarget(parent, target, links + 1);
    const bytes = toBytes(name);
    let result = mkdirat.try(parent.fd, bytes, 0o755);
    if (result === -EEXIST) {
      this.options.remove(parent, name);
      result = mkdirat.try(parent.fd, bytes, 0o755);
    }
    if (result < 0) throw new SyscallError('mkdirat', -result, shown(path));
    this.options.made(joinPath(parent.path, name));
    const made = this.find(path);
    if (typeof made === 'number') throw unreachable(path, made);
    return made;
  }

  /** Follows a dangling symlink part by part, since `..` behind a symlink is not what it looks like. */
  private makeTarget(from: Dir, target: ByteString, links: number): Dir {
    let path = target.startsWith('/') ? '' : from.path;
    for (const part of target.split('/')) {
      if (part === '' || part === '.') continue;
      if (part === '..') path = splitPath(path)[0];
      else {
        const next = joinPath(path, part);
        const found = this.find(next);
        path = (typeof found === 'number' ? this.make(next, found, links) : found).path;
      }
    }
    const reached = this.find(path);
    if (typeof reached === 'number') throw unreachable(path, reached);
    return reached;
  }

  private keep(path: ByteString, dir: Dir): Dir {
    this.open.set(path, dir);
    if (this.open.size > this.maxOpen) {
      const [oldest, { fd }] = this.open.entries().next().value!;
      this.open.delete(oldest);
      close(fd);
    }
    return dir;
  }

  private isOwnGroup(fd: number): boolean {
    return statOf(fd).gid === this.group;
  }

  /** The path of an open directory from the root, as the kernel knows it. */
  private pathOf(fd: number): ByteString {
    const path = openPath(fd);
    if (path === this.home) return '';
    if (path.startsWith(`${this.home}/`)) return path.slice(this.home.length + 1);
    throw new Failure(Status.software, shown(path), 'the kernel resolved a path to outside the root');
  }
}

function linkTarget(dir: Dir, name: ByteString): ByteString | undefined {
  const buffer = Buffer.allocUnsafe(4096);
  const bytes = readlinkat.try(dir.fd, toBytes(name), buffer, buffer.length);
  if (bytes === -ENOENT || bytes === -EINVAL) return undefined;
  if (bytes < 0) throw unreachable(joinPath(dir.path, name), bytes);
  return fromBytes(buffer, 0, bytes);
}

export function tooDeep(path: ByteString, maxDepth: number): LimitExceeded {
  return new LimitExceeded(shown(path), `it is more than ${maxDepth} directories deep`, '--max-depth');
}

const ofArchive = new Map([
  [ELOOP, 'its symlinks go round in a circle'],
  [ENAMETOOLONG, 'the name is too long'],
  [ENOTDIR, 'there is no such directory'],
  [ENOENT, 'there is no such directory'],
]);

/**
 * The failure for a path of which `find` returned an errno. What the archive has put there is bad data; other errors are
 * the disk's.
 */
export function unreachable(path: ByteString, errno: number): Failure | SyscallError {
  const why = ofArchive.get(-errno);
  if (why === undefined || (errno === -ENAMETOOLONG && !isTooLong(path)))
    return new SyscallError('openat2', -errno, shown(path));
  return new Failure(Status.data, shown(path), `${why} (${errnoNameOf(-errno)})`);
}
