/**
 * The supervisor's side of a container's terminal: it carries what is typed to the pty's master and what the container
 * writes back. The outer terminal is in raw mode meanwhile, so that Ctrl-C, Ctrl-Z and all other keys are for the
 * container, whose own line discipline makes signals of them.
 *
 * Sources: pty(7), termios(3), ioctl_tty(2), credentials(7) on sessions and process groups.
 */
import { closeSync, createReadStream, fstatSync, readSync, write, writeSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { isatty, ReadStream } from 'node:tty';
import { errnoName, failureOf } from '../../pipe/failure.js';
import { ReaderGone } from '../../pipe/output.js';
import { fcntl, ioctl, ioctlMemory, ioctlTermios } from '../../sys/calls.js';
import { F, O, TC, TIO } from '../../sys/constants.js';
import { statFields } from '../../sys/proc-status.js';
import { isErrno } from '../../sys/syscall.js';
import { guardTerminal } from './guard.js';
import { DetachKeys } from './keys.js';

/** `struct termios` of the kernel, the same on x64 and arm64: four words of flags, a byte, 19 control characters. */
const termiosSize = 36;
const field = { input: 0, output: 4, control: 8, local: 12, VTIME: 17 + 5, VMIN: 17 + 6 };
/** Ctrl-D, which ends the input of who reads from a terminal (VEOF). */
const endOfInput = 0x04;
/** How long the beginning of the detach keys is held back before it goes to the container. */
const heldMs = 500;
/** How often it is tried again to write where there was no room. */
const fullMs = 5;

export interface TerminalOptions {
  /** The bytes that detach, from `parseDetachKeys`; empty for none. */
  detachKeys: Buffer;
  /** The user has detached: the terminal is the shell's again and the container runs on. Called before the stop. */
  onDetach?: () => void;
}

export interface Terminal {
  /** The container has ended: nobody writes to the pty any more. */
  finish(): void;
  /**
   * Resolves after `finish` when all that the container wrote is written out. Rejects when writing fails, with a `Failure`,
   * or `ReaderGone` when nobody reads descriptor 1 any more; the pty hangs up then. A caller may wait for other things
   * first and look at it later.
   */
  ended: Promise<void>;
  /** Gives the outer terminal back as it was. May be called more than once. Also done when the process exits. */
  restore(): void;
}

/** `struct winsize` of the terminal that the user sees, or undefined when there is none: TIOCGWINSZ(2const). */
export function windowSize(): Buffer | undefined {
  const fd = [0, 1, 2].find((fd) => isatty(fd));
  if (fd === undefined) return undefined;
  const size = Buffer.alloc(8);
  return ioctlMemory.try(fd, TIO.CGWINSZ, size) < 0 ? undefined : size;
}

/** Begins to carry between descriptors 0 and 1 and the pty whose master is `master`. The descriptor is this module's from here on. */
export function attachTerminal(master: number, { detachKeys, onDetach }: TerminalOptions): Terminal {
  const outer = isatty(0) ? new OuterTerminal() : undefined;
  const inner = new Inner(master);
  const input = openInput();
  const resize = () => inner.copyWindowSize();
  const suspend = () => outer?.suspend();

  const restore = () => {
    process.off('SIGWINCH', resize);
    process.off('SIGTSTP', onStop);
    process.off('SIGCONT', onContinue);
    process.off('exit', restore);
    input.close();
    outer?.leaveRaw();
  };
  const onStop = () => {
    process.off('SIGTSTP', onStop);
    suspend();
    process.on('SIGTSTP', onStop);
    resize();
  };
  const onContinue = () => {
    outer?.enterRaw();
    resize();
  };

  process.on('exit', restore);
  process.on('SIGWINCH', resize);
  if (outer) {
    process.on('SIGTSTP', onStop);
    process.on('SIGCONT', onContinue);
  }
  resize();
  outer?.enterRaw();
  carryInput(input.stream, inner, new DetachKeys(outer ? detachKeys : Buffer.alloc(0)), {
    typed: () => outer?.enterRaw(),
    detached: () => {
      if (!outer) return;
      outer.leaveRaw();
      onDetach?.();
      // To the whole job, as Ctrl-Z would: the shell sees it stop. Our own handler does the rest.
      process.kill(0, 'SIGTSTP');
    },
  });
  const ended = inner.carryOutput();
  ended.catch(() => inner.hangUp());
  return { finish: () => inner.finish(), ended, restore };
}

/** The terminal on descriptor 0, and whether it is in raw mode. */
class OuterTerminal {
  #cooked: Buffer = Buffer.alloc(0);
  #unguard: (() => void) | undefined;

  enterRaw(): void {
    if (this.#unguard || inBackground()) return;
    const cooked = getTermios();
    if (!cooked) return;
    const raw = rawTermios(cooked);
    this.#cooked = cooked;
    this.#unguard = guardTerminal(cooked, raw);
    // It fails when the terminal has hung up since, and SIGHUP is on its way: others deal with that.
    ioctlTermios.try(0, TC.SETSW, raw);
  }

  leaveRaw(): void {
    if (!this.#unguard) return;
    // It fails when the terminal has hung up, and then there is nothing to put back.
    ioctlTermios.try(0, TC.SETSW, this.#cooked);
    this.#unguard();
    this.#unguard = undefined;
  }

  /** Stops this process as a job of the shell; returns once it is continued. No handler for SIGTSTP may be set. */
  suspend(): void {
    this.leaveRaw();
    // A process group without a shell to continue it is not stopped by this (credentials(7), orphaned process groups).
    process.kill(process.pid, 'SIGTSTP');
    this.enterRaw();
  }
}

/** Undefined when the terminal has hung up. */
function getTermios(): Buffer | undefined {
  const termios = Buffer.alloc(64);
  return isErrno(ioctlTermios.try(0, TC.GETS, termios)) ? undefined : termios.subarray(0, termiosSize);
}

/** The settings with which a terminal hands on every byte as it comes: cfmakeraw in termios(3). */
export function rawTermios(cooked: Buffer): Buffer {
  const raw = Buffer.from(cooked);
  const change = (at: number, clear: number, set = 0) => {
    raw.writeUInt32LE(((raw.readUInt32LE(at) & ~clear) | set) >>> 0, at);
  };
  change(field.input, 0o2753); // IGNBRK BRKINT PARMRK ISTRIP INLCR IGNCR ICRNL IXON
  change(field.output, 0o1); // OPOST
  change(field.control, 0o460, 0o60); // CSIZE PARENB; CS8
  change(field.local, 0o100113); // ECHO ECHONL ICANON ISIG IEXTEN
  raw[field.VMIN] = 1;
  raw[field.VTIME] = 0;
  return raw;
}

/** Whether another process group has the terminal: to touch its settings now would stop us (SIGTTOU). */
function inBackground(): boolean {
  // State, ppid, pgrp, session, tty_nr, tpgid.
  const [, , group, , , foreground] = statFields('self');
  return Number(foreground) > 0 && group !== foreground;
}

interface Input {
  stream: Readable;
  close(): void;
}

/** Descriptor 0 as a stream. Of a terminal, libuv opens a description of its own; of a pipe the flags are put back at the end. */
function openInput(): Input {
  if (isatty(0)) {
    const stream = new ReadStream(0);
    return { stream, close: () => stream.destroy() };
  }
  const stats = fstatSync(0);
  if (!stats.isFIFO() && !stats.isSocket()) {
    const stream = createReadStream('', { fd: 0, autoClose: false });
    return { stream, close: () => stream.destroy() };
  }
  const flags = fcntl(0, F.GETFL, 0);
  const stream = new Socket({ fd: 0, readable: true, writable: false });
  return {
    stream,
    close: () => {
      stream.pause();
      fcntl.try(0, F.SETFL, flags);
    },
  };
}

interface InputEvents {
  typed(): void;
  detached(): void;
}

/** What is typed goes to the master, no faster than the container reads it. */
function carryInput(input: Readable, inner: Inner, keys: DetachKeys, { typed, detached }: InputEvents): void {
  let timer: NodeJS.Timeout | undefined;
  let last = 0x0a;
  const send = (bytes: Uint8Array) => {
    if (bytes.length === 0) return;
    last = bytes.at(-1)!;
    input.pause();
    inner.write(bytes, () => input.resume());
  };
  input.on('data', (chunk: Buffer) => {
    typed();
    clearTimeout(timer);
    const found = keys.feed(chunk);
    send(found.forward);
    if (keys.waiting) timer = setTimeout(() => send(keys.release()), heldMs);
    if (found.detached) detached();
  });
  // After a whole line one Ctrl-D is the end; after part of one, the first only hands on the part.
  input.on('end', () => send(Buffer.alloc(last === 0x0a ? 1 : 2, endOfInput)));
  // The terminal has hung up. The SIGHUP that comes with it is the supervisor's to deal with.
  input.on('error', () => input.destroy());
}

/** The master of the container's pty as a stream. */
class Inner {
  readonly #stream: ReadStream;
  /**
   * The other side, held open: a command may close it and open it again later, as /dev/tty or /dev/console, and without this
   * the master would have come to its end by then (EIO, pty(7)).
   */
  #slave: number | undefined;
  #hungUp = false;
  /** Typed, and not taken by the terminal yet. */
  readonly #typed: { bytes: Uint8Array; taken: () => void }[] = [];
  /** Set by `finish`: all that was not read from the stream by then. */
  #rest: Buffer[] | undefined;
  /** Tells `carryOutput` that there is more to read, or no more to come. */
  #wake: () => void = () => undefined;

  constructor(readonly master: number) {
    this.#slave = ioctl(master, TIO.CGPTPEER, O.RDWR | O.NOCTTY | O.CLOEXEC);
    // libuv's own writes to a master wait; and a container that does not read may itself wait until its output is taken.
    fcntl(master, F.SETFL, O.RDWR | O.NONBLOCK);
    // The stream closes what it is given, and the master is needed longer.
    this.#stream = new ReadStream(fcntl(master, F.DUPFD_CLOEXEC, 3));
  }

  /**
   * Takes what is left to read. All at once, and before the other side is closed: libuv takes the hang-up for the end, and loses
   * what it has not read by then.
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

  /** `taken` is called when the terminal has room for more. */
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
    // There may be nobody left to tell.
    if (size && !this.#hungUp) ioctlMemory.try(this.master, TIO.CSWINSZ, size);
  }

  /** The container finds its terminal gone: SIGHUP for its session, an error for who writes to it. */
  hangUp(): void {
    this.#hungUp = true;
    this.#stream.destroy();
    this.#closeSlave();
    closeSync(this.master);
  }

  /** What the container writes goes to descriptor 1, and little more is read from it before that is done. */
  async carryOutput(): Promise<void> {
    let failed: unknown;
    this.#stream.on('readable', () => this.#wake());
    this.#stream.on('error', (error) => {
      // pty(7): nobody has the other side open any more.
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

/** Reads what is there from a master, if anything is, or can ever be. */
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

/** Writes to a master as much as there is room for, and returns how much that is: all, when nobody is left to read it. */
function writeSome(master: number, bytes: Uint8Array): number {
  try {
    return writeSync(master, bytes);
  } catch (error) {
    if (errnoName(error) === 'EAGAIN') return 0;
    if (errnoName(error) === 'EIO') return bytes.length;
    throw error;
  }
}

/** Writes to descriptor 1. Who does not read there makes this wait, and not the whole process, which signals go through. */
async function writeOut(bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    try {
      at += await writePiece(bytes.subarray(at));
    } catch (error) {
      if (errnoName(error) === 'EPIPE') throw new ReaderGone();
      if (errnoName(error) !== 'EAGAIN') throw failureOf(error, 'writing to stdout');
      // Someone else made it non-blocking, and it is full: wait as a blocking write would.
      await new Promise((resolve) => setTimeout(resolve, fullMs));
    }
  }
}

function writePiece(bytes: Uint8Array): Promise<number> {
  return new Promise((resolve, reject) => {
    write(1, bytes, (error, written) => (error ? reject(error) : resolve(written)));
  });
}
