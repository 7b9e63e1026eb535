/**
 * The caller's own files on descriptors 0, 1 and 2, which the command gets as they are, except for those in
 * output-pipes.ts.
 *
 * A user other than root cannot simply open `/dev/stdout`. It leads to /proc/self/fd/1, and opening that checks
 * permissions again. A pipe can only be opened by its maker (mode 0600), so programs that use /dev/stdout as a log file
 * would fail.
 *
 * runc gives all three descriptors to the container's user by chown(2): docker has made them for this container. Here
 * they are the caller's own, who may go on using them, and files and terminals must not change. So only anonymous pipes
 * are changed, and only as far as needed: others may open the input for reading and the outputs for writing. That gives
 * away nothing, since /proc/PID/fd is closed to everybody who does not have the pipe already.
 */
import { fstatSync, readlinkSync, type Stats } from 'node:fs';
import { failingAs, ignoringSystemErrors } from '../../base/failure.js';
import { Result } from '../../sys/native-code/step.js';
import { dup3, fchmod, fcntl, openat2, openHow } from '../../sys/syscalls/calls.js';
import { F, O, RESOLVE } from '../../sys/syscalls/constants.js';
import { type PlanStep, step } from '../child/step.js';
import { usage } from '../settings/failures.js';
import { usualDeviceAt } from '../settings/usual-devices.js';

/** Of each of the descriptors 0, 1 and 2, in this order. */
export type Stdio = readonly [Stats, Stats, Stats];

/** Throws `Failure` for one whose disk, or server, fails. */
export function statStdio(): Stdio {
  const stat = (fd: number) => failingAs(nameOf(fd), () => fstatSync(fd));
  return [stat(0), stat(1), stat(2)];
}

/**
 * A directory of the host on descriptor 0, 1 or 2 would be a way out of the container: /proc/self/fd/0 leads into it,
 * and `..` from there to the rest of the host. Throws `Failure` 64.
 */
export function refuseDirectories(stdio: Stdio): void {
  const fd = stdio.findIndex((stats) => stats.isDirectory());
  if (fd < 0) return;
  throw usage(
    nameOf(fd),
    'it is a directory of the host, and would be open to the container',
    'mount it: -v SOURCE:TARGET',
  );
}

/** An anonymous pipe on descriptor 0, 1 or 2. */
export interface StdioPipe {
  fd: number;
  /** Its permissions now. */
  mode: number;
}

/** Those of the descriptors 0, 1 and 2 that are anonymous pipes. */
export function stdioPipes(stdio: Stdio): StdioPipe[] {
  return [0, 1, 2].filter(isPipe).map((fd) => ({ fd, mode: stdio[fd]!.mode & 0o777 }));
}

/** proc_pid_fd(5): a pipe from pipe(2) is shown as `pipe:[INODE]`, one with a name by its path. */
export function isPipe(fd: number): boolean {
  // The descriptor may be closed, or there is no /proc.
  return ignoringSystemErrors(() => readlinkSync(`/proc/self/fd/${fd}`))?.startsWith('pipe:[') ?? false;
}

export function nameOf(fd: number): string {
  return ['stdin', 'stdout', 'stderr'][fd]!;
}

export function stdioSteps(pipes: readonly StdioPipe[]): PlanStep[] {
  return pipes.map(({ fd, mode }) =>
    step(
      fchmod,
      [fd, mode | (fd === 0 ? 0o044 : 0o022)],
      `The user may open /dev/${nameOf(fd)} by name: a pipe is its maker's alone otherwise.`,
      { onError: 'continue' },
    ),
  );
}

/**
 * To be called before a stream of node:net or node:tty is made. When one is destroyed it looks at `process.stderr`,
 * which thereby comes into being and makes descriptor 2 non-blocking, for all processes that have that pipe or socket.
 * So it is made here, and that is undone.
 */
export function keepStderrBlocking(): void {
  const flags = fcntl(2, F.GETFL, 0);
  void process.stderr;
  // EBADF: one of O_PATH has no flags to change.
  fcntl.try(2, F.SETFL, flags);
}

/** Those of the descriptors 0, 1 and 2 that are the host's null device. */
export function nullDevices(stdio: Stdio): number[] {
  return [0, 1, 2].filter((fd) => usualDeviceAt(stdio[fd]!) === '/dev/null');
}

/**
 * Replaces the host's null device by the container's, whose /dev is `dev`: root could change the mode of the host's.
 */
export function nullSteps(dev: Result, fds: readonly number[]): PlanStep[] {
  if (fds.length === 0) return [];
  const own = new Result('/dev/null');
  const how = openHow(O.RDWR | O.CLOEXEC, RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS);
  return [
    step(openat2, [dev, 'null', how, 24], "A null device of the host would let root change the host's: fchmod(2).", {
      saves: own,
    }),
    ...fds.map((fd) => step(dup3, [own, fd, 0], `Descriptor ${fd} is the null device of the container.`)),
  ];
}
