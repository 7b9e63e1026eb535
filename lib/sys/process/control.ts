/**
 * The line between supervisor and child: a pair of sockets. The child waits at gates until the supervisor lets it pass.
 * An end of file tells each side that the other has gone; to the supervisor it may also mean that execve(2) closed the
 * child's end.
 */
import { closeSync, readSync, writeSync } from 'node:fs';
import { ignoring } from '../../base/failure.js';
import { refusedCall } from '../refusals/refusals.js';
import { socketpair } from '../syscalls/calls.js';
import { AF, SOCK } from '../syscalls/constants.js';

export interface ControlFds {
  supervisor: number;
  child: number;
}

/** Throws `Failure` where a filter or a policy refuses it. */
export function controlPair(): ControlFds {
  const fds = Buffer.alloc(8);
  try {
    socketpair(AF.UNIX, SOCK.STREAM | SOCK.CLOEXEC, 0, fds);
  } catch (error) {
    throw refusedCall(error);
  }
  return { supervisor: fds.readInt32LE(0), child: fds.readInt32LE(4) };
}

/** The supervisor's end. */
export class Control {
  constructor(readonly fd: number) {}

  /** Lets the child pass its next gate. When it has ended already, its own results say why. */
  open(): void {
    ignoring(['EPIPE'], () => writeSync(this.fd, Buffer.alloc(1)));
  }

  /** Waits until the child announces itself at a gate (true), or the line is closed (false). */
  arrived(): boolean {
    return readSync(this.fd, Buffer.alloc(1)) === 1;
  }

  close(): void {
    closeSync(this.fd);
  }
}
