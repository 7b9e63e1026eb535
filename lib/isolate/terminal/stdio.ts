/**
 * The caller's own files on descriptors 0, 1 and 2, which the command gets as they are.
 *
 * `/dev/stdout` for another user than root. It leads to /proc/self/fd/1, and opening that asks for permission anew: a pipe is
 * its maker's alone (mode 0600), and programs that open /dev/stdout as a log file would fail.
 *
 * runc gives the container's user all three descriptors with chown(2). What docker hands it are pipes of its own making; here they
 * are the caller's, who may go on to use them, and files and terminals must not change at all. So only pipes without a
 * name change, and only as far as needed: others may open the input for reading and the outputs for writing. Whoever opens one
 * has it already, since /proc/PID/fd is closed to all other users.
 */
import { fstatSync, readlinkSync } from 'node:fs';
import { Failure } from '../../pipe/failure.js';
import { Status } from '../../pipe/status.js';
import { dup3, fchmod, openat2, openHow } from '../../sys/calls.js';
import { O, RESOLVE } from '../../sys/constants.js';
import { Result } from '../../sys/program.js';
import { deviceNumber } from '../filesystem/devices.js';
import { type PlanStep, step } from '../step.js';

/**
 * A directory on descriptor 0, 1 or 2 would be a way out of the container: /proc/self/fd/0/.. and all that is below. Throws
 * `Failure` 64.
 */
export function refuseDirectories(): void {
  for (const fd of [0, 1, 2]) {
    if (fstatSync(fd).isDirectory()) {
      throw new Failure(Status.usage, nameOf(fd), 'it is a directory of the host, and would be open to the container', {
        hint: 'mount it: -v SOURCE:TARGET',
      });
    }
  }
}

/** A pipe without a name on descriptor 0, 1 or 2. */
export interface StdioPipe {
  fd: number;
  /** Permissions, as they are. */
  mode: number;
}

export function stdioPipes(): StdioPipe[] {
  return [0, 1, 2].filter(isPipe).map((fd) => ({ fd, mode: fstatSync(fd).mode & 0o777 }));
}

/** proc_pid_fd(5): a pipe from pipe(2) is shown as `pipe:[INODE]`, one with a name by its path. */
function isPipe(fd: number): boolean {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`).startsWith('pipe:[');
  } catch {
    // It is closed, or no /proc is here to tell.
    return false;
  }
}

function nameOf(fd: number): string {
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

/** Those of the descriptors 0, 1 and 2 that are the host's null device. */
export function nullDevices(): number[] {
  return [0, 1, 2].filter((fd) => {
    const stats = fstatSync(fd);
    return stats.isCharacterDevice() && stats.rdev === deviceNumber(1, 3);
  });
}

/** Puts the null device of the container, whose /dev is open as `dev`, in the place of the host's: root could change its mode. */
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
