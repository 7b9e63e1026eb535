/** The process that stays outside: it waits, passes signals on, and ends as the command ended. */
import { kill, wait4 } from '../sys/calls.js';
import { W } from '../sys/constants.js';
import { isErrno, SyscallError } from '../sys/syscall.js';

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

/** Waits for the child to end and returns its exit status, 128 + n for a signal. */
export async function supervise(pid: number): Promise<number> {
  // Listening to signals does not keep Node's event loop running; a timer does.
  const alive = setInterval(() => undefined, 2 ** 31 - 1);
  return new Promise((resolve, reject) => {
    const check = () => {
      const status = reap(pid);
      if (status === undefined) return;
      clearInterval(alive);
      process.off('SIGCHLD', check);
      if (status instanceof Error) reject(status);
      else resolve(status);
    };
    process.on('SIGCHLD', check);
    check();
  });
}

function reap(pid: number): number | SyscallError | undefined {
  const status = Buffer.alloc(4);
  const result = wait4.try(pid, status, W.NOHANG, null);
  if (result === 0) return undefined;
  if (isErrno(result)) return new SyscallError('wait4', -result, `wait4(${pid})`);
  return exitStatus(status.readInt32LE());
}

/** wait(2): the low seven bits are the signal, 0 for an exit. */
export function exitStatus(wait: number): number {
  const signal = wait & 0x7f;
  return signal === 0 ? (wait >> 8) & 0xff : 128 + signal;
}
