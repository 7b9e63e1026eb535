/**
 * The line between supervisor and child: a pair of sockets. The child stops at a gate until the supervisor lets it pass;
 * an end of file tells each that the other is gone, and the supervisor that execve has closed the child's end.
 */
import { closeSync, readSync, writeSync } from 'node:fs';
import { socketpair } from './calls.js';

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_CLOEXEC = 0o2000000;

export interface ControlFds {
  supervisor: number;
  child: number;
}

export function controlPair(): ControlFds {
  const fds = Buffer.alloc(8);
  socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds);
  return { supervisor: fds.readInt32LE(0), child: fds.readInt32LE(4) };
}

/** The supervisor's end. */
export class Control {
  constructor(readonly fd: number) {}

  /** Lets the child pass the gate that it waits at, or will. */
  open(): void {
    writeSync(this.fd, Buffer.alloc(1));
  }

  /** Waits for the child to announce itself at a gate, or to end: false. */
  arrived(): boolean {
    return readSync(this.fd, Buffer.alloc(1)) === 1;
  }

  close(): void {
    closeSync(this.fd);
  }
}
