/**
 * A process that restores the terminal when the supervisor is killed by SIGKILL and cannot do that itself. It runs no
 * JavaScript: it waits on a pipe whose other end only the supervisor has, makes one ioctl, and ends.
 */
import { closeSync } from 'node:fs';
import { ignoring } from '../../base/failure.js';
import { Program } from '../../sys/native-code/program.js';
import { Block, compare, stepOf } from '../../sys/native-code/step.js';
import { close_range, dup3, ioctlMemory, kill, pipe2, read, wait4 } from '../../sys/syscalls/calls.js';
import { O, SIGKILL, TC } from '../../sys/syscalls/constants.js';
import { EBUSY } from '../../sys/syscalls/errno.js';

/**
 * Guards the terminal on descriptor 0. When this process dies, the terminal gets the settings `cooked`, unless they are
 * no longer `raw`: then a shell was faster, and its settings stay. Both are `struct termios`. Returns a function that
 * ends the guard.
 */
export function guardTerminal(cooked: Buffer, raw: Buffer): () => void {
  const ends = Buffer.alloc(8);
  pipe2(ends, O.CLOEXEC);
  const reader = ends.readInt32LE(0);
  const writer = ends.readInt32LE(4);
  const now = new Block(Buffer.alloc(64));
  const guard = new Program([
    // Everything else is closed, above all the writing end of the pipe: while it is open, no end of file comes.
    stepOf(dup3, [reader, 1, 0]),
    stepOf(close_range, [2, 0xffffffff, 0]),
    stepOf(read, [1, new Block(Buffer.alloc(8)), 1]),
    stepOf(ioctlMemory, [0, TC.GETS, now]),
    // The flags for input and output: no shell or editor sets the same as our raw mode.
    stepOf(compare, [now, 0xffffffffffffffffn, raw.readBigUInt64LE(0), EBUSY]),
    stepOf(ioctlMemory, [0, TC.SETS, new Block(cooked)]),
  ]);
  // All signals are blocked there, so that SIGTTOU does not stop it once the shell has the terminal back. Where no process
  // more may be started there is none, which is no reason to end a container that runs: only SIGKILL would need it.
  const pid = ignoring(['EAGAIN', 'ENOMEM'], () => guard.start(0));
  closeSync(reader);
  return () => {
    if (pid !== undefined) {
      kill.try(pid, SIGKILL);
      wait4.try(pid, null, 0, null);
    }
    closeSync(writer);
  };
}
