/**
 * A mark that identifies a process in the names of its files: `PIDNS.PID.START`. The pid alone is not enough: a later
 * process may get the same one, and a process in another container, on the same disk, may have it now. Sources:
 * pid_namespaces(7); proc_pid_stat(5).
 */
import { readlinkSync } from 'node:fs';
import { hasErrno, ignoringSystemErrors } from '../../base/failure.js';
import { statFields } from './status.js';

/**
 * The state of a process. `unseen`: it may be alive, and is in another PID namespace, or another user's where /proc is
 * mounted with hidepid.
 */
export type Life = 'running' | 'stopped' | 'unseen' | 'gone';

/** The form of a mark, as a regular expression. */
export const markForm = '[0-9]+\\.[0-9]+\\.[0-9]+';

const unknown = '0';

/** The mark of this process. */
export function ownMark(): string {
  return markOf(process.pid);
}

/** The mark of a process that this one can see. */
export function markOf(pid: number): string {
  const found = processOf(pid);
  return `${pidNamespace()}.${pid}.${typeof found === 'object' ? found.start : 0}`;
}

/** The state of the process with a mark. */
export function lifeOf(mark: string): Life {
  const [namespace = unknown, pid, start] = mark.split('.');
  if (namespace === unknown || namespace !== pidNamespace()) return 'unseen';
  const found = processOf(Number(pid));
  if (typeof found === 'string') return found;
  if (found.start !== start) return 'gone';
  // T is stopped by a signal, t by a debugger.
  return found.state === 'T' || found.state === 't' ? 'stopped' : 'running';
}

/** The link reads `pid:[4026531836]`. Without /proc it cannot be known who is alive. */
function pidNamespace(): string {
  const link = ignoringSystemErrors(() => readlinkSync('/proc/self/ns/pid'));
  return /[0-9]+/.exec(link ?? '')?.[0] ?? unknown;
}

/**
 * The state and the start time of a process, the latter in clock ticks since boot. `gone` when there is none, or only a
 * zombie; `unseen` when there is one of this number, and nothing can be read of it. Where /proc is that of another PID
 * namespace, this process has another number there.
 */
function processOf(pid: number): { state: string; start: string } | 'gone' | 'unseen' {
  const fields = ignoringSystemErrors(() => statFields(pid === process.pid ? 'self' : pid));
  if (!fields) return isThere(pid) ? 'unseen' : 'gone';
  const [state = 'X', start = ''] = [fields[0], fields[22 - 3]];
  return state === 'Z' || state === 'X' ? 'gone' : { state, start };
}

/** kill(2) with the signal 0: it tells of processes that /proc hides, and takes no descriptor. */
function isThere(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return hasErrno(error, 'EPERM', 'EACCES');
  }
}
