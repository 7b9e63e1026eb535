/**
 * Decompression by libzstd: the one inside Node where Node has zstd (22.15 and later), else the machine's. Never the
 * machine's in such a Node: its calls to itself would reach the functions of the same names in Node, of another version.
 * zstd.h documents it.
 */
import * as zlib from 'node:zlib';
import { type AsyncFunction, libraryFunctions, type NativeFunction } from './ffi.js';

interface Library {
  create: NativeFunction;
  free: NativeFunction;
  decompress: AsyncFunction;
}

let library: Library | undefined | null;

/** Whether libzstd is there. */
export function hasZstd(): boolean {
  return load() !== undefined;
}

/** A decompression context. Frames may come in pieces; whoever feeds it tells where one ends. */
export class ZstdContext {
  private readonly library: Library;
  private readonly context: number | bigint;
  private readonly produced = Buffer.alloc(8);
  private readonly consumed = Buffer.alloc(8);

  /** Only where `hasZstd()`. */
  constructor() {
    const found = load();
    if (!found) throw new Error('libzstd is not there');
    this.library = found;
    this.context = found.create();
  }

  /**
   * Decompresses `input` from `at` on into `output`, in the thread pool. `hint` is 0 at the end of a frame, and negative
   * for damage.
   */
  async run(input: Buffer, at: number, output: Buffer): Promise<{ hint: number; at: number; bytes: number }> {
    this.produced.fill(0);
    this.consumed.writeBigUInt64LE(BigInt(at));
    const { library, context, produced, consumed } = this;
    const hint = await library.decompress(context, output, output.length, produced, input, input.length, consumed);
    return { hint, at: Number(consumed.readBigUInt64LE()), bytes: Number(produced.readBigUInt64LE()) };
  }

  close(): void {
    this.library.free(this.context);
  }
}

function load(): Library | undefined {
  if (library === undefined) library = open() ?? null;
  return library ?? undefined;
}

function open(): Library | undefined {
  const zstd = libraryFunctions('createZstdDecompress' in zlib ? null : 'libzstd.so.1');
  if (!zstd?.has('ZSTD_decompressStream_simpleArgs')) return undefined;
  return {
    create: zstd.plain('ZSTD_createDCtx', []),
    free: zstd.plain('ZSTD_freeDCtx', ['int64_t']),
    decompress: zstd.async('ZSTD_decompressStream_simpleArgs', [
      'int64_t',
      'void *',
      'int64_t',
      'void *',
      'void *',
      'int64_t',
      'void *',
    ]),
  };
}
