/** What is written to the files of a cgroup for its limits. */
import { cpuPeriod, type Limits } from '../settings/limits.js';
import { writableCgroupsFlag } from '../settings/security-opt.js';

/** A write to a file of a cgroup. */
export interface CgroupWrite {
  /** The controller that the file belongs to, by its name in v2. */
  controller: string;
  /** The flag that wants it. */
  flag: string;
  file: string;
  value: string;
  /** Skipped when the file is missing: a kernel may have been built without accounting of swap. */
  optional?: boolean;
}

/**
 * The limits as writes, in the order in which they have to be made.
 * Sources: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/{memory,cpusets,pids}.rst, scheduler/sched-bwc.rst.
 */
export function cgroupWrites(limits: Limits, versionOf: (controller: string) => 1 | 2): CgroupWrite[] {
  const writes: CgroupWrite[] = [];
  const { memory, cpuQuota, pids, cpus } = limits;
  if (memory !== undefined) {
    const base = { controller: 'memory', flag: '--memory' };
    // As much swap as memory, docker's default. v1 counts both together.
    const [limit, swap, swapValue] =
      versionOf('memory') === 2
        ? ['memory.max', 'memory.swap.max', memory]
        : ['memory.limit_in_bytes', 'memory.memsw.limit_in_bytes', 2 * memory];
    writes.push({ ...base, file: limit, value: String(memory) });
    writes.push({ ...base, file: swap, value: String(swapValue), optional: true });
  }
  if (cpuQuota !== undefined) {
    const base = { controller: 'cpu', flag: '--cpus' };
    if (versionOf('cpu') === 2) writes.push({ ...base, file: 'cpu.max', value: `${cpuQuota} ${cpuPeriod}` });
    else {
      writes.push({ ...base, file: 'cpu.cfs_period_us', value: String(cpuPeriod) });
      writes.push({ ...base, file: 'cpu.cfs_quota_us', value: String(cpuQuota) });
    }
  }
  if (pids !== undefined) {
    const flag = pids === 'max' ? writableCgroupsFlag : '--pids-limit';
    writes.push({ controller: 'pids', flag, file: 'pids.max', value: String(pids) });
  }
  if (cpus !== undefined) {
    writes.push({ controller: 'cpuset', flag: '--cpuset-cpus', file: 'cpuset.cpus', value: cpus });
  }
  return writes;
}
