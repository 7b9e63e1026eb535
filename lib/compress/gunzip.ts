/** gzip data: RFC 1952. A file is one member or several in a row. Only NULs may follow the last one. */
import type { Gunzip } from 'node:zlib';
import { Failure } from '../base/failure.js';
import { Status } from '../base/status.js';
import { hasZlib, Inflater } from '../sys/libraries/zlib.js';
import { chunkBytes, type Input } from './input.js';
import { pour, writeTo } from './node-stream.js';
import type { Output } from './output.js';

/**
 * Decompresses all of `input` into `output`: by calls of zlib in this thread, or where these are not possible by Node's
 * stream, which uses the thread pool. Without `checks` gzip's own checksums are not checked if that can be avoided.
 * They take a tenth of the time, and callers that compare the digest of the content do not need them; RFC 1952, 2.3.1.2
 * leaves it open. Throws `Failure` 65 for damaged data.
 */
export function gunzip(input: Input, output: Output, checks: boolean): Promise<void> {
  return hasZlib() ? gunzipByCalls(input, output, checks) : gunzipByStream(input, output);
}

async function gunzipByCalls(input: Input, output: Output, checks: boolean): Promise<void> {
  const members = new Members(input.path, checks);
  try {
    for (let chunk = await input.read(); chunk.length > 0; chunk = await input.read()) {
      for (let at = 0; at < chunk.length || members.hasMore; ) {
        const room = output.room();
        const memory = room instanceof Promise ? await room : room;
        if (output.closed) return;
        const done = members.run(chunk, at, memory);
        at = done.at;
        output.filled(done.bytes);
      }
    }
    members.finish();
  } finally {
    members.close();
  }
}

/** The members of a file, and what stands between and after them. */
class Members {
  private readonly inflater: Inflater;
  private state: 'inside' | 'between' | 'padding' = 'inside';
  /** The last output was filled completely: more may come without further input. */
  hasMore = false;

  constructor(
    private readonly path: string,
    checks: boolean,
  ) {
    this.inflater = new Inflater(checks);
  }

  /**
   * Decompresses `chunk` from `at` on into `memory`. Returns how far it came in `chunk`, and how many bytes it wrote.
   */
  run(chunk: Buffer, at: number, memory: Buffer): { at: number; bytes: number } {
    if (this.state === 'between') this.state = this.begin(chunk[at]!);
    if (this.state === 'padding') {
      checkNuls(chunk.subarray(at), this.path);
      return { at: chunk.length, bytes: 0 };
    }
    const done = this.inflater.run(chunk, at, memory);
    if (typeof done === 'string') throw damaged(this.path, done);
    if (done.ended) this.state = 'between';
    this.hasMore = !done.ended && done.bytes === memory.length;
    return done;
  }

  finish(): void {
    if (this.state === 'inside') throw cut(this.path);
  }

  close(): void {
    this.inflater.close();
  }

  private begin(first: number): 'inside' | 'padding' {
    if (first === 0) return 'padding';
    if (first !== magic) throw trailing(this.path);
    this.inflater.reset();
    return 'inside';
  }
}

/** RFC 1952, 2.3.1: ID1. */
const magic = 0x1f;

export async function gunzipByStream(input: Input, output: Output): Promise<void> {
  const stream = process.getBuiltinModule('node:zlib').createGunzip({ chunkSize: chunkBytes });
  const ended = new Promise<void>((resolve, reject) => {
    stream.on('end', resolve).on('error', (error: Error & { code?: string }) => {
      reject(error.code === 'Z_BUF_ERROR' ? cut(input.path) : damaged(input.path, error.message));
    });
  });
  // An error is thrown to whoever awaits a write below; here it must not count as unhandled.
  ended.catch(() => {});
  pour(stream, output);
  try {
    await feed(stream, input, output, ended);
  } finally {
    stream.destroy();
  }
}

async function feed(stream: Gunzip, input: Input, output: Output, ended: Promise<void>): Promise<void> {
  let given = 0;
  for (let chunk = await input.read(); chunk.length > 0; chunk = await input.read()) {
    if (output.closed) return;
    // Node ignores whatever follows a member when that begins with a NUL, so it is checked here.
    const over = given > stream.bytesWritten;
    given += chunk.length;
    if (!over) await writeTo(stream, chunk, ended);
    checkNuls(chunk.subarray(chunk.length - Math.min(chunk.length, given - stream.bytesWritten)), input.path);
  }
  stream.end();
  await ended;
}

function checkNuls(bytes: Buffer, path: string): void {
  if (bytes.some((byte) => byte !== 0)) throw trailing(path);
}

function trailing(path: string): Failure {
  return new Failure(Status.data, path, 'other data follows the gzip data');
}

function cut(path: string): Failure {
  return new Failure(Status.data, path, 'the gzip data is cut');
}

function damaged(path: string, why: string): Failure {
  return new Failure(Status.data, path, `the gzip data is damaged (${why})`);
}
