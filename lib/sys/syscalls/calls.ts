/**
 * The system calls that this project makes, each by its man page of section 2 (`man 2 NAME`). Numbers are those of
 * asm/unistd_64.h for x64 and asm-generic/unistd.h for arm64. Calls return what the kernel returns and throw
 * `SyscallError`; `.try` returns a negative errno in its place.
 */
import { constants } from 'node:os';
import {
  AF,
  AT,
  CLONE,
  CLOSE_RANGE,
  F,
  FSCONFIG,
  FSMOUNT,
  FSOPEN,
  KEYCTL,
  LOCK,
  MAP,
  MFD,
  MNT,
  MOUNT_ATTR,
  MOVE_MOUNT,
  MS,
  MSG,
  NS,
  O,
  OPEN_TREE,
  PR,
  PROT,
  RENAME,
  RLIMIT,
  SECCOMP,
  SECCOMP_IOCTL,
  SIG,
  SIGCHLD,
  SIOC,
  SOCK,
  TC,
  TIO,
  W,
} from './constants.js';
import {
  bytes,
  choice,
  dirfd,
  fd,
  flags,
  hex,
  int,
  long,
  memory,
  mode,
  mountAttrKind,
  openHowKind,
  path,
} from './kinds.js';
import { syscall } from './syscall.js';

const oflags = flags(['O_', O]);
const atFlags = flags(['AT_', AT]);
const signal = choice('', constants.signals);

// Files and directories
export const read = syscall('read', { x64: 0, arm64: 63 }, fd, memory, int);
export const write = syscall('write', { x64: 1, arm64: 64 }, fd, memory, int);
export const close = syscall('close', { x64: 3, arm64: 57 }, fd);
export const lseek = syscall('lseek', { x64: 8, arm64: 62 }, fd, long, int);
export const openat = syscall('openat', { x64: 257, arm64: 56 }, dirfd, path, oflags, mode);
/** `how` is a `struct open_how`: see `openHow`. */
export const openat2 = syscall('openat2', { x64: 437, arm64: 437 }, dirfd, path, openHowKind, int);
export const mkdirat = syscall('mkdirat', { x64: 258, arm64: 34 }, dirfd, path, mode);
export const unlinkat = syscall('unlinkat', { x64: 263, arm64: 35 }, dirfd, path, atFlags);
export const linkat = syscall('linkat', { x64: 265, arm64: 37 }, dirfd, path, dirfd, path, atFlags);
export const symlinkat = syscall('symlinkat', { x64: 266, arm64: 36 }, path, dirfd, path);
export const readlinkat = syscall('readlinkat', { x64: 267, arm64: 78 }, dirfd, path, memory, int);
export const mknodat = syscall('mknodat', { x64: 259, arm64: 33 }, dirfd, path, mode, long);
export const renameat2 = syscall(
  'renameat2',
  { x64: 316, arm64: 276 },
  dirfd,
  path,
  dirfd,
  path,
  flags(['RENAME_', RENAME]),
);
export const fchown = syscall('fchown', { x64: 93, arm64: 55 }, fd, long, long);
export const fchownat = syscall('fchownat', { x64: 260, arm64: 54 }, dirfd, path, long, long, atFlags);
export const fchmod = syscall('fchmod', { x64: 91, arm64: 52 }, fd, mode);
export const fchmodat = syscall('fchmodat', { x64: 268, arm64: 53 }, dirfd, path, mode);
/** `times` is two `struct timespec`, or null for now. */
export const utimensat = syscall('utimensat', { x64: 280, arm64: 88 }, dirfd, path, memory, atFlags);
export const ftruncate = syscall('ftruncate', { x64: 77, arm64: 46 }, fd, long);
export const getdents64 = syscall('getdents64', { x64: 217, arm64: 61 }, fd, memory, int);
export const statx = syscall('statx', { x64: 332, arm64: 291 }, dirfd, path, atFlags, hex, memory);
export const flock = syscall('flock', { x64: 73, arm64: 32 }, fd, flags(['LOCK_', LOCK]));
export const fcntl = syscall('fcntl', { x64: 72, arm64: 25 }, fd, choice('F_', F), long);
export const ioctl = syscall('ioctl', { x64: 16, arm64: 29 }, fd, choice('TIO', TIO), long);
export const ioctlMemory = syscall('ioctl', { x64: 16, arm64: 29 }, fd, choice('TIO', TIO), memory);
export const ioctlInterface = syscall('ioctl', { x64: 16, arm64: 29 }, fd, choice('SIOC', SIOC), memory);
export const ioctlNamespace = syscall('ioctl', { x64: 16, arm64: 29 }, fd, choice('NS_', NS), long);
export const ioctlSeccomp = syscall(
  'ioctl',
  { x64: 16, arm64: 29 },
  fd,
  choice('SECCOMP_IOCTL_', SECCOMP_IOCTL),
  memory,
);
export const ioctlTermios = syscall('ioctl', { x64: 16, arm64: 29 }, fd, choice('TC', TC), memory);
export const dup3 = syscall('dup3', { x64: 292, arm64: 24 }, fd, fd, oflags);
export const close_range = syscall(
  'close_range',
  { x64: 436, arm64: 436 },
  fd,
  hex,
  flags(['CLOSE_RANGE_', CLOSE_RANGE]),
);
export const pipe2 = syscall('pipe2', { x64: 293, arm64: 59 }, memory, oflags);
export const umask = syscall('umask', { x64: 95, arm64: 166 }, mode);

