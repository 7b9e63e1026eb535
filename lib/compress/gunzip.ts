/** gzip data: RFC 1952. Several members in a row are one file; NULs may follow, and nothing else. */
import { createGunzip, type Gunzip } from 'node:zlib';
import { Failure } from '../pipe/failure.js';
import { Status } from '../pipe/status.js';
import type { Ahead } from './ahead.js';
import { chunkBytes, type Input } from './input.js';

export async function gunzip(input: Input, output: Ahead): Promise<void> {
  const stream = createGunzip({ chunkSize: chunkBytes });
  const ended = new Promise<void>((resolve, reject) => {
    stream.on('end', resolve).on('error', (error) => reject(damaged(input.path, error)));
  });
  // Whoever waits for a write to be done hears of an error there first.
  ended.catch(() => {});
  stream.on('data', (chunk: Buffer) => {
    if (output.offer(chunk)) return;
    stream.pause();
    output.room().then(() => stream.resume());
  });
  try {
    await feed(stream, input, output, ended);
  } finally {
    stream.destroy();
  }
}

async function feed(stream: Gunzip, input: Input, output: Ahead, ended: Promise<void>): Promise<void> {
  let given = 0;
  for (let chunk = await input.read(); chunk.length > 0; chunk = await input.read()) {
    if (output.closed) return;
    const piece = chunk;
    // Node takes no notice of what stands behind the end of a member when it begins with a NUL.
    const over = given > stream.bytesWritten;
    given += piece.length;
    if (over) checkNuls(piece, input.path);
    else await Promise.race([ended, new Promise<void>((resolve) => stream.write(piece, () => resolve()))]);
    checkNuls(piece.subarray(piece.length - Math.min(piece.length, given - stream.bytesWritten)), input.path);
  }
  stream.end();
  await ended;
}

function checkNuls(bytes: Buffer, path: string): void {
  if (bytes.some((byte) => byte !== 0)) throw new Failure(Status.data, path, 'other data follows the gzip data');
}

function damaged(path: string, error: Error & { code?: string }): Failure {
  const isCut = error.code === 'Z_BUF_ERROR';
  const why = isCut ? 'the gzip data is cut' : `the gzip data is damaged (${error.message})`;
  return new Failure(Status.data, path, why, { cause: error });
}
