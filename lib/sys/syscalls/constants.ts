/**
 * Constants of the kernel's interface that are used here, a family each, by the names of the man pages without their
 * prefix. The families also serve to show a value by its names in a trace. Values are those of x64 and arm64
 * (`include/uapi`); where the two differ, the one for this machine is chosen here.
 */
export const arch = process.arch === 'arm64' ? 'arm64' : 'x64';
const arm = arch === 'arm64';

/** openat(2). */
export const O = {
  RDONLY: 0,
  WRONLY: 1,
  RDWR: 2,
  CREAT: 0o100,
  EXCL: 0o200,
  NOCTTY: 0o400,
  NONBLOCK: 0o4000,
  DIRECTORY: arm ? 0o40000 : 0o200000,
  NOFOLLOW: arm ? 0o100000 : 0o400000,
  CLOEXEC: 0o2000000,
  PATH: 0o10000000,
} as const;

/** The `*at` calls. */
export const AT = {
  FDCWD: -100,
  SYMLINK_NOFOLLOW: 0x100,
  REMOVEDIR: 0x200,
  EMPTY_PATH: 0x1000,
  STATX_FORCE_SYNC: 0x2000,
  RECURSIVE: 0x8000,
} as const;

/** statx(2), `stx_mask`. */
export const STATX = { INO: 0x100, BASIC_STATS: 0x7ff } as const;

/** `struct statx`: how long it is, and where its fields are: `stx_nlink`, and so on. */
export const structStatx = {
  length: 256,
  attributes: 8,
  nlink: 16,
  uid: 20,
  gid: 24,
  mode: 28,
  ino: 32,
  size: 40,
  mtimeSeconds: 112,
  mtimeNanoseconds: 120,
  rdevMajor: 128,
  rdevMinor: 132,
  /** `stx_dev_major` with `stx_dev_minor`. */
  dev: 136,
} as const;

/** openat2(2), `struct open_how.resolve`. */
export const RESOLVE = {
  NO_XDEV: 0x01,
  NO_MAGICLINKS: 0x02,
  NO_SYMLINKS: 0x04,
  BENEATH: 0x08,
  IN_ROOT: 0x10,
} as const;

/** lseek(2). */
export const SEEK = { SET: 0, CUR: 1, DATA: 3 } as const;

/** inode(7), file types in a mode. */
export const S = {
  IFMT: 0o170000,
  IFIFO: 0o010000,
  IFCHR: 0o020000,
  IFDIR: 0o040000,
  IFBLK: 0o060000,
  IFREG: 0o100000,
  IFLNK: 0o120000,
  IFSOCK: 0o140000,
  ISUID: 0o004000,
} as const;

/** clone(2), unshare(2), namespaces(7). */
export const CLONE = {
  VM: 0x00000100,
  VFORK: 0x00004000,
  PARENT_SETTID: 0x00100000,
  NEWNS: 0x00020000,
  NEWCGROUP: 0x02000000,
  NEWUTS: 0x04000000,
  NEWIPC: 0x08000000,
  NEWUSER: 0x10000000,
  NEWPID: 0x20000000,
  NEWNET: 0x40000000,
} as const;

/** signal(7). They are the same on x64 and arm64. */
export const SIGNALS = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGILL: 4,
  SIGTRAP: 5,
  SIGABRT: 6,
  SIGBUS: 7,
  SIGFPE: 8,
  SIGKILL: 9,
  SIGUSR1: 10,
  SIGSEGV: 11,
  SIGUSR2: 12,
  SIGPIPE: 13,
  SIGALRM: 14,
  SIGTERM: 15,
  SIGSTKFLT: 16,
  SIGCHLD: 17,
  SIGCONT: 18,
  SIGSTOP: 19,
  SIGTSTP: 20,
  SIGTTIN: 21,
  SIGTTOU: 22,
  SIGURG: 23,
  SIGXCPU: 24,
  SIGXFSZ: 25,
  SIGVTALRM: 26,
  SIGPROF: 27,
  SIGWINCH: 28,
  SIGIO: 29,
  SIGPWR: 30,
  SIGSYS: 31,
} as const;
export const { SIGHUP, SIGKILL, SIGTERM, SIGCHLD, SIGSYS } = SIGNALS;

/** mount(2). */
export const MS = {
  REC: 0x4000,
  PRIVATE: 0x40000,
} as const;

/** umount2(2). */
export const MNT = { DETACH: 2 } as const;

/** fsmount(2), mount_setattr(2). */
export const MOUNT_ATTR = {
  RDONLY: 0x01,
  NOSUID: 0x02,
  NODEV: 0x04,
  NOEXEC: 0x08,
  NOATIME: 0x10,
  STRICTATIME: 0x20,
  NODIRATIME: 0x80,
} as const;

/** fsconfig(2), commands. */
export const FSCONFIG = {
  SET_FLAG: 0,
  SET_STRING: 1,
  CMD_CREATE: 6,
} as const;

export const FSOPEN = { CLOEXEC: 1 } as const;
export const FSMOUNT = { CLOEXEC: 1 } as const;

/** open_tree(2); AT_RECURSIVE and AT_EMPTY_PATH go with them. */
export const OPEN_TREE = { CLONE: 1, CLOEXEC: O.CLOEXEC } as const;

