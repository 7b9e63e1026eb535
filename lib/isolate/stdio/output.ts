/**
 * Copies what a container writes to a descriptor of the caller. It comes from the container's terminal, or from a pipe
 * (output-pipes.ts). Nothing here makes the whole process wait, since signals have to be passed on meanwhile.
 */
import { closeSync, fstatSync, readSync, write } from 'node:fs';
import type { Readable } from 'node:stream';
import { errnoName, failureOf, ignoring } from '../../base/failure.js';
import { ReaderGone } from '../../pipe/output.js';
import { unreadIn } from '../../sys/files/poll.js';
import { fcntl } from '../../sys/syscalls/calls.js';
import { F } from '../../sys/syscalls/constants.js';
import type { OutputPipe } from './output-pipes.js';
import { keepStderrBlocking, nameOf } from './stdio.js';

/** How long to wait before the next attempt to write, after one that found no room. */
export const fullMs = 5;
/** How long nobody looks at the pipes of a container that has begun. They hold 64 KiB. */
const soonMs = 5;
/** More than a terminal holds. A pipe may hold more than that, and says how much. */
const mostLeft = 1 << 17;
/** Bytes of a pipe that may wait to be written: with fewer, a fast command waits for each of our writes. */
const highWaterMark = 256 * 1024;

export class Output {
  private stream: Readable | undefined;
  /** Set by `finish`: what was still to be read then. */
  private rest: Buffer[] | undefined;
  private closed = false;
  /** Tells `carry` that there is more to read, or no more to come. */
  private wake: () => void = () => undefined;

  /** From one descriptor, which is non-blocking, to another. */
  constructor(
    readonly from: number,
    private readonly to: number,
  ) {}

  /**
   * The container has ended: reads what it left. At the end of a terminal, libuv would lose what it has not read by
   * then. The end of a pipe would never come when a process outside has got hold of the other side; and if that writes
   * faster than this reads, there would always be more.
   */
  finish(): void {
    if (this.closed) return;
    const rest: Buffer[] = [];
    for (let chunk = this.read(); chunk; chunk = this.read()) rest.push(chunk);
    this.stream?.destroy();
    let left = Math.max(unreadIn(this.from), mostLeft);
    for (let chunk = readSome(this.from); chunk; chunk = left > 0 ? readSome(this.from) : undefined) {
      rest.push(chunk);
      left -= chunk.length;
    }
    this.rest = rest;
    this.wake();
  }

  /** Closes this side: the container's writes fail from then on. */
  close(): void {
    this.closed = true;
    this.stream?.destroy();
    closeSync(this.from);
  }

  private read(): Buffer | null {
    return this.stream?.read() ?? null;
  }

  /**
   * Writes what comes out of `stream`, which reads from a copy of the same descriptor, until `finish`; without one, all
   * of it then. Throws `Failure`, and `ReaderGone` when nobody reads it any more.
   */
  async carry(stream?: Readable): Promise<void> {
    let failed: unknown;
    this.stream = stream;
    stream?.on('readable', () => this.wake());
    stream?.on('error', (error) => {
      // pty(7): no descriptor of the other side is open any more.
      if (errnoName(error) === 'EIO') return;
      failed = failureOf(error, 'reading what the container writes');
      this.wake();
    });
    while (!this.rest) {
      const chunk = this.read();
      if (chunk) await writeOut(this.to, chunk);
      else await new Promise<void>((wake) => (this.wake = wake));
      if (failed) throw failed;
    }
    for (const chunk of this.rest) await writeOut(this.to, chunk);
  }
}

/**
 * Copies from pipes to what they are in the place of, until the container has ended and all is written. Throws
 * `Failure`, and what `ended` throws.
 */
export async function copyOutputs(pipes: readonly OutputPipe[], ended: Promise<unknown>): Promise<void> {
  const outputs = pipes.map(({ fds: [to], read }) => new Output(read, to!));
  // Node takes some milliseconds to load what reads a pipe. Many a command has ended by then, and needs no stream.
  const lasts = await Promise.race([ended.then(() => false), new Promise((done) => setTimeout(done, soonMs, true))]);
  const copies = outputs.map((output) => copy(output, lasts ? pipeStream(output.from) : undefined));
  // An error is looked at below, and must not end the container.
  for (const copying of copies) copying.catch(() => undefined);
  await ended;
  for (const output of outputs) output.finish();
  for (const copying of copies) await copying;
}

async function copy(output: Output, stream: Readable | undefined): Promise<void> {
  try {
    await output.carry(stream);
  } catch (error) {
    // The command gets EPIPE, as it would from the socket itself.
    output.close();
    if (!(error instanceof ReaderGone)) throw error;
  }
}

function pipeStream(fd: number): Readable {
  keepStderrBlocking();
  const { Socket } = process.getBuiltinModule('node:net');
  const options = { fd: fcntl(fd, F.DUPFD_CLOEXEC, 3), readable: true, writable: false, highWaterMark };
  return new Socket(options);
}

/** Reads what there is at this moment; undefined for nothing. */
function readSome(from: number): Buffer | undefined {
  const chunk = Buffer.allocUnsafe(65536);
  const bytes = ignoring(['EIO', 'EAGAIN'], () => readSync(from, chunk));
  return bytes ? chunk.subarray(0, bytes) : undefined;
}

/** When nobody reads there this waits, but not the whole process. */
async function writeOut(to: number, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    try {
      at += await writePiece(to, bytes.subarray(at));
    } catch (error) {
      const name = errnoName(error);
      if (name === 'EPIPE' || name === 'ECONNRESET' || (name === 'EIO' && hasHungUp(to))) throw new ReaderGone();
      if (name !== 'EAGAIN') throw failureOf(error, `writing to ${nameOf(to)}`);
      // Another process made it non-blocking, and it is full: wait as a blocking write would.
      await new Promise((resolve) => setTimeout(resolve, fullMs));
    }
  }
}

/** Whether an EIO tells of a terminal whose other side is closed, as by closing the window, and not of a disk. */
function hasHungUp(to: number): boolean {
  return fstatSync(to).isCharacterDevice();
}

function writePiece(to: number, bytes: Uint8Array): Promise<number> {
  return new Promise((resolve, reject) => {
    write(to, bytes, (error, written) => (error ? reject(error) : resolve(written)));
  });
}
