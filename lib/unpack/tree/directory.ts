/** Open directories, and their entries by name: what is in one, and the mode of what may be a symlink. */
import { close, fchmodat, getdents64, openat, openHow } from '../../sys/syscalls/calls.js';
import { AT, O, RESOLVE } from '../../sys/syscalls/constants.js';
import { type ByteString, fromBytes } from '../../tar/bytes.js';

/** Flags of openat(2) for a directory that is one itself, and no symlink to one. */
export const directoryFlags = O.RDONLY | O.DIRECTORY | O.NOFOLLOW | O.CLOEXEC;
/** The same for one that may be named by a symlink: DIR, and what is above it. */
export const followingFlags = O.RDONLY | O.DIRECTORY | O.CLOEXEC;

/** For openat2(2): a directory in the root by a path without symlinks. */
export const directHow = openHow(followingFlags, RESOLVE.IN_ROOT | RESOLVE.NO_SYMLINKS);

/** Closes a descriptor when it has been used, or when that failed. */
export function closing<T>(fd: number, use: (fd: number) => T): T {
  try {
    return use(fd);
  } finally {
    close(fd);
  }
}

/** The names in an open directory, without `.` and `..`. Throws `SyscallError`. */
export function entriesOf(fd: number): ByteString[] {
  return [...readEntries(fd)];
}

/**
 * The same, while they are read: a container may have made millions. What changes meanwhile may or may not be there.
 */
export function* readEntries(fd: number): Generator<ByteString> {
  const buffer = Buffer.allocUnsafe(32 * 1024);
  for (;;) {
    const bytes = getdents64(fd, buffer, buffer.length);
    if (bytes === 0) return;
    // getdents(2), struct linux_dirent64: inode and offset (8 bytes each), record length (2), type (1), name.
    for (let at = 0; at < bytes; at += buffer.readUInt16LE(at + 16)) {
      const name = fromBytes(buffer, at + 19, buffer.indexOf(0, at + 19));
      if (name !== '.' && name !== '..') yield name;
    }
  }
}

/**
 * Changes the mode of an entry; returns 0, or a negative errno. fchmodat(2) by name would follow a symlink that another
 * process has put there in the meantime, so the entry is opened first.
 */
export function chmodAt(dirfd: number, name: Buffer, mode: number): number {
  const fd = openat.try(dirfd, name, O.PATH | O.NOFOLLOW | O.CLOEXEC, 0);
  if (fd < 0) return fd;
  return closing(fd, () => fchmodat.try(AT.FDCWD, `/proc/self/fd/${fd}`, mode));
}
