/**
 * The system calls that this project makes, each by its man page of section 2 (`man 2 NAME`). The first number is that
 * on x64 (asm/unistd_64.h), the second that on arm64 (asm-generic/unistd.h). Calls return what the kernel returns and
 * throw `SyscallError`; `.try` returns a negative errno in its place.
 */
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
  MADV,
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
  SIGNALS,
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
const signal = choice(['', SIGNALS]);
const requests = choice(['TIO', TIO], ['TC', TC], ['SIOC', SIOC], ['NS_', NS], ['SECCOMP_IOCTL_', SECCOMP_IOCTL]);

// Files and directories
export const read = syscall('read', [0, 63], fd, memory, int);
export const write = syscall('write', [1, 64], fd, memory, int);
export const close = syscall('close', [3, 57], fd);
export const lseek = syscall('lseek', [8, 62], fd, long, int);
export const openat = syscall('openat', [257, 56], dirfd, path, oflags, mode);
/** `how` is a `struct open_how`: see `openHow`. */
export const openat2 = syscall('openat2', [437, 437], dirfd, path, openHowKind, int);
export const mkdirat = syscall('mkdirat', [258, 34], dirfd, path, mode);
export const unlinkat = syscall('unlinkat', [263, 35], dirfd, path, atFlags);
export const linkat = syscall('linkat', [265, 37], dirfd, path, dirfd, path, atFlags);
export const symlinkat = syscall('symlinkat', [266, 36], path, dirfd, path);
export const readlinkat = syscall('readlinkat', [267, 78], dirfd, path, memory, int);
export const mknodat = syscall('mknodat', [259, 33], dirfd, path, mode, long);
export const renameat2 = syscall('renameat2', [316, 276], dirfd, path, dirfd, path, flags(['RENAME_', RENAME]));
export const fchown = syscall('fchown', [93, 55], fd, long, long);
export const fchownat = syscall('fchownat', [260, 54], dirfd, path, long, long, atFlags);
export const fchmod = syscall('fchmod', [91, 52], fd, mode);
export const fchmodat = syscall('fchmodat', [268, 53], dirfd, path, mode);
/** `times` is two `struct timespec`, or null for now. */
export const utimensat = syscall('utimensat', [280, 88], dirfd, path, memory, atFlags);
export const ftruncate = syscall('ftruncate', [77, 46], fd, long);
export const getdents64 = syscall('getdents64', [217, 61], fd, memory, int);
export const statx = syscall('statx', [332, 291], dirfd, path, atFlags, hex, memory);
export const flock = syscall('flock', [73, 32], fd, flags(['LOCK_', LOCK]));
export const fcntl = syscall('fcntl', [72, 25], fd, choice(['F_', F]), long);
export const ioctl = syscall('ioctl', [16, 29], fd, requests, long);
export const ioctlMemory = syscall('ioctl', [16, 29], fd, requests, memory);
export const dup3 = syscall('dup3', [292, 24], fd, fd, oflags);
export const close_range = syscall('close_range', [436, 436], fd, hex, flags(['CLOSE_RANGE_', CLOSE_RANGE]));
export const pipe2 = syscall('pipe2', [293, 59], memory, oflags);
export const umask = syscall('umask', [95, 166], mode);

// Extended attributes: xattr(7)
export const fsetxattr = syscall('fsetxattr', [190, 7], fd, path, bytes, int, int);
export const lsetxattr = syscall('lsetxattr', [189, 6], path, path, bytes, int, int);
export const lgetxattr = syscall('lgetxattr', [192, 9], path, path, memory, int);
export const flistxattr = syscall('flistxattr', [196, 13], fd, memory, int);
export const llistxattr = syscall('llistxattr', [195, 12], path, memory, int);
export const fremovexattr = syscall('fremovexattr', [199, 16], fd, path);

// Mounts: mount_namespaces(7)
export const mount = syscall('mount', [165, 40], path, path, path, flags(['MS_', MS]), path);
export const umount2 = syscall('umount2', [166, 39], path, flags(['MNT_', MNT]));
export const pivot_root = syscall('pivot_root', [155, 41], path, path);
export const fsopen = syscall('fsopen', [430, 430], path, flags(['FSOPEN_', FSOPEN]));
/** For FSCONFIG_SET_STRING, FSCONFIG_SET_FLAG (value null) and FSCONFIG_CMD_CREATE (key and value null). */
export const fsconfig = syscall('fsconfig', [431, 431], fd, choice(['FSCONFIG_', FSCONFIG]), path, path, int);
export const fsmount = syscall(
  'fsmount',
  [432, 432],
  fd,
  flags(['FSMOUNT_', FSMOUNT]),
  flags(['MOUNT_ATTR_', MOUNT_ATTR]),
);
export const open_tree = syscall('open_tree', [428, 428], dirfd, path, flags(['OPEN_TREE_', OPEN_TREE], ['AT_', AT]));
export const move_mount = syscall(
  'move_mount',
  [429, 429],
  dirfd,
  path,
  dirfd,
  path,
  flags(['MOVE_MOUNT_', MOVE_MOUNT]),
);
/** `attr` is a `struct mount_attr`: see `mountAttr`. */
export const mount_setattr = syscall('mount_setattr', [442, 442], dirfd, path, atFlags, mountAttrKind, int);
export const fchdir = syscall('fchdir', [81, 50], fd);
export const getcwd = syscall('getcwd', [79, 17], memory, int);

