/** /proc/self/mountinfo: proc_pid_mountinfo(5). */
import { readFileSync } from 'node:fs';

/** Where something is mounted for this process. A path has one character a byte (latin1). */
export function mountPaths(): string[] {
  const lines = readFileSync('/proc/self/mountinfo', 'latin1').split('\n');
  return lines.map((line) => decodeMountPath(line.split(' ')[4] ?? ''));
}

/** A path as mountinfo has it, decoded: blanks, line ends and backslashes are written as three octal digits there. */
export function decodeMountPath(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
