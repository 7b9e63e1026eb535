import { statx } from '../sys/calls.js';
import { AT } from '../sys/constants.js';
import { type ByteString, toBytes } from './bytes.js';

/** statx(2): the fields of `struct statx` that are used here, over a buffer that may be filled again. */
export class Stat {
  static readonly basic = 0x7ff;
  readonly bytes = Buffer.alloc(256);

  get nlink(): number {
    return this.bytes.readUInt32LE(16);
  }
  get uid(): number {
    return this.bytes.readUInt32LE(20);
  }
  get gid(): number {
    return this.bytes.readUInt32LE(24);
  }
  /** Type and permissions: inode(7). */
  get mode(): number {
    return this.bytes.readUInt16LE(28);
  }
  get inode(): bigint {
    return this.bytes.readBigUInt64LE(32);
  }
  get size(): number {
    return Number(this.bytes.readBigUInt64LE(40));
  }
  get seconds(): number {
    return Number(this.bytes.readBigInt64LE(112));
  }
  get nanoseconds(): number {
    return this.bytes.readUInt32LE(120);
  }
  get major(): number {
    return this.bytes.readUInt32LE(128);
  }
  get minor(): number {
    return this.bytes.readUInt32LE(132);
  }
}

/** The status of an entry of a directory, the last symlink not followed; `undefined` when it is not there. */
export function statAt(dirfd: number, name: ByteString): Stat | undefined {
  const stat = new Stat();
  const result = statx.try(dirfd, toBytes(name), AT.SYMLINK_NOFOLLOW, Stat.basic, stat.bytes);
  return result < 0 ? undefined : stat;
}

/** The status of what is open. */
export function statOf(fd: number): Stat {
  const stat = new Stat();
  statx(fd, '', AT.EMPTY_PATH, Stat.basic, stat.bytes);
  return stat;
}
