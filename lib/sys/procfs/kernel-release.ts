import { kernelText } from './status.js';

/**
 * The kernel's release, as uname(2) tells it: `6.1.0-18-amd64`. Source: proc_sys_kernel(5). Node's own function is in a
 * module that takes longer to load than this file to read; it is asked where /proc has no such file.
 */
export function kernelRelease(): string {
  return kernelText('/proc/sys/kernel/osrelease')?.trim() ?? process.getBuiltinModule('node:os').release();
}
