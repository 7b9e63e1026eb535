/**
 * Who hashes the content of a layer: the thread that decompresses it, or the one that makes files of it, whichever waits
 * for the other. Large files wait for zlib, small ones for the kernel, and an image has both.
 *
 * The state of the hash lies in memory that both see. A block is hashed after all before it, by its producer or by its
 * reader: what the producer leaves, the reader hashes when it comes.
 */
import { contextBytes, Sha256 } from '../sys/sha256.js';

/** Blocks that lie before the reader when the producer has time to hash. */
const patience = 4;
const [hashed, taken, countBytes] = [0, 1, 8];

export class HashTurns {
  readonly #counts: Int32Array;
  readonly #hash: Sha256;
  #offered = 0;

  /** With the memory of the other thread's. Only where `hasSha256()`. */
  constructor(readonly memory: SharedArrayBuffer) {
    this.#counts = new Int32Array(memory, 0, 2);
    this.#hash = new Sha256(Buffer.from(memory, countBytes, contextBytes));
  }

  static begin(): HashTurns {
    const turns = new HashTurns(new SharedArrayBuffer(countBytes + contextBytes));
    turns.#hash.begin();
    return turns;
  }

  /** For the producer, of each block in turn: whether it hashed it. */
  offer(block: Buffer): boolean {
    const before = this.#offered++;
    const isBehind = before - Atomics.load(this.#counts, taken) >= patience;
    if (!isBehind || Atomics.load(this.#counts, hashed) !== before) return false;
    this.hash(block);
    return true;
  }

  /** Hashes a block, the next one after those that are hashed. */
  hash(block: Buffer): void {
    this.#hash.update(block);
    Atomics.add(this.#counts, hashed, 1);
  }

  /** The reader is done with a block. */
  took(): void {
    Atomics.add(this.#counts, taken, 1);
  }

  /** In hexadecimal, when all blocks are hashed; once. */
  digest(): string {
    return this.#hash.end();
  }
}
