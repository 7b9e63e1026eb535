/** /proc/self/mountinfo: proc_pid_mountinfo(5). */

/** A path as mountinfo has it, decoded: blanks, line ends and backslashes are written as three octal digits there. */
export function decodeMountPath(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
