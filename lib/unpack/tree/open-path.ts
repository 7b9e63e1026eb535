/** Where open files are, and what is mounted there. */
import { procNotMounted } from '../../sys/files/descriptor-path.js';
import { mountPaths } from '../../sys/procfs/mountinfo.js';
import { readlinkat } from '../../sys/syscalls/calls.js';
import { AT } from '../../sys/syscalls/constants.js';
import { ENOENT } from '../../sys/syscalls/errno.js';
import { SyscallError } from '../../sys/syscalls/syscall.js';
import { type ByteString, fromBytes } from '../../tar/bytes.js';

/** The path of an open file, as the kernel knows it: proc_pid_fd(5). Throws `Failure` 74 where /proc is not mounted. */
export function openPath(fd: number): ByteString {
  const buffer = Buffer.allocUnsafe(8192);
  const path = `/proc/self/fd/${fd}`;
  const bytes = readlinkat.try(AT.FDCWD, path, buffer, buffer.length);
  if (bytes === -ENOENT) throw procNotMounted();
  if (bytes < 0) throw new SyscallError('readlinkat', -bytes, path);
  return fromBytes(buffer, 0, bytes);
}

/** The mount points at and below an open directory, relative to it; one at the directory itself is the empty string. */
export function mountPoints(fd: number): ByteString[] {
  const home = openPath(fd);
  return mountPaths()
    .filter((path) => path === home || path.startsWith(`${home}/`))
    .map((path) => path.slice(home.length + 1));
}
