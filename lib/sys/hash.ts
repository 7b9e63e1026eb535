/**
 * Hashing in Node's thread pool, by the OpenSSL inside Node called as functions: node:crypto hashes in the thread that asks.
 * Source: EVP_DigestInit(3).
 */
import { createHash } from 'node:crypto';
import { type AsyncFunction, libraryFunctions, type NativeFunction } from './ffi.js';
import { once } from './once.js';

/** The most bytes of a digest: EVP_MAX_MD_SIZE. */
const maxDigestBytes = 64;

export interface PoolHash {
  /** Hashes bytes, which must stay as they are until it is done; one call after the other has ended. */
  update(bytes: Buffer): Promise<void>;
  /** The digest in hexadecimal; once, at the end. */
  digest(): string;
  /** Lets go of memory; no update may be under way. */
  close(): void;
}

interface Library {
  create: NativeFunction;
  free: NativeFunction;
  algorithm: NativeFunction;
  init: NativeFunction;
  update: AsyncFunction;
  final: NativeFunction;
}

const library = once((): Library | undefined => {
  const openssl = libraryFunctions(null);
  if (!openssl?.has('EVP_DigestUpdate')) return undefined;
  return {
    create: openssl.plain('EVP_MD_CTX_new', []),
    free: openssl.plain('EVP_MD_CTX_free', ['int64_t']),
    algorithm: openssl.plain('EVP_get_digestbyname', ['void *']),
    init: openssl.plain('EVP_DigestInit_ex', ['int64_t', 'int64_t', 'int64_t']),
    update: openssl.async('EVP_DigestUpdate', ['int64_t', 'void *', 'int64_t']),
    final: openssl.plain('EVP_DigestFinal_ex', ['int64_t', 'void *', 'void *']),
  };
});

/** Begins a hash: `sha256` or `sha512`. Where a Node does not show its OpenSSL, this thread hashes. */
export function poolHash(algorithm: string): PoolHash {
  const functions = library();
  return functions ? new OpensslHash(functions, algorithm) : hashHere(algorithm);
}

class OpensslHash implements PoolHash {
  private readonly context: number | bigint;

  constructor(
    private readonly functions: Library,
    algorithm: string,
  ) {
    this.context = functions.create();
    const type = functions.algorithm(Buffer.from(`${algorithm}\0`));
    succeed(functions.init(this.context, type, 0), `EVP_DigestInit_ex for ${algorithm}`);
  }

  async update(bytes: Buffer): Promise<void> {
    succeed(await this.functions.update(this.context, bytes, bytes.length), 'EVP_DigestUpdate');
  }

  digest(): string {
    const digest = Buffer.alloc(maxDigestBytes);
    const size = Buffer.alloc(4);
    succeed(this.functions.final(this.context, digest, size), 'EVP_DigestFinal_ex');
    return digest.toString('hex', 0, size.readUInt32LE());
  }

  close(): void {
    this.functions.free(this.context);
  }
}

/** C says nothing of the upper half of a register that returns an int. */
function succeed(result: number, call: string): void {
  if (BigInt.asIntN(32, BigInt(result)) !== 1n) throw new Error(`${call} of OpenSSL failed`);
}

function hashHere(algorithm: string): PoolHash {
  const hash = createHash(algorithm);
  return {
    update: async (bytes) => void hash.update(bytes),
    digest: () => hash.digest('hex'),
    close: () => {},
  };
}
