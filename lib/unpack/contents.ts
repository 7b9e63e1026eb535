/**
 * What is still to be done for a file that is open: content, mode, times, closing. It hangs on the descriptor and no longer
 * on a name, so nothing that happens to names meanwhile changes what comes of it. For many files it is done in one go, which
 * takes less time than a call from JavaScript for each step. Under `-x` it is done one by one, to be seen.
 */
import type { Failure } from '../pipe/failure.js';
import { tracing } from '../pipe/trace.js';
import { Batch } from '../sys/batch.js';
import { close, fchmod, utimensat, write } from '../sys/calls.js';
import { addressOf } from '../sys/ffi.js';
import { type Syscall, SyscallError } from '../sys/syscall.js';
import type { ByteString } from './bytes.js';
import { mayOpenMany } from './descriptors.js';
import { entryFailure } from './entry-failure.js';
import type { Time } from './pax.js';
import { timespecs, timespecsBytes, writeTimespecs } from './timespec.js';

/** A file that only has to be finished. */
export interface OpenFile {
  fd: number;
  path: ByteString;
  /** All of it; it must stay as it is until `flush`. */
  content: Buffer | undefined;
  /** To be set after the content, which would take setuid away; `undefined` when it is right already. */
  mode: number | undefined;
  mtime: Time;
}

const filesAtOnce = 64;

export class Contents {
  private readonly batch = tracing() || !mayOpenMany() ? undefined : new FileBatch();

  /** Takes a file over. Throws `Failure`, for an earlier file it may be. */
  finish(file: OpenFile): void {
    if (!this.batch) {
      finishNow(file);
      return;
    }
    this.batch.add(file);
    if (this.batch.isFull) this.batch.run();
  }

  /** Completes all files: to be called before the memory of their content is used for something else. */
  flush(): void {
    this.batch?.run();
  }

  /** After a failure: lets go of the files that nobody will complete. */
  abandon(): void {
    this.batch?.abandon();
  }
}

/** Files whose calls are made together. */
class FileBatch {
  private readonly batch = new Batch(filesAtOnce * 4);
  private readonly times = Buffer.alloc(filesAtOnce * timespecsBytes);
  private readonly timesAt = Number(addressOf(this.times));
  private readonly files: OpenFile[] = [];
  /** By place in the batch: the call, and whose it is. */
  private readonly calls: { call: Syscall; file: OpenFile }[] = [];
  /** Where the memory of the last content is: pieces of an archive hold many. */
  private memory: ArrayBufferLike | undefined;
  private memoryAt = 0;

  get isFull(): boolean {
    return this.files.length === filesAtOnce;
  }

  add(file: OpenFile): void {
    const { fd, content, mode, mtime } = file;
    const at = this.files.length * timespecsBytes;
    writeTimespecs(this.times, at, mtime);
    this.files.push(file);
    if (content) this.call(write, file, content.length, fd, this.addressOf(content), content.length);
    if (mode !== undefined) this.call(fchmod, file, 0, fd, mode);
    this.call(utimensat, file, 0, fd, 0, this.timesAt + at);
    this.call(close, file, 0, fd);
  }

  run(): void {
    let failure: Failure | undefined;
    // It stops at its end, or at a call that did not do what it should. The others are made all the same.
    for (let at = this.batch.run(); at < this.batch.size; at = this.batch.run(at + 1)) failure ??= this.mended(at);
    this.clear();
    if (failure) throw failure;
  }

  abandon(): void {
    for (const { fd } of this.files) close.try(fd);
    this.clear();
  }

  private call(call: unknown, file: OpenFile, expected: number, a: number, b = 0, c = 0): void {
    this.calls.push({ call: call as Syscall, file });
    this.batch.add(call as Syscall, expected, a, b, c);
  }

  private mended(place: number): Failure | undefined {
    const { call, file } = this.calls[place]!;
    const result = this.batch.result(place);
    try {
      if (result < 0) throw new SyscallError(call.callName, -result, `${call.callName}(${file.fd}, ...)`);
      // A part of the content: the rest of it, or why there is no more.
      if (file.content) writeAll(file.fd, file.content.subarray(result));
      return undefined;
    } catch (error) {
      return entryFailure(error, file.path);
    }
  }

  private clear(): void {
    this.files.length = 0;
    this.calls.length = 0;
    this.batch.clear();
  }

  private addressOf(content: Buffer): number {
    if (content.buffer !== this.memory) {
      this.memory = content.buffer;
      this.memoryAt = Number(addressOf(content)) - content.byteOffset;
    }
    return this.memoryAt + content.byteOffset;
  }
}

function finishNow({ fd, content, mode, mtime }: OpenFile): void {
  if (content) writeAll(fd, content);
  if (mode !== undefined) fchmod(fd, mode);
  utimensat(fd, null, timespecs(mtime), 0);
  close(fd);
}

/** Throws `SyscallError`. */
export function writeAll(fd: number, bytes: Buffer): void {
  for (let rest = bytes; rest.length > 0; ) rest = rest.subarray(write(fd, rest, rest.length));
}
