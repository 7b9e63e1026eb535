/** Bytes that the embedded registry serves: held in memory, in a file, or made as they are read. */
import { createHash } from 'node:crypto';
import { createReadStream, statSync } from 'node:fs';

export interface Content {
  /** Bytes. */
  readonly size: number;
  /** The bytes from `start` up to, not including, `end`. */
  read(start: number, end: number): AsyncIterable<Buffer>;
}

export function inMemory(data: Buffer | string): Content {
  const bytes = Buffer.isBuffer(data) ? data : Buffer.from(data);
  return {
    size: bytes.length,
    async *read(start, end) {
      for (let at = start; at < end; at += 65536) yield bytes.subarray(at, Math.min(end, at + 65536));
    },
  };
}

/** A file, read anew for each request: for what is too large to hold. */
export function inFile(path: string): Content {
  return {
    size: statSync(path).size,
    async *read(start, end) {
      if (start < end) yield* createReadStream(path, { start, end: end - 1, highWaterMark: 1 << 20 });
    },
  };
}

/** `size` bytes of one value: a body of any length that takes no memory. */
export function filler(size: number, value = 0): Content {
  const block = Buffer.alloc(65536, value);
  return {
    size,
    async *read(start, end) {
      for (let at = start; at < end; at += block.length) yield block.subarray(0, Math.min(block.length, end - at));
    },
  };
}

/** `sha256:` and the hash of a buffer or string. */
export function digestOf(data: Buffer | string, algorithm = 'sha256'): string {
  return `${algorithm}:${createHash(algorithm).update(data).digest('hex')}`;
}

export async function digestOfContent(content: Content, algorithm = 'sha256'): Promise<string> {
  const hash = createHash(algorithm);
  for await (const chunk of content.read(0, content.size)) hash.update(chunk);
  return `${algorithm}:${hash.digest('hex')}`;
}
