/**
 * The default profile: what a program in a container may ask of the kernel. A call that is not here gets EPERM.
 *
 * Which calls docker allows, with which capability and which arguments, is a fact that its users rely on, so this
 * profile agrees with docker's on it. Source: moby/profiles, seccomp v0.2.3 (June 2026), the profile of Docker 29; a
 * change there is worth following. Names that only exist on 32-bit machines are for x86 programs on x64, and for arm
 * programs on arm64.
 */
import { ENOSYS, EPERM } from '../../sys/syscalls/errno.js';
import type { Entry, Profile } from './profile.js';
import { type Comparison, RET } from './rules.js';

/** Calls that only affect what the process has already, or that the kernel checks against file modes and ids. */
const harmless: [reason: string, names: string][] = [
  [
    'reading and writing open files',
    `read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek _llseek readahead fadvise64
    fadvise64_64 sync_file_range copy_file_range sendfile sendfile64 splice tee vmsplice fsync fdatasync sync syncfs
    truncate truncate64 ftruncate ftruncate64 fallocate flock cachestat`,
  ],
  [
    'opening, duplicating and closing files; ioctl is left to the drivers, and /dev has only harmless ones',
    `open openat openat2 creat close close_range dup dup2 dup3 fcntl fcntl64 ioctl pipe pipe2 name_to_handle_at
    memfd_create memfd_secret umask`,
  ],
  [
    'names and attributes of files: permissions decide. mknod is here because the device policy and nodev refuse devices',
    `stat stat64 lstat lstat64 fstat fstat64 fstatat64 newfstatat statx access faccessat faccessat2 chmod fchmod fchmodat
    fchmodat2 chown chown32 fchown fchown32 lchown lchown32 fchownat mkdir mkdirat rmdir mknod mknodat link linkat symlink
    symlinkat readlink readlinkat rename renameat renameat2 unlink unlinkat utime utimes futimesat utimensat
    utimensat_time64 getdents getdents64 chdir fchdir getcwd statfs statfs64 fstatfs fstatfs64 statmount listmount`,
  ],
  [
    'extended attributes: the kernel guards trusted.* and security.*',
    `getxattr lgetxattr fgetxattr getxattrat setxattr lsetxattr fsetxattr setxattrat listxattr llistxattr flistxattr
    listxattrat removexattr lremovexattr fremovexattr removexattrat`,
  ],
  [
    'waiting for files and events',
    `select _newselect pselect6 pselect6_time64 poll ppoll ppoll_time64 epoll_create epoll_create1 epoll_ctl epoll_ctl_old
    epoll_wait epoll_wait_old epoll_pwait epoll_pwait2 eventfd eventfd2 signalfd signalfd4 inotify_init inotify_init1
    inotify_add_watch inotify_rm_watch fanotify_mark io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents
    io_pgetevents_time64`,
  ],
  [
    'memory of the process itself',
    `brk mmap mmap2 munmap mremap mprotect pkey_alloc pkey_free pkey_mprotect madvise mincore msync mlock mlock2 mlockall
    munlock munlockall remap_file_pages mseal map_shadow_stack membarrier process_mrelease`,
  ],
  [
    'processes and threads. clone is below: it makes namespaces',
    `fork vfork execve execveat exit exit_group wait4 waitid waitpid getpid getppid gettid getpgid getpgrp setpgid getsid
    setsid set_tid_address set_robust_list get_robust_list set_thread_area get_thread_area rseq prctl seccomp
    landlock_create_ruleset landlock_add_rule landlock_restrict_self pidfd_open pidfd_send_signal kill tkill tgkill
    restart_syscall uretprobe`,
  ],
  ['locks between threads', 'futex futex_time64 futex_wait futex_waitv futex_wake futex_requeue'],
  [
    'scheduling: priorities are limited by CAP_SYS_NICE and rlimits',
    `sched_yield sched_getaffinity sched_setaffinity sched_getparam sched_setparam sched_getscheduler sched_setscheduler
    sched_getattr sched_setattr sched_get_priority_max sched_get_priority_min sched_rr_get_interval
    sched_rr_get_interval_time64 getpriority setpriority ioprio_get ioprio_set getcpu`,
  ],
  [
    'signals',
    `rt_sigaction rt_sigprocmask rt_sigpending rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_sigqueueinfo
    rt_tgsigqueueinfo rt_sigreturn sigprocmask sigreturn sigaltstack pause`,
  ],
  [
    'ids and capabilities: the kernel lets a process give up what it has, and take what its capabilities allow',
    `getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32 getresuid getresuid32 getresgid getresgid32
    getgroups getgroups32 setuid setuid32 setgid setgid32 setreuid setreuid32 setregid setregid32 setresuid setresuid32
    setresgid setresgid32 setfsuid setfsuid32 setfsgid setfsgid32 setgroups setgroups32 capget capset`,
  ],
  [
    'limits and figures of the machine',
    'getrlimit ugetrlimit setrlimit prlimit64 getrusage times sysinfo uname riscv_hwprobe getrandom',
  ],
  [
    'time and timers. adjtimex and its like may be read by all, and set with CAP_SYS_TIME only',
    `time gettimeofday clock_gettime clock_gettime64 clock_getres clock_getres_time64 clock_nanosleep
    clock_nanosleep_time64 nanosleep adjtimex clock_adjtime clock_adjtime64 alarm getitimer setitimer timer_create
    timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create
    timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64`,
  ],
  [
    "sockets, in the container's own network namespace. socket is below. x86 C libraries make all of these by socketcall, whose arguments a filter cannot see",
    `socketpair socketcall bind listen accept accept4 connect shutdown getsockname getpeername getsockopt setsockopt send
    sendto sendmsg sendmmsg recv recvfrom recvmsg recvmmsg recvmmsg_time64`,
  ],
  [
    "System V and POSIX IPC, in the container's own IPC namespace",
    `ipc msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget mq_open
    mq_unlink mq_notify mq_getsetattr mq_timedsend mq_timedsend_time64 mq_timedreceive mq_timedreceive_time64`,
  ],
];

