/** Layers that another thread decompresses and hashes: what `layer-thread.ts` does, seen from the thread that unpacks. */
import type { MessagePort, Worker } from 'node:worker_threads';
import { Ahead } from '../compress/ahead.js';
import type { ContentDigest, Decompressor, Source } from '../compress/decompress.js';
import { Failure } from '../pipe/failure.js';
import { hasSha256 } from '../sys/sha256.js';
import { HashTurns } from './hash-turns.js';
import type { Job, Report } from './layer-thread.js';

export class LayerThread implements Decompressor {
  private worker: Worker | undefined;
  private readonly open = new Set<ThreadSource>();

  /** `file` is the program of the thread, started for the first layer of `worthBytes`: for less it takes longer than it saves. */
  constructor(
    private readonly file: string,
    readonly worthBytes = 3 * 1024 * 1024,
  ) {}

  /** Begins to decompress gzip data in an open file, which is the thread's from now on. */
  gunzip(file: { fd: number; path: string; size: number }, { algorithm, isCompared }: ContentDigest): Source {
    this.worker ??= this.start();
    const { MessageChannel, receiveMessageOnPort } = process.getBuiltinModule('node:worker_threads');
    const { port1, port2 } = new MessageChannel();
    const turns = algorithm === 'sha256' && hasSha256() ? HashTurns.begin() : undefined;
    const job: Job = { port: port2, ...file, algorithm, checks: !isCompared, turns: turns?.memory };
    this.worker.postMessage(job, [port2]);
    const more = () => receiveMessageOnPort(port1)?.message as Report | undefined;
    const source = new ThreadSource(port1, more, turns, () => this.open.delete(source));
    this.open.add(source);
    return source;
  }

  private start(): Worker {
    // Its objects are few and small: what it works on is outside of its heap.
    // It closes files that were opened here. Loaded only now: an image of small layers does without.
    const { Worker } = process.getBuiltinModule('node:worker_threads');
    const worker = new Worker(this.file, { resourceLimits: { maxYoungGenerationSizeMb: 2 }, trackUnmanagedFds: false });
    worker.unref();
    worker.on('error', (error) => {
      // What is said to a dead thread, nobody hears: the next layer gets another.
      if (this.worker === worker) this.worker = undefined;
      for (const source of this.open) source.fail(error);
    });
    return worker;
  }
}

class ThreadSource implements Source {
  private readonly ready = new Ahead(Number.POSITIVE_INFINITY);
  private readonly positions: number[] = [];
  private current: Buffer | undefined;
  private hex = '';
  used = 0;

  constructor(
    private readonly port: MessagePort,
    more: () => Report | undefined,
    private readonly turns: HashTurns | undefined,
    private readonly closed: () => void,
  ) {
    // All that is there, since the thread waits with hashing until none before it is left.
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

  /** The thread fills the same memory again. */
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
