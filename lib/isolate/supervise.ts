/** The process that stays outside passes signals on. */
import { readFileSync } from 'node:fs';
import { kill } from '../sys/calls.js';
import { statusBits } from '../sys/proc-status.js';

const SIGHUP = 1;
const SIGKILL = 9;

/** What a caller or a terminal sends. Others are results of what this process does itself, or cannot be caught. */
const forwarded: readonly NodeJS.Signals[] = [
  'SIGHUP',
  'SIGINT',
  'SIGQUIT',
  'SIGTERM',
  'SIGUSR1',
  'SIGUSR2',
  'SIGALRM',
  'SIGCONT',
  'SIGWINCH',
];

/** With a terminal, Ctrl-Z and the size of the window are the terminal's affair. */
export const forwardedWithTerminal: readonly NodeJS.Signals[] = forwarded.filter(
  (signal) => signal !== 'SIGCONT' && signal !== 'SIGWINCH',
);

/**
 * Takes the signals to this process from now on, before there is a child, so that none can end it unasked; those that
 * come early are for the child as well.
 */
export class Signals {
  readonly #early: number[] = [];
  #pid: number | undefined;

  constructor(readonly names: readonly NodeJS.Signals[] = forwarded) {
    for (const name of names) process.on(name, this.#forward);
  }

  /** They go to this process. */
  to(pid: number): void {
    this.#pid = pid;
    for (const number of this.#early.splice(0)) kill.try(pid, number);
  }

  end(): void {
    for (const name of this.names) process.off(name, this.#forward);
  }

  readonly #forward = (_name: string, number: number) => {
    // The child may have ended without having been waited for; a signal to it is no error.
    if (this.#pid === undefined) this.#early.push(number);
    else kill.try(this.#pid, number);
  };
}

/**
 * The window is closed, and SIGHUP is on its way to the command. One that has no handler for it would end by it anywhere else; as
 * process 1 it would run on where nobody can see it or reach it.
 */
export function endUnlessHandled(pid: number): void {
  let status: string;
  try {
    status = readFileSync(`/proc/${pid}/status`, 'latin1');
  } catch {
    // It has ended.
    return;
  }
  const handled = ['SigCgt', 'SigIgn', 'SigBlk'].some((field) => statusBits(status, field).includes(SIGHUP - 1));
  if (!handled) kill.try(pid, SIGKILL);
}
