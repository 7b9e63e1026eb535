/** Which Linux this is. */

import { kernelText } from './status.js';

/**
 * The kernel's release, as uname(2) tells it: `6.1.0-18-amd64`. Source: proc_sys_kernel(5). Node's own function is in a
 * module that takes longer to load than this file to read; it is asked where /proc has no such file.
 */
export function kernelRelease(): string {
  return kernelText('/proc/sys/kernel/osrelease')?.trim() ?? process.getBuiltinModule('node:os').release();
}

/** The first two numbers of a release such as `6.12.1-amd64`; undefined for what is none. */
export function kernelVersion(text: string): [major: number, minor: number] | undefined {
  const [, major, minor] = /^(\d+)\.(\d+)/.exec(text) ?? [];
  return major === undefined ? undefined : [Number(major), Number(minor)];
}

/** Whether a release is `minimum` (`5.12`) or a later one, by the first two numbers of both. */
export function isAtLeast(kernel: string, minimum: string): boolean {
  const [major = 0, minor = 0] = kernelVersion(kernel) ?? [];
  const [wantMajor = 0, wantMinor = 0] = kernelVersion(minimum) ?? [];
  return major > wantMajor || (major === wantMajor && minor >= wantMinor);
}
