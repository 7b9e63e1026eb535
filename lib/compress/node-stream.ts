/** A stream of Node's that decompresses, between an `Input` and an `Output`. */
import type { Transform } from 'node:stream';
import { copyTo, type Output } from './output.js';

/** Passes on what comes out of the stream, no faster than `output` takes it. */
export function pour(stream: Transform, output: Output): void {
  stream.on('data', (chunk: Buffer) => {
    stream.pause();
    void copyTo(output, chunk).then(() => stream.resume());
  });
}

/** Resolves when the stream has taken the bytes. Rejects as `ended` does, which is the end of the stream. */
export async function writeTo(stream: Transform, bytes: Buffer, ended: Promise<void>): Promise<void> {
  await Promise.race([ended, new Promise<void>((resolve) => stream.write(bytes, () => resolve()))]);
}
