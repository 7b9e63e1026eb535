/**
 * SHA-256 with its state in memory of the caller, so that threads can share it. (An object of node:crypto belongs to
 * one thread.) The functions are those of the libcrypto inside Node. Source: openssl/sha.h, SHA256_Init(3).
 */

import { once } from '../../base/once.js';
import { libraryFunctions, type NativeFunction } from '../ffi/ffi.js';

/** `SHA256_CTX`: 28 words of 32 bits. */
export const contextBytes = 112;
const digestBytes = 32;

interface Library {
  init: NativeFunction;
  update: NativeFunction;
  final: NativeFunction;
}

/** Whether the functions can be called: a Node whose symbols were stripped does not show them. */
export function hasSha256(): boolean {
  return library() !== undefined;
}

/** SHA-256 in `context`, of `contextBytes`. Only where `hasSha256()`. */
export class Sha256 {
  private readonly functions = library()!;

  constructor(private readonly context: Buffer) {}

  begin(): void {
    this.functions.init(this.context);
  }

  update(bytes: Buffer): void {
    this.functions.update(this.context, bytes, bytes.length);
  }

  /** The digest in hexadecimal. The state is of no use any more. */
  end(): string {
    const digest = Buffer.alloc(digestBytes);
    this.functions.final(digest, this.context);
    return digest.toString('hex');
  }
}

const library = once((): Library | undefined => {
  const crypto = libraryFunctions(null);
  if (!crypto?.has('SHA256_Init')) return undefined;
  return {
    init: crypto.plain('SHA256_Init', ['void *']),
    update: crypto.plain('SHA256_Update', ['void *', 'void *', 'int64_t']),
    final: crypto.plain('SHA256_Final', ['void *', 'void *']),
  };
});
