/** Waits for a child that program.ts has started: Node does not know it. */
import { wait4 } from '../syscalls/calls.js';
import { W } from '../syscalls/constants.js';
import { isErrno, SyscallError } from '../syscalls/syscall.js';

/** Waits for the child to end and returns its exit status, 128 + n for a signal. */
export async function waitForEnd(pid: number): Promise<number> {
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
