/**
 * Writing a file from its beginning on, in order, on other threads: the one that receives and hashes does not wait. One
 * write at a time, so that whatever a killed process leaves is a beginning of the content.
 */

import * as fs from 'node:fs';
import { promisify } from 'node:util';
import { monotonic } from '../pipe/clock.js';
import { received } from '../pipe/garbage.js';

const writev = promisify(fs.writev);
const sync = promisify(fs.fdatasync);
const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

/** Bytes that may wait. More would only take memory: the disk is slower than what sends. */
const waitingLimit = 1 << 20;
/**
 * Milliseconds of a download after which what there is goes to the disk itself, so that little is left to do when all has
 * come. One file at a time: the others shall have threads to write with.
 */
const syncInterval = 1000;
let isSyncing = false;

export class Writer {
  #queue: Buffer[] = [];
  #queued = 0;
  #inFlight = 0;
  #cut = false;
  #work: Promise<void> | undefined;
  #sync: Promise<void> | undefined;
  #synced = monotonic();
  #error: unknown;

  /** Goes on at `position`, in bytes. */
  constructor(
    private readonly fd: number,
    private position: number,
  ) {}

  /**
   * Takes bytes, which are its own from now on. A promise asks to send no more until it is fulfilled. Throws what an
   * earlier write has failed with.
   */
  write(chunk: Buffer): Promise<void> | undefined {
    if (this.#error) throw this.#error;
    this.#queue.push(chunk);
    this.#queued += chunk.length;
    this.#work ??= this.#drain();
    return this.#queued + this.#inFlight > waitingLimit ? this.#work : undefined;
  }

  /** Empties the file, and goes on at its beginning. */
  restart(): void {
    this.#queue = [];
    this.#queued = 0;
    this.#cut = true;
    this.#work ??= this.#drain();
  }

  /** When all is written. Rejects with what a write has failed with. */
  async done(): Promise<void> {
    await this.#work;
    await this.#sync;
    if (this.#error) throw this.#error;
  }

  /** Never rejects: whoever waits for it finds the error at the next call. */
  async #drain(): Promise<void> {
    try {
      // What the socket holds comes in one turn of the event loop, and goes in one call.
      await nextTurn();
      while (this.#queue.length > 0 || this.#cut) await this.#writeOnce();
      if (!isSyncing && monotonic() - this.#synced > syncInterval) this.#sync = this.#syncOnce();
    } catch (error) {
      this.#error = error;
    } finally {
      this.#work = undefined;
    }
  }

  /** Never rejects: the kernel tells of a failure once, so it is kept. */
  async #syncOnce(): Promise<void> {
    isSyncing = true;
    try {
      await sync(this.fd);
    } catch (error) {
      this.#error ??= error;
    } finally {
      isSyncing = false;
      this.#synced = monotonic();
    }
  }

  async #writeOnce(): Promise<void> {
    if (this.#cut) {
      this.#cut = false;
      fs.ftruncateSync(this.fd, 0);
      this.position = 0;
    }
    let chunks = this.#queue;
    this.#inFlight = this.#queued;
    this.#queue = [];
    this.#queued = 0;
    while (chunks.length > 0) {
      const { bytesWritten } = await writev(this.fd, chunks, this.position);
      this.position += bytesWritten;
      chunks = rest(chunks, bytesWritten);
    }
    received(this.#inFlight);
    this.#inFlight = 0;
  }
}

/** What remains of chunks behind their first `bytes`. */
function rest(chunks: Buffer[], bytes: number): Buffer[] {
  let left = bytes;
  const whole = chunks.findIndex(({ length }) => {
    if (left < length) return true;
    left -= length;
    return false;
  });
  return whole < 0 ? [] : [chunks[whole]!.subarray(left), ...chunks.slice(whole + 1)];
}
