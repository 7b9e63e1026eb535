/**
 * Writes a file in order on other threads, so that the thread that receives and hashes does not wait. There is one
 * write at a time, so that what a killed process leaves is always the first part of the content, without gaps.
 */

import * as fs from 'node:fs';
import { promisify } from 'node:util';
import { monotonic } from '../../base/clock.js';
import { received } from '../../sys/libraries/garbage-collection.js';

const writev = promisify(fs.writev);
const sync = promisify(fs.fdatasync);
const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

/** Bytes that may wait. More would only take memory, since then the disk is slower than the sender. */
const waitingLimit = 1 << 20;
/**
 * Milliseconds between syncs during a download, so that little is left to sync at its end. Only one file at a time is
 * synced, so that there are threads left for the writes of the others.
 */
const syncInterval = 1000;
let isSyncing = false;

export class Writer {
  private queue: Buffer[] = [];
  private queued = 0;
  private inFlight = 0;
  private cut = false;
  private work: Promise<void> | undefined;
  private sync: Promise<void> | undefined;
  private synced = monotonic();
  private error: unknown;

  /** Writes from `position` on, in bytes. */
  constructor(
    private readonly fd: number,
    private position: number,
  ) {}

  /**
   * Takes the next bytes, and owns the buffer from then on. When it returns a promise, the next bytes have to wait for
   * that. Throws the error of an earlier write.
   */
  write(chunk: Buffer): Promise<void> | undefined {
    if (this.error) throw this.error;
    this.queue.push(chunk);
    this.queued += chunk.length;
    this.work ??= this.drain();
    return this.queued + this.inFlight > waitingLimit ? this.work : undefined;
  }

  /** Empties the file, and goes on at its beginning. */
  restart(): void {
    this.queue = [];
    this.queued = 0;
    this.cut = true;
    this.work ??= this.drain();
  }

  /** Resolves when everything is written. Rejects with the error of a write. */
  async done(): Promise<void> {
    await this.work;
    await this.sync;
    if (this.error) throw this.error;
  }

  /** Never rejects: the next call throws the error. */
  private async drain(): Promise<void> {
    try {
      // All chunks of one turn of the event loop are written by one call.
      await nextTurn();
      while (this.queue.length > 0 || this.cut) await this.writeOnce();
      if (!isSyncing && monotonic() - this.synced > syncInterval) this.sync = this.syncOnce();
    } catch (error) {
      this.error = error;
    } finally {
      this.work = undefined;
    }
  }

  /** Never rejects. The kernel reports a failure only once, so it is kept. */
  private async syncOnce(): Promise<void> {
    isSyncing = true;
    try {
      await sync(this.fd);
    } catch (error) {
      this.error ??= error;
    } finally {
      isSyncing = false;
      this.synced = monotonic();
    }
  }

  private async writeOnce(): Promise<void> {
    if (this.cut) {
      this.cut = false;
      fs.ftruncateSync(this.fd, 0);
      this.position = 0;
    }
    let chunks = this.queue;
    this.inFlight = this.queued;
    this.queue = [];
    this.queued = 0;
    while (chunks.length > 0) {
      const { bytesWritten } = await writev(this.fd, chunks, this.position);
      this.position += bytesWritten;
      chunks = rest(chunks, bytesWritten);
    }
    received(this.inFlight);
    this.inFlight = 0;
  }
}

/** The chunks without their first `bytes`. */
function rest(chunks: Buffer[], bytes: number): Buffer[] {
  let left = bytes;
  const whole = chunks.findIndex(({ length }) => {
    if (left < length) return true;
    left -= length;
    return false;
  });
  return whole < 0 ? [] : [chunks[whole]!.subarray(left), ...chunks.slice(whole + 1)];
}
