/** What tests ask of processes, which may have ended by then, and what they tell them. */
import { readFileSync } from 'node:fs';
import { errnoName } from '../../lib/base/failure.js';

/** A file of /proc; empty for a process that has ended. */
export function procText(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'latin1');
  } catch {
    return '';
  }
}

/** The children of a process, by their ids outside of any container. */
export function childrenOf(pid: number): number[] {
  return procText(pid, `task/${pid}/children`).trim().split(' ').filter(Boolean).map(Number);
}

/** Neither gone nor a zombie, for which init may take its time. */
export function isRunning(pid: number): boolean {
  const status = procText(pid, 'status');
  return status !== '' && !/^State:\tZ/m.test(status);
}

/** Sends a signal to a process; to its group, with a minus in front of the id. */
export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if (errnoName(error) !== 'ESRCH') throw error;
  }
}