// Extended attributes: xattr(7)
export const fsetxattr = syscall('fsetxattr', { x64: 190, arm64: 7 }, fd, path, bytes, int, int);
export const lsetxattr = syscall('lsetxattr', { x64: 189, arm64: 6 }, path, path, bytes, int, int);
export const lgetxattr = syscall('lgetxattr', { x64: 192, arm64: 9 }, path, path, memory, int);
export const flistxattr = syscall('flistxattr', { x64: 196, arm64: 13 }, fd, memory, int);
export const llistxattr = syscall('llistxattr', { x64: 195, arm64: 12 }, path, memory, int);
export const fremovexattr = syscall('fremovexattr', { x64: 199, arm64: 16 }, fd, path);

// Mounts: mount_namespaces(7)
export const mount = syscall('mount', { x64: 165, arm64: 40 }, path, path, path, flags(['MS_', MS]), path);
export const umount2 = syscall('umount2', { x64: 166, arm64: 39 }, path, flags(['MNT_', MNT]));
export const pivot_root = syscall('pivot_root', { x64: 155, arm64: 41 }, path, path);
export const fsopen = syscall('fsopen', { x64: 430, arm64: 430 }, path, flags(['FSOPEN_', FSOPEN]));
/** For FSCONFIG_SET_STRING, FSCONFIG_SET_FLAG (value null) and FSCONFIG_CMD_CREATE (key and value null). */
export const fsconfig = syscall(
  'fsconfig',
  { x64: 431, arm64: 431 },
  fd,
  choice('FSCONFIG_', FSCONFIG),
  path,
  path,
  int,
);
export const fsmount = syscall(
  'fsmount',
  { x64: 432, arm64: 432 },
  fd,
  flags(['FSMOUNT_', FSMOUNT]),
  flags(['MOUNT_ATTR_', MOUNT_ATTR]),
);
export const open_tree = syscall(
  'open_tree',
  { x64: 428, arm64: 428 },
  dirfd,
  path,
  flags(['OPEN_TREE_', OPEN_TREE], ['AT_', AT]),
);
export const move_mount = syscall(
  'move_mount',
  { x64: 429, arm64: 429 },
  dirfd,
  path,
  dirfd,
  path,
  flags(['MOVE_MOUNT_', MOVE_MOUNT]),
);
/** `attr` is a `struct mount_attr`: see `mountAttr`. */
export const mount_setattr = syscall(
  'mount_setattr',
  { x64: 442, arm64: 442 },
  dirfd,
  path,
  atFlags,
  mountAttrKind,
  int,
);
export const fchdir = syscall('fchdir', { x64: 81, arm64: 50 }, fd);
export const getcwd = syscall('getcwd', { x64: 79, arm64: 17 }, memory, int);

// Processes, namespaces(7), credentials(7), signal(7)
const cloneFlags = flags(['CLONE_', CLONE]);
/**
 * Only for programs of a child (program.ts): called here, a second Node would run. The order after `parentTid` differs
 * by machine.
 */
