/** What is mounted in a directory, and so is no part of it: proc_pid_mountinfo(5). */
import { readFileSync } from 'node:fs';
import { decodeMountPath } from '../sys/mountinfo.js';
import type { ByteString } from './bytes.js';
import { openPath } from './open-path.js';

/** The mount points at and below an open directory, relative to it; one at the directory itself is the empty string. */
export function mountPoints(fd: number): ByteString[] {
  const home = openPath(fd);
  const points = readFileSync('/proc/self/mountinfo', 'latin1')
    .split('\n')
    .map((line) => decodeMountPath(line.split(' ')[4] ?? ''));
  return points
    .filter((path) => path === home || path.startsWith(`${home}/`))
    .map((path) => path.slice(home.length + 1));
}
