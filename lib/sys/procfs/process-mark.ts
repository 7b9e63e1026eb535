/**
 * A mark that identifies a process in the names of its files: `PIDNS.PID.START`. The pid alone is not enough: a later
 * process may get the same one, and a process in another container, on the same disk, may have it now. Sources:
 * pid_namespaces(7); proc_pid_stat(5).
 */
import { readlinkSync } from 'node:fs';
import { ignoringSystemErrors } from '../../base/failure.js';
import { statFields } from './status.js';

/** The state of a process. `unseen`: it is in another PID namespace, and may be alive. */
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
  return `${pidNamespace()}.${pid}.${processOf(pid)?.start ?? 0}`;
}

/** The state of the process with a mark. */
export function lifeOf(mark: string): Life {
  const [namespace = unknown, pid, start] = mark.split('.');
  if (namespace === unknown || namespace !== pidNamespace()) return 'unseen';
  const found = processOf(Number(pid));
  if (!found || found.start !== start) return 'gone';
  // T is stopped by a signal, t by a debugger.
  return found.state === 'T' || found.state === 't' ? 'stopped' : 'running';
}

/** The link reads `pid:[4026531836]`. Without /proc it cannot be known who is alive. */
function pidNamespace(): string {
  const link = ignoringSystemErrors(() => readlinkSync('/proc/self/ns/pid'));
  return /[0-9]+/.exec(link ?? '')?.[0] ?? unknown;
}

/**
 * The state and the start time of a process, the latter in clock ticks since boot. Undefined when there is none, or
 * only a zombie. Where /proc is that of another PID namespace, this process has another number there.
 */
function processOf(pid: number): { state: string; start: string } | undefined {
  const fields = ignoringSystemErrors(() => statFields(pid === process.pid ? 'self' : pid));
  const [state = 'X', start = ''] = [fields?.[0], fields?.[22 - 3]];
  return state === 'Z' || state === 'X' ? undefined : { state, start };
}
