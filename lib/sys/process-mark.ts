/**
 * What tells a process from all others, for the names of files that it writes: `PIDNS.PID.START`. A later process may have
 * the same number, and one in another container that shares the disk has it now.
 * Sources: pid_namespaces(7); proc_pid_stat(5).
 */
import { readlinkSync } from 'node:fs';
import { errnoName } from '../pipe/failure.js';
import { statFields } from './proc-status.js';

/** What a process does. `unseen` is one of another PID namespace, which may be alive. */
export type Life = 'running' | 'stopped' | 'unseen' | 'gone';

/** Matches a mark. */
export const markForm = '[0-9]+\\.[0-9]+\\.[0-9]+';

const unknown = '0';

/** The mark of this process. */
export function ownMark(): string {
  return `${pidNamespace()}.${process.pid}.${processOf(process.pid)?.start ?? 0}`;
}

/** What the process does that has a mark. */
export function lifeOf(mark: string): Life {
  const [namespace = unknown, pid, start] = mark.split('.');
  if (namespace === unknown || namespace !== pidNamespace()) return 'unseen';
  if (Number(pid) === process.pid) return 'running';
  const found = processOf(Number(pid));
  if (!found || found.start !== start) return 'gone';
  // T is stopped by a signal, t by a debugger.
  return found.state === 'T' || found.state === 't' ? 'stopped' : 'running';
}

/** The link reads `pid:[4026531836]`. */
function pidNamespace(): string {
  try {
    return /[0-9]+/.exec(readlinkSync('/proc/self/ns/pid'))?.[0] ?? unknown;
  } catch (error) {
    // Without /proc nobody can tell who is alive.
    if (errnoName(error) === undefined) throw error;
    return unknown;
  }
}

/**
 * A process: its state, and when it started, in clock ticks since boot. Undefined when there is none, or a dead one that
 * nobody has waited for yet.
 */
function processOf(pid: number): { state: string; start: string } | undefined {
  try {
    const fields = statFields(pid);
    const [state = '', start = ''] = [fields[0], fields[22 - 3]];
    return state === 'Z' || state === 'X' ? undefined : { state, start };
  } catch (error) {
    if (errnoName(error) === undefined) throw error;
    return undefined;
  }
}
