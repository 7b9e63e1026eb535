import type { BoundedQueue } from './bounded-queue.js';
import { chunkBytes } from './input.js';

/** Where decompressed bytes go: into memory that the receiver provides, so that nothing is copied on the way. */
export interface Output {
  /** Memory for what comes next, at least one byte; a promise when the receiver has to catch up first. */
  room(): Buffer | Promise<Buffer>;
  /** Tells how many bytes of the memory from `room` have been filled. */
  filled(bytes: number): void;
  /** Nobody wants more bytes. */
  readonly closed: boolean;
}

/** Provides memory for what waits in a queue. Small pieces share it. */
export class QueueOutput implements Output {
  private memory: Buffer = Buffer.of();
  private full = false;

  constructor(private readonly queue: BoundedQueue) {}

  room(): Buffer | Promise<Buffer> {
    if (this.memory.length === 0) this.memory = Buffer.allocUnsafeSlow(chunkBytes);
    return this.full ? this.queue.room().then(() => this.memory) : this.memory;
  }

  filled(bytes: number): void {
    if (bytes > 0) this.full = !this.queue.offer(this.memory.subarray(0, bytes));
    this.memory = this.memory.subarray(bytes);
  }

  get closed(): boolean {
    return this.queue.closed;
  }
}

/** For what a decoder has in memory of its own. */
export async function copyTo(output: Output, bytes: Buffer): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const memory = await output.room();
    if (output.closed) return;
    const taken = bytes.copy(memory, 0, at);
    output.filled(taken);
    at += taken;
  }
}
