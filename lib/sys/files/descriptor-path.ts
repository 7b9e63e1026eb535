import { lstatSync } from 'node:fs';
import { Failure } from '../../base/failure.js';
import { Status } from '../../base/status.js';

/**
 * A path that stays that of an open file, wherever that goes: proc_pid_fd(5). Throws `Failure` 74 where /proc is not
 * mounted: what is in an open directory would seem not to be there.
 */
export function descriptorPath(fd: number): string {
  const path = `/proc/self/fd/${fd}`;
  // Not what it leads to: a disk that fails would pass for a /proc that is missing.
  if (!lstatSync(path, { throwIfNoEntry: false })) throw procNotMounted();
  return path;
}

export function procNotMounted(): Failure {
  return new Failure(Status.io, '/proc', 'it is not mounted, and nothing else tells where open files are', {
    hint: 'mount -t proc proc /proc',
  });
}
