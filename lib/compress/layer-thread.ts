/**
 * The program of the thread that decompresses and hashes layers while the main thread makes files.
 * `thread-decompressor.ts` is its other side: it starts this thread and talks to it.
 */
import { createHash, type Hash } from 'node:crypto';
import { type MessagePort, parentPort } from 'node:worker_threads';
import { Failure } from '../base/failure.js';
import { gunzip } from './gunzip.js';
import { HashTurns } from './hash-turns.js';
import { Input } from './input.js';
import type { Output } from './output.js';

/** An order from the main thread: decompress the gzip data in the open file `fd`, and send the blocks to `port`. */
export interface Job {
  port: MessagePort;
  fd: number;
  path: string;
  algorithm: string;
  /** Whether to check gzip's own checksums. */
  checks: boolean;
  /** The memory of a `HashTurns`, when both threads share the hashing; without it this thread hashes everything. */
  turns: SharedArrayBuffer | undefined;
}

/**
 * What this thread sends: a block with content, which the reader sends back when it is done with it; or how the job
 * ended.
 */
export type Report =
  | { block: ArrayBuffer; bytes: number; used: number; isHashed: boolean }
  | { digest: string | undefined }
  | { failure: { status: number; what: string; why: string } }
  | { fault: Error };

const blockBytes = 512 * 1024;
/** How many blocks a layer has: so much content may wait between decompressing and writing. */
const blockCount = 8;

parentPort?.on('message', (job: Job) => void serve(job));

async function serve({ port, fd, path, algorithm, checks, turns }: Job): Promise<void> {
  const input = new Input(fd, path);
  const blocks = new Blocks(port, input, turns ? new HashTurns(turns) : createHash(algorithm));
  port.once('close', () => blocks.close());
  try {
    await gunzip(input, blocks, checks);
    port.postMessage({ digest: blocks.end() } satisfies Report);
  } catch (error) {
    port.postMessage(asReport(error));
  } finally {
    blocks.close();
    await input.close();
  }
}

/**
 * Blocks of memory that go back and forth between the threads: full to the reader, empty back to here. A few of them
 * are enough for a whole layer, so the garbage collector has nothing to do.
 */
class Blocks implements Output {
  private readonly free: ArrayBuffer[] = [];
  private made = 0;
  private current: Buffer | undefined;
  private used = 0;
  private wake: (() => void) | undefined;
  closed = false;

  constructor(
    private readonly port: MessagePort,
    private readonly input: Input,
    private readonly hash: Hash | HashTurns,
  ) {
    port.on('message', (block: ArrayBuffer) => {
      this.free.push(block);
      this.wake?.();
    });
  }

  room(): Buffer | Promise<Buffer> {
    return this.current?.subarray(this.used) ?? this.begin();
  }

  filled(bytes: number): void {
    const { current, used } = this;
    if (current === undefined) return;
    if (!(this.hash instanceof HashTurns)) this.hash.update(current.subarray(used, used + bytes));
    this.used += bytes;
    if (this.used === current.length) this.send(current);
  }

  /** Sends the last, partly filled block. Returns the digest of the content, unless the reader computes that itself. */
  end(): string | undefined {
    if (this.current !== undefined && this.used > 0) this.send(this.current);
    return this.hash instanceof HashTurns ? undefined : this.hash.digest('hex');
  }

  /** The reader has gone: nothing more is sent, and whoever waits for a block goes on. */
  close(): void {
    this.closed = true;
    this.wake?.();
  }

  private send(current: Buffer): void {
    if (this.closed) return;
    const block = current.buffer as ArrayBuffer;
    const isHashed = !(this.hash instanceof HashTurns) || this.hash.offer(current.subarray(0, this.used));
    const report = { block, bytes: this.used, used: this.input.used, isHashed } satisfies Report;
    this.port.postMessage(report, [block]);
    this.current = undefined;
  }

  private async begin(): Promise<Buffer> {
    while (this.free.length === 0 && this.made === blockCount && !this.closed) {
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
    this.used = 0;
    this.current = Buffer.from(this.free.pop() ?? this.make());
    return this.current;
  }

  private make(): ArrayBuffer {
    this.made += 1;
    return new ArrayBuffer(blockBytes);
  }
}

/** An error loses its class on the way to another thread. */
function asReport(error: unknown): Report {
  if (!(error instanceof Failure)) return { fault: error instanceof Error ? error : new Error(String(error)) };
  const { status, what, why } = error;
  return { failure: { status, what, why } };
}
