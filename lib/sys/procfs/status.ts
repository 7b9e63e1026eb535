/**
 * What the kernel says of processes in /proc: proc_pid_status(5), proc_pid_stat(5), proc_pid_cmdline(5). All that is
 * looked for in texts is ASCII. Node reads a file as UTF-8 in one go, and takes several times as long for latin1.
 */
import { readFileSync } from 'node:fs';
import { failingAs, ignoringSystemErrors } from '../../base/failure.js';

export function ownStatus(): string {
  return readFileSync('/proc/self/status', 'utf8');
}

/** The same, as the first that is read there: throws `Failure` where no /proc is mounted. */
export function firstStatus(): string {
  return failingAs('/proc/self/status', ownStatus, {
    hint: 'the kernel answers most questions there: mount -t proc proc /proc',
  });
}

/**
 * The numbers of the bits that are set in a field of the status, which is a hexadecimal mask. The name of the process
 * comes first, and is its own choice: U+2028 in it would begin a line for a regular expression, as only \n does here.
 */
export function statusBits(status: string, field: string): number[] {
  const mask = new RegExp(`\\n${field}:\\s*([0-9a-f]+)\\n`).exec(status)?.[1]?.padStart(16, '0') ?? '';
  const halves = [Number(`0x${mask.slice(8)}`), Number(`0x${mask.slice(0, 8)}`)];
  return Array.from({ length: 64 }, (_, bit) => bit).filter((bit) => (halves[bit >> 5]! >>> (bit & 31)) & 1);
}

/**
 * The fields of /proc/PID/stat, beginning with the third, the state. (The second is a name in parentheses, which may
 * contain spaces and parentheses.) Throws ENOENT or ESRCH when there is no such process.
 */
export function statFields(pid: number | string): string[] {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}

/**
 * The words of the command line, or the variables (`NAME=value`), with which this process was started: as bytes, since
 * neither need be UTF-8.
 */
export function ownStrings(file: 'cmdline' | 'environ'): Buffer[] {
  const strings: Buffer[] = [];
  const bytes = readFileSync(`/proc/self/${file}`);
  // Each ends with a NUL, the last one too.
  for (let at = 0, end = bytes.indexOf(0); end >= 0; at = end + 1, end = bytes.indexOf(0, at)) {
    strings.push(bytes.subarray(at, end));
  }
  return strings;
}

/** The text of a file of the kernel; undefined where it has none of this name, or does not let this process read it. */
export function kernelText(path: string): string | undefined {
  return ignoringSystemErrors(() => readFileSync(path, 'utf8'));
}
