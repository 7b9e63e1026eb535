/**
 * The master of a container's pty: what is written to it the container reads, and what the container writes goes from
 * here to descriptor 1. Neither ever makes the whole process wait, since signals have to be passed on meanwhile.
 * Source: pty(7).
 */
import { closeSync, readSync, write, writeSync } from 'node:fs';
import { ReadStream } from 'node:tty';
import { errnoName, failureOf } from '../../pipe/failure.js';
import { ReaderGone } from '../../pipe/output.js';
import { fcntl, ioctl, ioctlMemory } from '../../sys/calls.js';
import { F, O, TIO } from '../../sys/constants.js';
import { windowSize } from './outer.js';

/** How long to wait before the next attempt to write, after one that found no room. */
const fullMs = 5;

export class PtyMaster {
  readonly #stream: ReadStream;
  /**
   * The other side of the pty, kept open. A command may close its last descriptor and open /dev/tty later: without this
   * one the master would have failed with EIO by then (pty(7)).
   */
  #slave: number | undefined;
  #hungUp = false;
  /** What was typed and has not been written yet. */
  readonly #typed: { bytes: Uint8Array; taken: () => void }[] = [];
  /** Set by `finish`: the output that was still to be read then. */
  #rest: Buffer[] | undefined;
  /** Tells `carryOutput` that there is more to read, or no more to come. */
  #wake: () => void = () => undefined;

  /** `master` is its descriptor. It stays open, unless `hangUp` closes it. */
  constructor(readonly master: number) {
    this.#slave = ioctl(master, TIO.CGPTPEER, O.RDWR | O.NOCTTY | O.CLOEXEC);
    // A blocking write could wait for ever: for a container that does not read before its output has been read.
    fcntl(master, F.SETFL, O.RDWR | O.NONBLOCK);
    // A copy, since the stream closes its descriptor and the master is needed longer.
    this.#stream = new ReadStream(fcntl(master, F.DUPFD_CLOEXEC, 3));
  }

  /**
   * The container has ended: reads what it left, before and after the other side is closed. libuv would take the
   * hang-up for the end of the stream, and lose what it has not read by then.
   */
  finish(): void {
    if (this.#slave === undefined) return;
    const rest: Buffer[] = [];
    for (let chunk = this.#read(); chunk; chunk = this.#read()) rest.push(chunk);
    this.#stream.destroy();
    this.#closeSlave();
    for (let chunk = readSome(this.master); chunk; chunk = readSome(this.master)) rest.push(chunk);
    this.#rest = rest;
    this.#wake();
  }

  #read(): Buffer | null {
    return this.#stream.read();
  }

  #closeSlave(): void {
    if (this.#slave !== undefined) closeSync(this.#slave);
    this.#slave = undefined;
  }

  /** Writes what was typed, as soon as there is room. `taken` is called then. */
  write(bytes: Uint8Array, taken: () => void): void {
    this.#typed.push({ bytes, taken });
    if (this.#typed.length === 1) this.#feed();
  }

  #feed(): void {
    for (let [next] = this.#typed; next; [next] = this.#typed) {
      next.bytes = next.bytes.subarray(this.#hungUp ? next.bytes.length : writeSome(this.master, next.bytes));
      if (next.bytes.length > 0) {
        setTimeout(() => this.#feed(), fullMs).unref();
        return;
      }
      this.#typed.shift();
      next.taken();
    }
  }

  copyWindowSize(): void {
    const size = windowSize();
    // It fails when the container has ended, and nobody needs the size any more.
    if (size && !this.#hungUp) ioctlMemory.try(this.master, TIO.CSWINSZ, size);
  }

  /** Closes the pty. For the container its terminal is gone: its session gets SIGHUP, and writing to it fails. */
  hangUp(): void {
    this.#hungUp = true;
    this.#stream.destroy();
    this.#closeSlave();
    closeSync(this.master);
  }

  /**
   * Writes the container's output to descriptor 1, until `finish`. Little is read before that is written. Throws
   * `Failure`.
   */
  async carryOutput(): Promise<void> {
    let failed: unknown;
    this.#stream.on('readable', () => this.#wake());
    this.#stream.on('error', (error) => {
      // pty(7): no descriptor of the other side is open any more.
      if (errnoName(error) === 'EIO') return;
      failed = failureOf(error, "reading the container's terminal");
      this.#wake();
    });
    while (!this.#rest) {
      const chunk = this.#read();
      if (chunk) await writeOut(chunk);
      else await new Promise<void>((wake) => (this.#wake = wake));
      if (failed) throw failed;
    }
    for (const chunk of this.#rest) await writeOut(chunk);
  }
}

/** Reads what a master has at this moment; undefined for nothing. */
function readSome(master: number): Buffer | undefined {
  const chunk = Buffer.allocUnsafe(65536);
  try {
    const bytes = readSync(master, chunk);
    return bytes === 0 ? undefined : chunk.subarray(0, bytes);
  } catch (error) {
    if (errnoName(error) === 'EIO' || errnoName(error) === 'EAGAIN') return undefined;
    throw error;
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

/**
 * Writes to descriptor 1. When nobody reads there this waits, but not the whole process, which has signals to pass on.
 */
async function writeOut(bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    try {
      at += await writePiece(bytes.subarray(at));
    } catch (error) {
      if (errnoName(error) === 'EPIPE') throw new ReaderGone();
      if (errnoName(error) !== 'EAGAIN') throw failureOf(error, 'writing to stdout');
      // Another process made it non-blocking, and it is full: wait as a blocking write would.
      await new Promise((resolve) => setTimeout(resolve, fullMs));
    }
  }
}

function writePiece(bytes: Uint8Array): Promise<number> {
  return new Promise((resolve, reject) => {
    write(1, bytes, (error, written) => (error ? reject(error) : resolve(written)));
  });
}
