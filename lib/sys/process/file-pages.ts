/** The memory of this process that holds files: proc_pid_smaps(5), madvise(2). */
import { kernelText } from '../procfs/status.js';
import { madvise } from '../syscalls/calls.js';
import { MADV } from '../syscalls/constants.js';

/**
 * Takes the pages of program files out of this process: Node's and those of libraries, which are 35 of the 45 MB that a
 * start of Node leaves resident. They stay in the kernel's cache, and come back one by one when they are touched: what
 * a process that waits for another does not use, it does not hold. This takes some milliseconds.
 *
 * What has been written to, as by the dynamic linker, would come back as it is in the file. So only mappings are taken
 * that nobody may write to, and of which no page differs from the file.
 */
export function releaseFilePages(): void {
  const smaps = kernelText('/proc/self/smaps') ?? '';
  for (const mapping of smaps.split(/\n(?=[0-9a-f]+-)/)) {
    const [, start, end, inode] = /^([0-9a-f]+)-([0-9a-f]+) r-[x-]p \S+ \S+ (\d+)/.exec(mapping) ?? [];
    const isUnchanged = /^Anonymous: +0 kB$/m.test(mapping) && /^Swap: +0 kB$/m.test(mapping);
    if (start === undefined || end === undefined || inode === '0' || !isUnchanged) continue;
    const address = Number.parseInt(start, 16);
    // Where it is refused, as for pages that are locked, they stay: nothing else depends on it.
    madvise.try(address, Number.parseInt(end, 16) - address, MADV.DONTNEED);
  }
}
