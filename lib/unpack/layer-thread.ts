/**
 * The body of the thread that decompresses and hashes layers, so that neither waits for the thread that makes files.
 * `thread.ts` starts it and speaks with it.
 */
import { createHash, type Hash } from 'node:crypto';
import { type MessagePort, parentPort } from 'node:worker_threads';
import { Ahead } from '../compress/ahead.js';
import { gunzip } from '../compress/gunzip.js';
import { Input } from '../compress/input.js';
import { failureOf } from '../pipe/failure.js';
import { received } from '../pipe/garbage.js';

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
/** Between decompressing and hashing. */
const aheadBytes = 512 * 1024;

parentPort?.on('message', (job: Job) => void serve(job));

async function serve({ port, fd, path, size, algorithm }: Job): Promise<void> {
  const ahead = new Ahead(aheadBytes);
  const blocks = new Blocks(port);
  const gone = () => {
    ahead.close();
    blocks.close();
  };
  port.once('close', gone);
  const input = new Input(fd, path, size);
  const decoded = gunzip(input, ahead).then(
    () => ahead.end(),
    (error) => ahead.end(error),
  );
  try {
    const digest = await pass(ahead, input, blocks, createHash(algorithm));
    port.postMessage({ digest } satisfies Report);
  } catch (error) {
    port.postMessage(asReport(error, path));
  } finally {
    gone();
    await decoded;
    await input.close();
  }
}

async function pass(ahead: Ahead, input: Input, blocks: Blocks, hash: Hash): Promise<string> {
  for (let chunk = await ahead.next(); chunk; chunk = await ahead.next()) {
    hash.update(chunk);
    received(chunk.length);
    await blocks.write(chunk, input.used);
  }
  blocks.flush(input.used);
  return hash.digest('hex');
}

/** Memory that travels: full to the reader, empty back. So there is never more of it, and none to be collected. */
class Blocks {
  private readonly free: ArrayBuffer[] = [];
  private made = 0;
  private filled = 0;
  private current: Buffer | undefined;
  private wake: (() => void) | undefined;
  private closed = false;

  constructor(private readonly port: MessagePort) {
    port.on('message', (block: ArrayBuffer) => {
      this.free.push(block);
      this.wake?.();
    });
  }

  async write(chunk: Buffer, used: number): Promise<void> {
    for (let at = 0; at < chunk.length && !this.closed; ) {
      this.current ??= Buffer.from(await this.empty());
      const taken = chunk.copy(this.current, this.filled, at);
      at += taken;
      this.filled += taken;
      if (this.filled === this.current.length) this.flush(used);
    }
  }

  flush(used: number): void {
    if (this.current === undefined || this.filled === 0 || this.closed) return;
    const block = this.current.buffer as ArrayBuffer;
    this.port.postMessage({ block, bytes: this.filled, used } satisfies Report, [block]);
    this.current = undefined;
    this.filled = 0;
  }

  close(): void {
    this.closed = true;
    this.wake?.();
  }

  private async empty(): Promise<ArrayBuffer> {
    while (this.free.length === 0 && this.made === blockCount && !this.closed) {
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
    const block = this.free.pop();
    if (block) return block;
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
