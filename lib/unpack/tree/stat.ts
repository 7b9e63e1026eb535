import { statx } from '../../sys/syscalls/calls.js';
import { AT, structStatx as at, S, STATX } from '../../sys/syscalls/constants.js';
import { EACCES, ENAMETOOLONG, ENOENT } from '../../sys/syscalls/errno.js';
import { SyscallError } from '../../sys/syscalls/syscall.js';
import { type ByteString, shown, toBytes } from '../../tar/bytes.js';

/** STATX_ATTR_ENCRYPTED: statx(2). */
const encrypted = 0x800;

/** What statx(2) says of a file: the fields of `struct statx` that are used here. */
export class Stat {
  readonly bytes = Buffer.alloc(at.length);

  /** Whether all that is made in this directory is encrypted: fscrypt, in the kernel's documentation. */
  get isEncrypted(): boolean {
    return (this.bytes.readUInt32LE(at.attributes) & encrypted) !== 0;
  }
  get nlink(): number {
    return this.bytes.readUInt32LE(at.nlink);
  }
  get uid(): number {
    return this.bytes.readUInt32LE(at.uid);
  }
  get gid(): number {
    return this.bytes.readUInt32LE(at.gid);
  }
  /** Type and permissions: inode(7). */
  get mode(): number {
    return this.bytes.readUInt16LE(at.mode);
  }
  /** S.IFREG and the like. */
  get type(): number {
    return this.mode & S.IFMT;
  }
  get inode(): bigint {
    return this.bytes.readBigUInt64LE(at.ino);
  }
  /** Where it is: an inode's number is unique there. */
  get device(): bigint {
    return this.bytes.readBigUInt64LE(at.dev);
  }
  get size(): number {
    return Number(this.bytes.readBigUInt64LE(at.size));
  }
  get seconds(): number {
    return Number(this.bytes.readBigInt64LE(at.mtimeSeconds));
  }
  get nanoseconds(): number {
    return this.bytes.readUInt32LE(at.mtimeNanoseconds);
  }
  get major(): number {
    return this.bytes.readUInt32LE(at.rdevMajor);
  }
  get minor(): number {
    return this.bytes.readUInt32LE(at.rdevMinor);
  }
}

/** What the kernel says of a name that is not there, or not for this user to look at. */
const absent = [ENOENT, ENAMETOOLONG, EACCES];

/**
 * The status of an entry of a directory, the last symlink not followed; `undefined` when it is not there. Throws
 * `SyscallError` when the disk does not tell.
 */
export function statAt(dirfd: number, name: ByteString, flags = 0): Stat | undefined {
  const stat = new Stat();
  const result = statx.try(dirfd, toBytes(name), AT.SYMLINK_NOFOLLOW | flags, STATX.BASIC_STATS, stat.bytes);
  if (result < 0 && !absent.includes(-result)) throw new SyscallError('statx', -result, shown(name));
  return result < 0 ? undefined : stat;
}

/** Whether a name in a directory is that of what is open. Both are on one filesystem. */
export function isNameOf(fd: number, dirfd: number, name: ByteString): boolean {
  return statAt(dirfd, name)?.inode === statOf(fd).inode;
}

/** The status of what is open. */
export function statOf(fd: number): Stat {
  const stat = new Stat();
  statx(fd, '', AT.EMPTY_PATH, STATX.BASIC_STATS, stat.bytes);
  return stat;
}
