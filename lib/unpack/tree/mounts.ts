/** What is mounted in a directory, and so is no part of it. */
import { mountPaths } from '../../sys/procfs/mountinfo.js';
import type { ByteString } from '../../tar/bytes.js';
import { openPath } from './open-path.js';

/** The mount points at and below an open directory, relative to it; one at the directory itself is the empty string. */
export function mountPoints(fd: number): ByteString[] {
  const home = openPath(fd);
  return mountPaths()
    .filter((path) => path === home || path.startsWith(`${home}/`))
    .map((path) => path.slice(home.length + 1));
}