/** move_mount(2). */
export const MOVE_MOUNT = {
  F_EMPTY_PATH: 0x04,
  T_EMPTY_PATH: 0x40,
} as const;

/** flock(2). */
export const LOCK = { SH: 1, EX: 2, NB: 4 } as const;

/** renameat2(2). */
export const RENAME = { EXCHANGE: 2 } as const;

/** fcntl(2). */
export const F = { GETFD: 1, SETFD: 2, GETFL: 3, SETFL: 4, DUPFD_CLOEXEC: 1030 } as const;

/** close_range(2). */
export const CLOSE_RANGE = { CLOEXEC: 4 } as const;

/** wait4(2). */
export const W = { NOHANG: 1 } as const;

/** prctl(2). */
export const PR = {
  SET_PDEATHSIG: 1,
  SET_DUMPABLE: 4,
  SET_NAME: 15,
  CAPBSET_DROP: 24,
  SET_NO_NEW_PRIVS: 38,
} as const;

/** seccomp(2). */
export const SECCOMP = {
  SET_MODE_FILTER: 1,
  FILTER_FLAG_LOG: 2,
  FILTER_FLAG_SPEC_ALLOW: 4,
  FILTER_FLAG_NEW_LISTENER: 8,
} as const;

/** seccomp_unotify(2). */
export const SECCOMP_IOCTL = { NOTIF_RECV: 0xc0502100, NOTIF_SEND: 0xc0182101 } as const;

/** ioctl_tty(2). */
export const TIO = {
  CSCTTY: 0x540e,
  CSWINSZ: 0x5414,
  CGWINSZ: 0x5413,
  CSPTLCK: 0x40045431,
  CGPTPEER: 0x5441,
  /** FIONREAD by its other name; pipes have it as well. pipe(7) */
  CINQ: 0x541b,
} as const;

/** memfd_create(2). */
export const MFD = { CLOEXEC: 1, EXEC: 0x10 } as const;

/** socket(2), address_families(7). */
export const AF = { UNIX: 1, INET: 2 } as const;
export const SOCK = { STREAM: 1, DGRAM: 2, CLOEXEC: O.CLOEXEC } as const;

/** socket(7), and cmsg(3) with what it is about: unix(7). */
export const SOL_SOCKET = 1;
export const SO_TYPE = 3;
export const SCM_RIGHTS = 1;

/** recv(2). */
export const MSG = { PEEK: 0x2, DONTWAIT: 0x40, CMSG_CLOEXEC: 0x40000000 } as const;

/** netdevice(7). */
export const SIOC = { SIFFLAGS: 0x8914 } as const;

/** ioctl_ns(2): the user namespace that owns another namespace. */
export const NS = { GET_USERNS: 0xb701 } as const;

/** TCGETS(2const): `struct termios` of a terminal. */
export const TC = { GETS: 0x5401, SETS: 0x5402, SETSW: 0x5403 } as const;

/** keyctl(2). */
export const KEYCTL = { JOIN_SESSION_KEYRING: 1 } as const;

/** rt_sigprocmask(2). */
export const SIG = { SETMASK: 2 } as const;

/** mmap(2). */
export const PROT = { READ: 1, WRITE: 2, EXEC: 4 } as const;
export const MAP = { SHARED: 1, PRIVATE: 2, ANONYMOUS: 0x20 } as const;

/** madvise(2). */
export const MADV = { DONTNEED: 4 } as const;

/** getrlimit(2), resources: those that docker has a name for. */
export const RLIMIT = {
  CPU: 0,
  FSIZE: 1,
  DATA: 2,
  STACK: 3,
  CORE: 4,
  RSS: 5,
  NPROC: 6,
  NOFILE: 7,
  MEMLOCK: 8,
  LOCKS: 10,
  SIGPENDING: 11,
  MSGQUEUE: 12,
  NICE: 13,
  RTPRIO: 14,
  RTTIME: 15,
} as const;

/** capabilities(7), in the order of their numbers. */
export const capabilities = [
  'CHOWN',
  'DAC_OVERRIDE',
  'DAC_READ_SEARCH',
  'FOWNER',
  'FSETID',
  'KILL',
  'SETGID',
  'SETUID',
  'SETPCAP',
  'LINUX_IMMUTABLE',
  'NET_BIND_SERVICE',
  'NET_BROADCAST',
  'NET_ADMIN',
  'NET_RAW',
  'IPC_LOCK',
  'IPC_OWNER',
  'SYS_MODULE',
  'SYS_RAWIO',
  'SYS_CHROOT',
  'SYS_PTRACE',
  'SYS_PACCT',
  'SYS_ADMIN',
  'SYS_BOOT',
  'SYS_NICE',
  'SYS_RESOURCE',
  'SYS_TIME',
  'SYS_TTY_CONFIG',
  'MKNOD',
  'LEASE',
  'AUDIT_WRITE',
  'AUDIT_CONTROL',
  'SETFCAP',
  'MAC_OVERRIDE',
  'MAC_ADMIN',
  'SYSLOG',
  'WAKE_ALARM',
  'BLOCK_SUSPEND',
  'AUDIT_READ',
  'PERFMON',
  'BPF',
  'CHECKPOINT_RESTORE',
] as const;
export type Capability = (typeof capabilities)[number];
