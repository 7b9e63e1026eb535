/**
 * Calls the zlib inside Node to decompress into memory of the caller. The stream of node:zlib allocates new memory for
 * each piece of output, which takes as long as hashing it. Source: zlib.h.
 */

import { once } from '../../base/once.js';
import { addressOf, libraryFunctions, type NativeFunction, textAt } from '../ffi/ffi.js';

/** `struct z_stream` where pointers and `unsigned long` have 8 bytes, and where its fields are. */
const streamBytes = 112;
const field = { nextIn: 0, availableIn: 8, nextOut: 24, availableOut: 32, message: 48 };
/** The largest window, and gzip alone: inflateInit2. */
const gzipWindow = 15 + 16;
const result = { ok: 0, streamEnd: 1, bufferError: -5 };
/** The library looks at the first digit only. */
const version = Buffer.from('1\0');

interface Library {
  init: NativeFunction;
  inflate: NativeFunction;
  reset: NativeFunction;
  validate: NativeFunction;
  end: NativeFunction;
}

/** Whether zlib can be called: not in a Node whose symbols were stripped. */
export function hasZlib(): boolean {
  return library() !== undefined;
}

/** The result of `Inflater.run`. */
interface Inflated {
  /** The position in the input up to which it was read. */
  at: number;
  /** Bytes of output. */
  bytes: number;
  /** The end of the gzip member was reached. With `checks`, its checksum is right. */
  ended: boolean;
}

/** Decompresses gzip members, one after the other. */
export class Inflater {
  private readonly functions = library()!;
  private readonly stream = Buffer.alloc(streamBytes);

  /**
   * Only where `hasZlib()`. Without `checks` the checksums of the members are passed over. Throws when there is no
   * memory.
   */
  constructor(checks: boolean) {
    const code = asInt(this.functions.init(this.stream, gzipWindow, version, streamBytes));
    if (code !== result.ok) throw new Error(`inflateInit2: error ${code}`);
    if (!checks) this.functions.validate(this.stream, 0);
  }

  /**
   * Decompresses `input` from `at` on into `output`, until one of them is used up or the member ends. For damaged data
   * it returns a few words about what is wrong.
   */
  run(input: Buffer, at: number, output: Buffer): Inflated | string {
    const { stream } = this;
    const available = input.length - at;
    stream.writeBigUInt64LE(addressOf(input) + BigInt(at), field.nextIn);
    stream.writeUInt32LE(available, field.availableIn);
    stream.writeBigUInt64LE(addressOf(output), field.nextOut);
    stream.writeUInt32LE(output.length, field.availableOut);
    const code = asInt(this.functions.inflate(stream, 0));
    if (code !== result.ok && code !== result.streamEnd && code !== result.bufferError) {
      return this.message() ?? `error ${code} of zlib`;
    }
    return {
      at: input.length - stream.readUInt32LE(field.availableIn),
      bytes: output.length - stream.readUInt32LE(field.availableOut),
      ended: code === result.streamEnd,
    };
  }

  /** Another member follows. */
  reset(): void {
    this.functions.reset(this.stream);
  }

  close(): void {
    this.functions.end(this.stream);
  }

  /** The library's own words for what is wrong. */
  private message(): string | undefined {
    const address = this.stream.readBigUInt64LE(field.message);
    return address === 0n ? undefined : textAt(address);
  }
}

/** The result of a C function that returns an int: the upper half of its register may be anything. */
function asInt(value: number): number {
  return Number(BigInt.asIntN(32, BigInt(value)));
}

/** The zlib that Node itself uses, found by its symbols: it may be a part of Node or a library of the system. */
const library = once((): Library | undefined => {
  const zlib = libraryFunctions(null);
  if (!zlib?.has('inflateInit2_') || !zlib.has('inflateValidate')) return undefined;
  return {
    init: zlib.plain('inflateInit2_', ['void *', 'int64_t', 'void *', 'int64_t']),
    inflate: zlib.plain('inflate', ['void *', 'int64_t']),
    reset: zlib.plain('inflateReset', ['void *']),
    validate: zlib.plain('inflateValidate', ['void *', 'int64_t']),
    end: zlib.plain('inflateEnd', ['void *']),
  };
});