/** Calls that reach beyond the container, and the capability that permits each. */
const privileged: [capability: string, names: string][] = [
  ['DAC_READ_SEARCH', 'open_by_handle_at'],
  [
    'SYS_ADMIN',
    `bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr lsm_list_modules
    lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname
    sethostname setns syslog umount umount2 unshare`,
  ],
  ['SYS_BOOT', 'reboot'],
  ['SYS_CHROOT', 'chroot'],
  ['SYS_MODULE', 'delete_module init_module finit_module'],
  ['SYS_PACCT', 'acct'],
  ['SYS_PTRACE', 'kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace'],
  ['SYS_RAWIO', 'iopl ioperm'],
  ['SYS_TIME', 'settimeofday stime clock_settime clock_settime64'],
  ['SYS_TTY_CONFIG', 'vhangup'],
  ['SYS_NICE', 'get_mempolicy mbind set_mempolicy set_mempolicy_home_node'],
  ['SYSLOG', 'syslog'],
  ['BPF', 'bpf'],
  ['PERFMON', 'perf_event_open'],
];

/**
 * Address families that socket(2) may make, by number: those with a user in a container. Left out are AF_VSOCK (40),
 * which reaches the hypervisor past the network namespace; AF_ALG (38), the way of CVE-2026-31431; and families that
 * are dead or have no user but attackers: DECnet (12), Econet (19), ATM SVC (20), IrDA (23), Wanpipe (25), ISDN (34),
 * CAIF (37).
 */
const firstFamilies = 12n;
const furtherFamilies = [
  13, 14, 15, 16, 17, 18, 21, 22, 24, 26, 27, 28, 29, 30, 31, 32, 33, 35, 36, 39, 41, 42, 43, 44, 45,
];

/** personality(2): Linux, 32-bit uname, both with UNAME26, and the question which it is. None weakens ASLR. */
const personalities = [0x0, 0x8, 0x20000, 0x20008, 0xffffffff];

/** CLONE_NEW* that clone(2) knows: NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET. */
const namespaceFlags = 0x7e020000n;

function when(op: Comparison['op'], value: bigint): Comparison[] {
  return [{ index: 0, op, value, valueTwo: 0n }];
}

function allow(names: string, more: Omit<Entry, 'names' | 'action'> = {}): Entry {
  return { names: names.split(/\s+/), action: RET.ALLOW, ...more };
}

export const defaultProfile: Profile = {
  defaultAction: RET.ERRNO | EPERM,
  architectures: ['SCMP_ARCH_X86', 'SCMP_ARCH_ARM'],
  entries: [
    ...harmless.map(([, names]) => allow(names)),
    ...privileged.map(([capability, names]) => allow(names, { includes: { caps: [capability] } })),

    // Tracing one's own children is what debuggers do. Before Linux 4.8 a tracer could get past the filter.
    allow('ptrace process_vm_readv process_vm_writev', { includes: { minKernel: '4.8' } }),

    // A new namespace gives a process capabilities in it, and with them code of the kernel that otherwise only root
    // reaches.
    allow('clone', { args: when('MASKED_EQ', namespaceFlags), excludes: { caps: ['SYS_ADMIN'] } }),
    // The flags of clone3 are in memory, where a filter cannot look. On ENOSYS the C library uses clone.
    { names: ['clone3'], action: RET.ERRNO | ENOSYS, excludes: { caps: ['SYS_ADMIN'] } },

    allow('socket', { args: when('LT', firstFamilies) }),
    ...furtherFamilies.map((family) => allow('socket', { args: when('EQ', BigInt(family)) })),
    ...personalities.map((persona) => allow('personality', { args: when('EQ', BigInt(persona)) })),

    // Registers and segments of x86.
    allow('arch_prctl modify_ldt', { includes: { arches: ['amd64'] } }),
    allow('arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls', {
      includes: { arches: ['arm64'] },
    }),
  ],
  flags: 0,
};
