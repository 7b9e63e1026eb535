/** Signals on their way from the supervisor, which stays outside of the container, to its first process. */
import { kernelText, statusBits } from '../../sys/procfs/status.js';
import { kill } from '../../sys/syscalls/calls.js';
import { SIGHUP, SIGKILL } from '../../sys/syscalls/constants.js';

/**
 * Signals that a caller or a terminal sends. The others come from what this process does itself, or cannot be caught.
 */
const forwarded: readonly NodeJS.Signals[] = [
  'SIGHUP',
  'SIGINT',
  'SIGQUIT',
  'SIGTERM',
  'SIGUSR1',
  'SIGUSR2',
  'SIGALRM',
  'SIGPWR',
];

/** With a terminal of the container's own, terminal.ts deals with Ctrl-Z and the size of the window. */
const ofTerminal: readonly NodeJS.Signals[] = ['SIGCONT', 'SIGWINCH'];

/**
 * Catches the signals from now on, before there is a child, so that none ends this process. Those that come early are
 * passed on once the child is there.
 */
export class Signals {
  private readonly early: number[] = [];
  private readonly names: readonly NodeJS.Signals[];
  private pid: number | undefined;

  constructor(hasTerminal: boolean) {
    this.names = hasTerminal ? forwarded : [...forwarded, ...ofTerminal];
    for (const name of this.names) process.on(name, this.forward);
  }

  /** Passes all signals on to the process `pid`, those that came before included. */
  to(pid: number): void {
    this.pid = pid;
    for (const number of this.early.splice(0)) kill.try(pid, number);
  }

  end(): void {
    for (const name of this.names) process.off(name, this.forward);
  }

  private readonly forward = (_name: string, number: number) => {
    // The child may have ended already: then this fails, and that is not an error.
    if (this.pid === undefined) this.early.push(number);
    else kill.try(this.pid, number);
  };
}

/**
 * The window was closed, and the command gets SIGHUP. Without a handler that would end it anywhere else, but not as
 * process 1: it would go on, and nobody could see or reach it. So it is killed, unless it handles, ignores or blocks
 * the signal, as the process 1 of `--init` blocks all.
 */
export function endUnlessHandled(pid: number): void {
  const status = kernelText(`/proc/${pid}/status`);
  // It has ended.
  if (status === undefined) return;
  const handled = ['SigCgt', 'SigIgn', 'SigBlk'].some((field) => statusBits(status, field).includes(SIGHUP - 1));
  if (!handled) kill.try(pid, SIGKILL);
}
