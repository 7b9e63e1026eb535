/** What is mounted in a directory, and so is no part of it: proc_pid_mountinfo(5). */
import { readFileSync, readlinkSync } from 'node:fs';
import { type ByteString, fromBytes } from './bytes.js';

/** The mount points at and below an open directory, relative to it; one at the directory itself is the empty string. */
export function mountPoints(fd: number): ByteString[] {
  const home = fromBytes(readlinkSync(`/proc/self/fd/${fd}`, 'buffer'));
  const points = readFileSync('/proc/self/mountinfo', 'latin1')
    .split('\n')
    .map((line) => unescaped(line.split(' ')[4] ?? ''));
  return points
    .filter((path) => path === home || path.startsWith(`${home}/`))
    .map((path) => path.slice(home.length + 1));
}

/** Blanks, line ends and backslashes are octal there. */
function unescaped(path: string): ByteString {
  return path.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}
