/**
 * zstd data: RFC 8878. Each frame goes to a decoder by itself: to libzstd where that can be called, otherwise to Node's
 * stream (22.15 and later). They are the same code, but Node needs a new stream for each frame, so that layers of many
 * small frames take five times as long.
 */

import type { Transform } from 'node:stream';
import { finished } from 'node:stream/promises';
import * as zlib from 'node:zlib';
import { Failure } from '../base/failure.js';
import { Status } from '../base/status.js';
import { hasZstd, ZstdContext } from '../sys/libraries/zstd.js';
import { chunkBytes, type Input } from './input.js';
import { pour, writeTo } from './node-stream.js';
import type { Output } from './output.js';
import { FrameWalker } from './zstd-frames.js';

export interface FrameDecoder {
  /** Takes the next bytes of a frame; `last` when they end it. */
  write(bytes: Buffer, last: boolean): Promise<void>;
  close(): void;
}

export type MakeDecoder = (path: string, output: Output) => FrameDecoder;

/** Decompresses all of `input` into `output`. Throws `Failure` 65 for damaged data, and where there is no decoder. */
export async function unzstd(input: Input, output: Output, make = libraryDecoder() ?? nodeDecoder()): Promise<void> {
  if (!make) {
    throw new Failure(Status.data, input.path, 'this Node.js has no zstd, and libzstd.so.1 is not there', {
      hint: 'install libzstd, or Node.js 22.15 or later',
    });
  }
  const walker = new FrameWalker(input.path);
  const decoder = make(input.path, output);
  try {
    for (let chunk = await input.read(); chunk.length > 0; chunk = await input.read()) {
      for (const { bytes, last } of walker.push(chunk)) {
        if (output.closed) return;
        await decoder.write(bytes, last);
      }
    }
    walker.finish();
  } finally {
    decoder.close();
  }
}

export function libraryDecoder(): MakeDecoder | undefined {
  return hasZstd() ? (path, output) => new LibraryDecoder(path, output) : undefined;
}

export function nodeDecoder(): MakeDecoder | undefined {
  const create: unknown = Reflect.get(zlib, 'createZstdDecompress');
  if (typeof create !== 'function') return undefined;
  return (path, output) => new NodeDecoder(() => create({ chunkSize: chunkBytes }), path, output);
}

/** A new stream for each frame: Node's stream silently ends after the first one, and ignores those that follow. */
class NodeDecoder implements FrameDecoder {
  private stream: Transform | undefined;
  private ended: Promise<void> = Promise.resolve();

  constructor(
    private readonly create: () => Transform,
    private readonly path: string,
    private readonly output: Output,
  ) {}

  async write(bytes: Buffer, last: boolean): Promise<void> {
    this.stream ??= this.begin();
    const { stream, ended } = this;
    if (last) {
      stream.end(bytes);
      this.stream = undefined;
      await ended;
    } else {
      await writeTo(stream, bytes, ended);
    }
  }

  close(): void {
    this.stream?.destroy();
  }

  private begin(): Transform {
    const stream = this.create();
    pour(stream, this.output);
    this.ended = finished(stream).catch((error: unknown) => {
      throw damaged(this.path, error instanceof Error ? error.message : String(error), error);
    });
    // An error is thrown to whoever awaits a write; here it must not count as unhandled.
    this.ended.catch(() => {});
    return stream;
  }
}

class LibraryDecoder implements FrameDecoder {
  private readonly context = new ZstdContext();

  constructor(
    private readonly path: string,
    private readonly output: Output,
  ) {}

  async write(bytes: Buffer, last: boolean): Promise<void> {
    for (let at = 0, full = true; full || at < bytes.length; ) {
      const memory = await this.output.room();
      if (this.output.closed) return;
      const done = await this.context.run(bytes, at, memory);
      if (done.hint < 0) throw damaged(this.path, `error ${-done.hint}`);
      this.output.filled(done.bytes);
      at = done.at;
      // Within a frame, a full output may mean that more is waiting inside libzstd; at its end nothing is.
      full = done.bytes === memory.length && done.hint !== 0;
      if (last && at === bytes.length && !full && done.hint !== 0) throw damaged(this.path, 'a frame is not complete');
    }
  }

  close(): void {
    this.context.close();
  }
}

function damaged(path: string, why: string, cause?: unknown): Failure {
  return new Failure(Status.data, path, `the zstd data is damaged (${why})`, { cause });
}