export const clone = syscall(
  'clone',
  { x64: 56, arm64: 220 },
  flags(['CLONE_', CLONE], ['', { SIGCHLD }]),
  memory,
  memory,
  long,
  long,
);
export const unshare = syscall('unshare', { x64: 272, arm64: 97 }, cloneFlags);
export const wait4 = syscall('wait4', { x64: 61, arm64: 260 }, int, memory, flags(['W', W]), memory);
export const kill = syscall('kill', { x64: 62, arm64: 129 }, int, signal);
export const pidfd_open = syscall('pidfd_open', { x64: 434, arm64: 434 }, int, int);
export const pidfd_getfd = syscall('pidfd_getfd', { x64: 438, arm64: 438 }, fd, int, int);
export const exit_group = syscall('exit_group', { x64: 231, arm64: 94 }, int);
/** `argv` and `envp` are null-terminated arrays of pointers. */
export const execve = syscall('execve', { x64: 59, arm64: 221 }, path, memory, memory);
/** With an empty path and AT_EMPTY_PATH: what the descriptor is open on. */
export const execveat = syscall('execveat', { x64: 322, arm64: 281 }, fd, path, memory, memory, atFlags);
export const memfd_create = syscall('memfd_create', { x64: 319, arm64: 279 }, path, flags(['MFD_', MFD]));
export const prctl = syscall('prctl', { x64: 157, arm64: 167 }, choice('PR_', PR), long, long, long, long);
export const capset = syscall('capset', { x64: 126, arm64: 91 }, memory, memory);
export const seccomp = syscall(
  'seccomp',
  { x64: 317, arm64: 277 },
  choice('SECCOMP_', SECCOMP),
  flags(['SECCOMP_', SECCOMP]),
  memory,
);
export const setresuid = syscall('setresuid', { x64: 117, arm64: 147 }, long, long, long);
export const setresgid = syscall('setresgid', { x64: 119, arm64: 149 }, long, long, long);
export const setgroups = syscall('setgroups', { x64: 116, arm64: 159 }, int, memory);
export const setsid = syscall('setsid', { x64: 112, arm64: 157 });
export const sethostname = syscall('sethostname', { x64: 170, arm64: 161 }, path, int);
export const keyctl = syscall('keyctl', { x64: 250, arm64: 219 }, choice('KEYCTL_', KEYCTL), long, long, long, long);
export const prlimit64 = syscall('prlimit64', { x64: 302, arm64: 261 }, int, choice('RLIMIT_', RLIMIT), memory, memory);
export const rt_sigprocmask = syscall(
  'rt_sigprocmask',
  { x64: 14, arm64: 135 },
  choice('SIG_', SIG),
  memory,
  memory,
  int,
);
export const rt_sigaction = syscall('rt_sigaction', { x64: 13, arm64: 134 }, signal, memory, memory, int);
export const rt_sigtimedwait = syscall('rt_sigtimedwait', { x64: 128, arm64: 137 }, memory, memory, memory, int);
export const ppoll = syscall('ppoll', { x64: 271, arm64: 73 }, memory, int, memory, memory, int);

// Sockets: what brings a network namespace's loopback up, passes a terminal's fd out of the container, and tells of
// stdout
export const socket = syscall('socket', { x64: 41, arm64: 198 }, choice('AF_', AF), flags(['SOCK_', SOCK]), int);
export const socketpair = syscall(
  'socketpair',
  { x64: 53, arm64: 199 },
  choice('AF_', AF),
  flags(['SOCK_', SOCK]),
  int,
  memory,
);
export const getsockopt = syscall('getsockopt', { x64: 55, arm64: 209 }, fd, int, int, memory, memory);
export const sendmsg = syscall('sendmsg', { x64: 46, arm64: 211 }, fd, memory, int);
export const recvfrom = syscall(
  'recvfrom',
  { x64: 45, arm64: 207 },
  fd,
  memory,
  int,
  flags(['MSG_', MSG]),
  memory,
  memory,
);
export const recvmsg = syscall('recvmsg', { x64: 47, arm64: 212 }, fd, memory, flags(['MSG_', MSG]));

// Memory of this process
export const mmap = syscall(
  'mmap',
  { x64: 9, arm64: 222 },
  memory,
  long,
  flags(['PROT_', PROT]),
  flags(['MAP_', MAP]),
  fd,
  long,
);
export const mprotect = syscall('mprotect', { x64: 10, arm64: 226 }, memory, long, flags(['PROT_', PROT]));

/** `struct open_how` for openat2(2): 24 bytes. Its mode is 0, since it creates nothing here. */
export function openHow(oflags: number, resolve: number): Buffer {
  const how = Buffer.alloc(24);
  how.writeBigUInt64LE(BigInt(oflags >>> 0), 0);
  how.writeBigUInt64LE(BigInt(resolve), 16);
  return how;
}

/** `struct mount_attr` for mount_setattr(2), 32 bytes: sets these attributes and clears none. */
export function mountAttr(set: number): Buffer {
  const attr = Buffer.alloc(32);
  attr.writeBigUInt64LE(BigInt(set >>> 0), 0);
  return attr;
}
