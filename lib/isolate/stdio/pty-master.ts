/**
 * The master of a container's pty: what is written to it the container reads, and what the container writes goes from
 * here to descriptor 1. Neither ever makes the whole process wait, since signals have to be passed on meanwhile.
 * Source: pty(7).
 */
import { closeSync, writeSync } from 'node:fs';
import { ReadStream } from 'node:tty';
import { errnoName } from '../../base/failure.js';
import { fcntl, ioctl, ioctlMemory } from '../../sys/syscalls/calls.js';
import { F, O, TIO } from '../../sys/syscalls/constants.js';
import { windowSize } from './outer-terminal.js';
import { fullMs, Output } from './output.js';

export class PtyMaster {
  private readonly output: Output;
  /**
   * The other side of the pty, kept open. A command may close its last descriptor and open /dev/tty later: without this
   * one the master would have failed with EIO by then (pty(7)).
   */
  private slave: number | undefined;
  private hungUp = false;
  /** What was typed and has not been written yet. */
  private readonly typed: { bytes: Uint8Array; taken: () => void }[] = [];

  /** `master` is its descriptor. It stays open, unless `hangUp` closes it. */
  constructor(private readonly master: number) {
    this.slave = ioctl(master, TIO.CGPTPEER, O.RDWR | O.NOCTTY | O.CLOEXEC);
    // A blocking write could wait for ever: for a container that does not read before its output has been read.
    fcntl(master, F.SETFL, O.RDWR | O.NONBLOCK);
    this.output = new Output(master, 1);
  }

  /** The container has ended: reads what it left. */
  finish(): void {
    if (this.slave === undefined) return;
    this.closeSlave();
    this.output.finish();
  }

  private closeSlave(): void {
    if (this.slave !== undefined) closeSync(this.slave);
    this.slave = undefined;
  }

  /** Writes what was typed, as soon as there is room. `taken` is called then. */
  write(bytes: Uint8Array, taken: () => void): void {
    this.typed.push({ bytes, taken });
    if (this.typed.length === 1) this.feed();
  }

  private feed(): void {
    for (let [next] = this.typed; next; [next] = this.typed) {
      next.bytes = next.bytes.subarray(this.hungUp ? next.bytes.length : writeSome(this.master, next.bytes));
      if (next.bytes.length > 0) {
        setTimeout(() => this.feed(), fullMs).unref();
        return;
      }
      this.typed.shift();
      next.taken();
    }
  }

  copyWindowSize(): void {
    const size = windowSize();
    // It fails when the container has ended, and nobody needs the size any more.
    if (size && !this.hungUp) ioctlMemory.try(this.master, TIO.CSWINSZ, size);
  }

  /** Closes the pty. For the container its terminal is gone: its session gets SIGHUP, and writing to it fails. */
  hangUp(): void {
    this.hungUp = true;
    this.closeSlave();
    this.output.close();
  }

  /** Writes the container's output to descriptor 1, until `finish`. Throws `Failure`, or `ReaderGone`. */
  carryOutput(): Promise<void> {
    // A copy, since the stream closes its descriptor and the master is needed longer.
    return this.output.carry(new ReadStream(fcntl(this.master, F.DUPFD_CLOEXEC, 3)));
  }
}

/**
 * Writes as much as there is room for, and returns how many bytes. When nobody is left to read it, all counts as
 * written.
 */
function writeSome(master: number, bytes: Uint8Array): number {
  try {
    return writeSync(master, bytes);
  } catch (error) {
    if (errnoName(error) === 'EAGAIN') return 0;
    if (errnoName(error) === 'EIO') return bytes.length;
    throw error;
  }
}