// Processes, namespaces(7), credentials(7), signal(7)
/**
 * Only for programs of a child (program.ts): called here, a second Node would run. The order after `parent_tid` differs
 * by machine.
 */
export const clone = syscall(
  'clone',
  [56, 220],
  flags(['CLONE_', CLONE], ['', { SIGCHLD }]),
  memory,
  memory,
  long,
  long,
);
export const unshare = syscall('unshare', [272, 97], flags(['CLONE_', CLONE]));
export const wait4 = syscall('wait4', [61, 260], int, memory, flags(['W', W]), memory);
export const kill = syscall('kill', [62, 129], int, signal);
export const pidfd_open = syscall('pidfd_open', [434, 434], int, int);
export const pidfd_getfd = syscall('pidfd_getfd', [438, 438], fd, int, int);
export const exit_group = syscall('exit_group', [231, 94], int);
/** `argv` and `envp` are null-terminated arrays of pointers. */
export const execve = syscall('execve', [59, 221], path, memory, memory);
/** With an empty path and AT_EMPTY_PATH: what the descriptor is open on. */
export const execveat = syscall('execveat', [322, 281], fd, path, memory, memory, atFlags);
export const memfd_create = syscall('memfd_create', [319, 279], path, flags(['MFD_', MFD]));
export const prctl = syscall('prctl', [157, 167], choice(['PR_', PR]), long, long, long, long);
export const capset = syscall('capset', [126, 91], memory, memory);
export const seccomp = syscall(
  'seccomp',
  [317, 277],
  choice(['SECCOMP_', SECCOMP]),
  flags(['SECCOMP_', SECCOMP]),
  memory,
);
export const setresuid = syscall('setresuid', [117, 147], long, long, long);
export const setresgid = syscall('setresgid', [119, 149], long, long, long);
export const setgroups = syscall('setgroups', [116, 159], int, memory);
export const setsid = syscall('setsid', [112, 157]);
export const sethostname = syscall('sethostname', [170, 161], path, int);
export const keyctl = syscall('keyctl', [250, 219], choice(['KEYCTL_', KEYCTL]), long, long, long, long);
export const prlimit64 = syscall('prlimit64', [302, 261], int, choice(['RLIMIT_', RLIMIT]), memory, memory);
export const rt_sigprocmask = syscall('rt_sigprocmask', [14, 135], choice(['SIG_', SIG]), memory, memory, int);
export const rt_sigaction = syscall('rt_sigaction', [13, 134], signal, memory, memory, int);
export const rt_sigtimedwait = syscall('rt_sigtimedwait', [128, 137], memory, memory, memory, int);
export const ppoll = syscall('ppoll', [271, 73], memory, int, memory, memory, int);

// Sockets: what brings a network namespace's loopback up, passes a terminal's fd out of the container, and tells of
// stdout
export const socket = syscall('socket', [41, 198], choice(['AF_', AF]), flags(['SOCK_', SOCK]), int);
export const socketpair = syscall('socketpair', [53, 199], choice(['AF_', AF]), flags(['SOCK_', SOCK]), int, memory);
export const getsockopt = syscall('getsockopt', [55, 209], fd, int, int, memory, memory);
export const sendmsg = syscall('sendmsg', [46, 211], fd, memory, int);
export const recvfrom = syscall('recvfrom', [45, 207], fd, memory, int, flags(['MSG_', MSG]), memory, memory);
export const recvmsg = syscall('recvmsg', [47, 212], fd, memory, flags(['MSG_', MSG]));

// Memory of this process
export const mmap = syscall('mmap', [9, 222], memory, long, flags(['PROT_', PROT]), flags(['MAP_', MAP]), fd, long);
export const mprotect = syscall('mprotect', [10, 226], memory, long, flags(['PROT_', PROT]));
export const madvise = syscall('madvise', [28, 233], memory, long, choice(['MADV_', MADV]));

/** `struct open_how` for openat2(2): 24 bytes. Its mode is 0, since it creates nothing here. */
export function openHow(oflags: number, resolve: number): Buffer {
  return Buffer.from(BigUint64Array.of(BigInt(oflags >>> 0), 0n, BigInt(resolve)).buffer);
}

/** `struct mount_attr` for mount_setattr(2), 32 bytes: sets these attributes and clears none. */
export function mountAttr(set: number): Buffer {
  return Buffer.from(BigUint64Array.of(BigInt(set >>> 0), 0n, 0n, 0n).buffer);
}
