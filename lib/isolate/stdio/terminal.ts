/**
 * The supervisor's side of a container's terminal. It connects two terminals. The user types in the outer one
 * (outer-terminal.ts). The container has its own, a pty whose master the supervisor holds (pty-master.ts). Meanwhile
 * the outer one is in raw mode. So Ctrl-C, Ctrl-Z and all other keys reach the container, whose own terminal makes
 * signals of them.
 *
 * Sources: pty(7), termios(3), credentials(7) on sessions and process groups.
 */
import { createReadStream, fstatSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { isatty, ReadStream } from 'node:tty';
import { fcntl } from '../../sys/syscalls/calls.js';
import { F } from '../../sys/syscalls/constants.js';
import { DetachKeys } from './detach-keys.js';
import { OuterTerminal } from './outer-terminal.js';
import { PtyMaster } from './pty-master.js';
import { keepStderrBlocking } from './stdio.js';

/** Ctrl-D: whoever reads from a terminal takes it for the end (VEOF in termios(3)). */
const endOfInput = 0x04;
/** How long the first of the detach keys is held back before it goes to the container after all. */
const heldMs = 500;

interface Terminal {
  /** The container has ended: nobody writes to the pty any more. */
  finish(): void;
  /**
   * Resolves after `finish` when all that the container wrote is written out. Rejects when writing fails, with a
   * `Failure`, or `ReaderGone` when nobody reads descriptor 1 any more; the pty hangs up then. A caller may wait for
   * other things first and look at it later.
   */
  ended: Promise<void>;
  /** Gives the outer terminal back as it was. May be called more than once. Also done when the process exits. */
  restore(): void;
}

/**
 * Connects descriptors 0 and 1 with the pty whose master is `master`. That descriptor belongs to this module from now
 * on. `detachKeys` are the bytes that detach, from `parseDetachKeys`; empty for none.
 */
export function attachTerminal(master: number, detachKeys: Buffer): Terminal {
  keepStderrBlocking();
  const outer = isatty(0) ? new OuterTerminal() : undefined;
  const inner = new PtyMaster(master);
  const input = openInput();
  const unfollow = followOuter(outer, inner);
  const restore = () => {
    process.off('exit', restore);
    unfollow();
    input.close();
    outer?.leaveRaw();
  };
  process.on('exit', restore);
  inner.copyWindowSize();
  outer?.enterRaw();
  carryInput(input.stream, inner, new DetachKeys(outer ? detachKeys : Buffer.alloc(0)), {
    typed: () => outer?.enterRaw(),
    detached: () => {
      if (!outer) return;
      outer.leaveRaw();
      // The whole job stops, as by Ctrl-Z, so that the shell takes over. Our own handler does the rest.
      process.kill(0, 'SIGTSTP');
    },
  });
  const ended = inner.carryOutput();
  ended.catch(() => inner.hangUp());
  return { finish: () => inner.finish(), ended, restore };
}

/** Follows the outer terminal: its size, and how its shell stops and continues this process. Returns what ends that. */
function followOuter(outer: OuterTerminal | undefined, inner: PtyMaster): () => void {
  const resize = () => inner.copyWindowSize();
  const onStop = () => {
    process.off('SIGTSTP', onStop);
    outer?.suspend();
    process.on('SIGTSTP', onStop);
    resize();
  };
  const onContinue = () => {
    outer?.enterRaw();
    resize();
  };
  process.on('SIGWINCH', resize);
  if (outer) {
    process.on('SIGTSTP', onStop);
    process.on('SIGCONT', onContinue);
  }
  return () => {
    process.off('SIGWINCH', resize);
    process.off('SIGTSTP', onStop);
    process.off('SIGCONT', onContinue);
  };
}

interface Input {
  stream: Readable;
  close(): void;
}

/**
 * Descriptor 0 as a stream. libuv opens a terminal once more for itself, but makes a pipe non-blocking: that is undone.
 */
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

/** Passes on what is typed to the master, no faster than the container reads it. */
function carryInput(input: Readable, inner: PtyMaster, keys: DetachKeys, { typed, detached }: InputEvents): void {
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
  // termios(3), VEOF: at the start of a line it is the end. Within a line the first one only hands over that part.
  input.on('end', () => send(Buffer.alloc(last === 0x0a ? 1 : 2, endOfInput)));
  // The terminal has hung up. The SIGHUP that comes with it is the supervisor's to deal with.
  input.on('error', () => input.destroy());
}
