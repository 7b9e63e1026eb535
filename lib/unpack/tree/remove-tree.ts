/**
 * Removing a whole tree that no `Tree` keeps account of, however deep and full a container has made it: an old one, or
 * what an interrupted run has left.
 */
import { close, fchmod, openat, unlinkat } from '../../sys/syscalls/calls.js';
import { AT } from '../../sys/syscalls/constants.js';
import { EACCES, ENOTEMPTY } from '../../sys/syscalls/errno.js';
import { type ByteString, joinPath, toBytes } from '../../tar/bytes.js';
import { directoryFlags, readEntries } from './directory.js';
import { notRemoved, unlinkOrEnter } from './remove.js';
import { statOf } from './stat.js';

/** Removes an entry with everything below it. Throws `SyscallError`. */
export function removeTree(dirfd: number, name: ByteString): void {
  new TreeRemoval(dirfd).remove(name);
}

/** A directory that is being emptied. */
interface Level {
  path: ByteString;
  name: ByteString;
  /** Undefined while it is closed. */
  fd: number | undefined;
  /** What is still in it. */
  names: Iterator<ByteString>;
  /** Which directory it is, once it has been closed. */
  identity?: string;
  /** How often it may be found not empty. */
  tries: number;
}

/**
 * How many directories inside each other are open at once; most images have fewer. Those further up are closed, and
 * opened again from below. To move what lies deep to a higher place, which would spare that, fails where a container has
 * made a subvolume of btrfs.
 */
const most = 64;

class TreeRemoval {
  /** From the top of the tree down. */
  private readonly levels: Level[] = [];

  constructor(private readonly dirfd: number) {}

  remove(name: ByteString): void {
    try {
      this.begin(name);
      for (let level = this.levels.at(-1); level; level = this.levels.at(-1)) {
        const next = level.names.next();
        if (next.done) this.finish(level);
        else this.begin(next.value);
      }
    } finally {
      for (const { fd } of this.levels) if (fd !== undefined) close(fd);
    }
  }

  /** Removes an entry of the directory that has been reached, or goes into it when it is a directory. */
  private begin(name: ByteString, tries = 10): void {
    const around = this.levels.at(-1);
    const dirfd = around?.fd ?? this.dirfd;
    const path = joinPath(around?.path ?? '', name);
    const fd = unlinkOrEnter(dirfd, toBytes(name), path, around !== undefined);
    if (fd === undefined) return;
    this.levels.push({ path, name, fd, names: readEntries(fd), tries });
    this.closeFarthest();
  }

  private closeFarthest(): void {
    const level = this.levels.at(-1 - most);
    if (level?.fd === undefined) return;
    level.identity = identityOf(level.fd);
    level.names = none;
    close(level.fd);
    level.fd = undefined;
  }

  /** Removes the directory that has been reached, in which nothing is any more. */
  private finish({ path, name, fd, tries }: Level): void {
    const around = this.levels.at(-2);
    if (around) this.open(around, fd!);
    const result = unlinkat.try(around?.fd ?? this.dirfd, toBytes(name), AT.REMOVEDIR);
    this.levels.pop();
    close(fd!);
    // readdir(3): while entries are removed, others may be passed over.
    if (result === -ENOTEMPTY && tries > 0) this.begin(name, tries - 1);
    else if (result < 0) throw notRemoved('unlinkat', -result, path);
  }

  /** Opens a directory again, given one that was in it. */
  private open(level: Level, below: number): void {
    if (level.fd !== undefined) return;
    let fd = openat.try(below, '..', directoryFlags, 0);
    if (fd === -EACCES && fchmod.try(below, 0o700) === 0) fd = openat.try(below, '..', directoryFlags, 0);
    if (fd < 0) throw notRemoved('openat', -fd, level.path);
    level.fd = fd;
    level.names = readEntries(fd);
    // A process in the tree may have moved the one below. Nothing must be removed in the place where that is now.
    if (identityOf(fd) !== level.identity) throw notRemoved('unlinkat', ENOTEMPTY, level.path);
  }
}

const none: Iterator<ByteString> = [][Symbol.iterator]();

function identityOf(fd: number): string {
  const { device, inode } = statOf(fd);
  return `${device}:${inode}`;
}
