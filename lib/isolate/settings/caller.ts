/** Who starts a container: what the settings take from there. */
import { ignoring } from '../../base/failure.js';
import { isTerminal } from '../../sys/files/terminal.js';
import { limitsOn, structRlimit } from '../../sys/process/rlimit.js';
import { refusedCall } from '../../sys/refusals/refusals.js';
import { RLIMIT } from '../../sys/syscalls/constants.js';
import type { ResourceLimit } from './limits.js';

export interface Caller {
  /** The environment, for `-e NAME`. */
  env: Record<string, string | undefined>;
  /** RLIMIT_NOFILE of the caller. */
  openFiles: ResourceLimit;
  /** The number of processors of this machine. */
  processors: () => number;
  /** Whether stdin and stdout are a terminal. */
  terminal: boolean;
}

export function callerOf(): Caller {
  return {
    env: process.env,
    openFiles: openFileLimit(),
    processors: () => process.getBuiltinModule('node:os').availableParallelism(),
    terminal: isTerminal(0) && isTerminal(1),
  };
}

/**
 * RLIMIT_NOFILE for the command. Node raises its own soft limit to the hard one at its start. The shell in front of
 * Node passes on what it was before (cmd/build/launcher-head).
 */
function openFileLimit(): ResourceLimit {
  const seen = process.env.MD_OPEN_FILES;
  delete process.env.MD_OPEN_FILES;
  try {
    const soft = softBefore(seen);
    const { hard } = limitsOn(RLIMIT.NOFILE);
    return { resource: RLIMIT.NOFILE, value: structRlimit(soft < hard ? soft : hard, hard) };
  } catch (error) {
    throw refusedCall(error);
  }
}

/**
 * The soft limit before Node raised it. `seen` is a line of /proc/self/limits (proc(5)), which a shell can read without
 * a fork. Without it this takes the limit of the parent process, which may be another: systemd has a higher one than
 * its services. Where the parent may not be asked, it is 1024, as systemd and docker set it.
 */
function softBefore(seen: string | undefined): bigint {
  const [, soft] = /^Max open files +(\d+)/.exec(seen ?? '') ?? [];
  if (soft !== undefined) return BigInt(soft);
  return ignoring(['EPERM', 'EACCES', 'ESRCH'], () => limitsOn(RLIMIT.NOFILE, process.ppid).soft) ?? 1024n;
}
