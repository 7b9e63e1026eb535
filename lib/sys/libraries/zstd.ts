/**
 * Decompression by libzstd: the one inside Node if Node has zstd (22.15 and later), otherwise the machine's. In a Node
 * with zstd the machine's must not be used: its internal calls would reach functions of the same names in Node, of
 * another version. zstd.h documents it.
 */
import * as zlib from 'node:zlib';
import { once } from '../../base/once.js';
import { type AsyncFunction, type FfiType, libraryFunctions, type NativeFunction } from '../ffi/ffi.js';

interface Library {
  create: NativeFunction;
  free: NativeFunction;
  decompress: NativeFunction;
  decompressAside: AsyncFunction;
}

/** Bytes. Less input is decompressed in this thread, since that is faster than asking the thread pool. */
const smallBytes = 4096;

/** Whether libzstd is there. */
export function hasZstd(): boolean {
  return library() !== undefined;
}

/** A decompression context, only where `hasZstd()`. Frames may come in pieces. The caller has to know where a frame ends. */
export class ZstdContext {
  private readonly functions = library()!;
  private readonly context = this.functions.create();
  private readonly produced = Buffer.alloc(8);
  private readonly consumed = Buffer.alloc(8);

  /**
   * Decompresses `input` from `at` on into `output`, in the thread pool unless it is small. `hint` is 0 at the end of a
   * frame, and negative for damage.
   */
  async run(input: Buffer, at: number, output: Buffer): Promise<{ hint: number; at: number; bytes: number }> {
    this.produced.fill(0);
    this.consumed.writeBigUInt64LE(BigInt(at));
    const { functions, context, produced, consumed } = this;
    const decompress = input.length - at < smallBytes ? functions.decompress : functions.decompressAside;
    const hint = await decompress(context, output, output.length, produced, input, input.length, consumed);
    return { hint, at: Number(consumed.readBigUInt64LE()), bytes: Number(produced.readBigUInt64LE()) };
  }

  close(): void {
    this.functions.free(this.context);
  }
}

const library = once((): Library | undefined => {
  const zstd = libraryFunctions('createZstdDecompress' in zlib ? null : 'libzstd.so.1');
  if (!zstd?.has('ZSTD_decompressStream_simpleArgs')) return undefined;
  const name = 'ZSTD_decompressStream_simpleArgs';
  const types: FfiType[] = ['int64_t', 'void *', 'int64_t', 'void *', 'void *', 'int64_t', 'void *'];
  return {
    create: zstd.plain('ZSTD_createDCtx', []),
    free: zstd.plain('ZSTD_freeDCtx', ['int64_t']),
    decompress: zstd.plain(name, types),
    decompressAside: zstd.async(name, types),
  };
});
