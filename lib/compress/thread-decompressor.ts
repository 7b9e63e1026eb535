/**
 * Layers that are decompressed and hashed by another thread, `layer-thread.ts`: the side of the thread that unpacks.
 */
import type { MessagePort, Worker } from 'node:worker_threads';
import { Failure } from '../base/failure.js';
import { hasSha256 } from '../sys/libraries/sha256.js';
import { BoundedQueue } from './bounded-queue.js';
import type { ContentDigest, Decompressor, LayerBytes, OpenLayer } from './decompress.js';
import { HashTurns } from './hash-turns.js';
import type { Job, Report } from './layer-thread.js';

export class ThreadDecompressor implements Decompressor {
  private worker: Worker | undefined;
  private readonly open = new Set<ThreadBytes>();

  /**
   * `file` is the thread's program. It starts with the first layer of `worthBytes` or more: for less it would cost more
   * than it saves.
   */
  constructor(
    private readonly file: string,
    readonly worthBytes = 3 * 1024 * 1024,
  ) {}

  /**
   * Begins to decompress the gzip data in an open file. The thread closes the file when it is done. Undefined where the
   * machine allows this process no more threads.
   */
  gunzip({ fd, path, size }: OpenLayer, { algorithm, isCompared }: ContentDigest): LayerBytes | undefined {
    this.worker ??= this.start();
    if (!this.worker) return undefined;
    const { MessageChannel } = process.getBuiltinModule('node:worker_threads');
    const { port1, port2 } = new MessageChannel();
    const turns = algorithm === 'sha256' && hasSha256() ? HashTurns.begin() : undefined;
    const job: Job = { port: port2, fd, path, algorithm, checks: !isCompared, turns: turns?.memory };
    this.worker.postMessage(job, [port2]);
    const bytes = new ThreadBytes(size, port1, turns, () => this.open.delete(bytes));
    this.open.add(bytes);
    return bytes;
  }

  private start(): Worker | undefined {
    const worker = newWorker(this.file);
    if (!worker) return undefined;
    worker.unref();
    worker.on('error', (error) => {
      // Messages to a dead thread are lost, so the next layer has to get a new one.
      if (this.worker === worker) this.worker = undefined;
      for (const bytes of this.open) bytes.fail(error);
    });
    return worker;
  }
}

function newWorker(file: string): Worker | undefined {
  // Loaded only now, since an image of small layers needs no thread.
  const { Worker } = process.getBuiltinModule('node:worker_threads');
  try {
    // It makes few objects, so a small heap is enough. It may close files that it has not opened (trackUnmanagedFds).
    return new Worker(file, { resourceLimits: { maxYoungGenerationSizeMb: 2 }, trackUnmanagedFds: false });
  } catch (error) {
    // pthread_create(3) gives EAGAIN: the limits on processes, of a user and of a container, count threads.
    if (error instanceof Error && 'code' in error && error.code === 'ERR_WORKER_INIT_FAILED') return undefined;
    throw error;
  }
}

class ThreadBytes implements LayerBytes {
  private readonly ready = new BoundedQueue(Number.POSITIVE_INFINITY);
  private readonly positions: number[] = [];
  private current: Buffer | undefined;
  private hex = '';
  used = 0;

  constructor(
    readonly size: number,
    private readonly port: MessagePort,
    private readonly turns: HashTurns | undefined,
    private readonly closed: () => void,
  ) {
    const { receiveMessageOnPort } = process.getBuiltinModule('node:worker_threads');
    const more = () => receiveMessageOnPort(port)?.message as Report | undefined;
    // Takes all reports that have arrived: the thread can hash a block only after this side has dealt with those
    // before.
    port.on('message', (report: Report) => {
      for (let it: Report | undefined = report; it; it = more()) this.take(it);
    });
  }

  async next(): Promise<Buffer | undefined> {
    this.giveBack();
    this.current = await this.ready.next();
    if (this.current) this.used = this.positions.shift()!;
    return this.current;
  }

  digest(): string {
    return this.turns?.digest() ?? this.hex;
  }

  async close(): Promise<void> {
    this.ready.close();
    this.port.close();
    this.closed();
  }

  fail(error: unknown): void {
    this.ready.end(error);
  }

  /** Returns the current block to the thread, which fills the same memory again. */
  private giveBack(): void {
    const block = this.current?.buffer as ArrayBuffer | undefined;
    if (block) {
      this.port.postMessage(block, [block]);
      this.turns?.took();
    }
    this.current = undefined;
  }

  private take(report: Report): void {
    if ('block' in report) {
      const block = Buffer.from(report.block, 0, report.bytes);
      if (!report.isHashed) this.turns?.hash(block);
      this.positions.push(report.used);
      this.ready.offer(block);
    } else if ('digest' in report) {
      this.hex = report.digest ?? '';
      this.ready.end();
    } else if ('failure' in report) {
      const { status, what, why } = report.failure;
      this.fail(new Failure(status, what, why));
    } else {
      this.fail(report.fault);
    }
  }
}
