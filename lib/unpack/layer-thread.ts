/**
 * The body of the thread that decompresses layers, and has them hashed, so that neither waits for the thread that makes
 * files. `thread.ts` starts it and speaks with it.
 */
import { type MessagePort, parentPort } from 'node:worker_threads';
import { gunzip } from '../compress/gunzip.js';
import { Input } from '../compress/input.js';
import type { Output } from '../compress/output.js';
import { failureOf } from '../pipe/failure.js';
import { type PoolHash, poolHash } from '../sys/hash.js';

/** What is to be done: gzip data in the open file `fd`, blocks to `port`. */
export interface Job {
  port: MessagePort;
  fd: number;
  path: string;
  size: number;
  algorithm: string;
}

/** What goes to the one who unpacks: content in a block, that comes back the same way; and how it ended. */
export type Report =
  | { block: ArrayBuffer; bytes: number; used: number }
  | { digest: string }
  | { failure: { status: number; what: string; why: string } }
  | { fault: Error };

const blockBytes = 512 * 1024;
/** Blocks of a layer: what may wait between decompressing and writing. */
const blockCount = 8;

parentPort?.on('message', (job: Job) => void serve(job));

async function serve({ port, fd, path, size, algorithm }: Job): Promise<void> {
  const input = new Input(fd, path, size);
  const blocks = new Blocks(port, input, poolHash(algorithm));
  port.once('close', () => blocks.stop());
  try {
    await gunzip(input, blocks);
    port.postMessage({ digest: await blocks.end() } satisfies Report);
  } catch (error) {
    port.postMessage(asReport(error, path));
  } finally {
    await blocks.close();
    await input.close();
  }
}

/** Memory that travels: full to the reader, empty back. So there is never more of it, and none to be collected. */
class Blocks implements Output {
  private readonly free: ArrayBuffer[] = [];
  private made = 0;
  private current: Buffer | undefined;
  private used = 0;
  private wake: (() => void) | undefined;
  /** When the block before the last one, and the last one, have been hashed and sent. */
  private sent: [Promise<void>, Promise<void>] = [Promise.resolve(), Promise.resolve()];
  closed = false;

  constructor(
    private readonly port: MessagePort,
    private readonly input: Input,
    private readonly hash: PoolHash,
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
    this.used += bytes;
    if (this.used === this.current?.length) this.send(this.current);
  }

  /** Hands on what there is, and returns the digest of all of it. */
  async end(): Promise<string> {
    if (this.current !== undefined && this.used > 0) this.send(this.current);
    await this.sent[1];
    return this.hash.digest();
  }

  /** Nobody reads any more. */
  stop(): void {
    this.closed = true;
    this.wake?.();
  }

  async close(): Promise<void> {
    this.stop();
    await this.sent[1].catch(() => {});
    this.hash.close();
  }

  /** The block goes out once it is hashed, which is done while the next one is being filled. */
  private send(current: Buffer): void {
    const { used } = this;
    const position = this.input.used;
    const [, last] = this.sent;
    this.sent = [last, last.then(() => this.hashAndPost(current.subarray(0, used), position))];
    this.current = undefined;
  }

  private async hashAndPost(content: Buffer, used: number): Promise<void> {
    if (this.closed) return;
    await this.hash.update(content);
    const block = content.buffer as ArrayBuffer;
    if (!this.closed) this.port.postMessage({ block, bytes: content.length, used } satisfies Report, [block]);
  }

  private async begin(): Promise<Buffer> {
    await this.sent[0];
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
function asReport(error: unknown, path: string): Report {
  try {
    const { status, what, why } = failureOf(error, path);
    return { failure: { status, what, why } };
  } catch (fault) {
    return { fault: fault instanceof Error ? fault : new Error(String(fault)) };
  }
}
