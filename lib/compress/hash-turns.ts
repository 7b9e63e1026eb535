/**
 * Who hashes a layer: the thread that decompresses it (the producer) or the one that makes files of it (the reader),
 * whichever would otherwise wait for the other. With large files the reader waits for zlib; with small ones the
 * producer waits for the kernel. An image has both.
 *
 * The state of the hash is in memory that both threads share. Blocks are hashed in order. The producer hashes a block
 * when it has time for it; the reader hashes every block that arrives without a hash.
 */
import { contextBytes, Sha256 } from '../sys/libraries/sha256.js';

/** With so many blocks waiting for the reader, the producer has time to hash. */
const patience = 4;
const [hashed, taken, countBytes] = [0, 1, 8];

export class HashTurns {
  private readonly counts: Int32Array;
  private readonly sha256: Sha256;
  private offered = 0;

  /** The same turns in the other thread, given their memory. Only where `hasSha256()`. */
  constructor(readonly memory: SharedArrayBuffer) {
    this.counts = new Int32Array(memory, 0, 2);
    this.sha256 = new Sha256(Buffer.from(memory, countBytes, contextBytes));
  }

  static begin(): HashTurns {
    const turns = new HashTurns(new SharedArrayBuffer(countBytes + contextBytes));
    turns.sha256.begin();
    return turns;
  }

  /** Called by the producer with each block. Hashes it if there is time and it is its turn; returns whether it did. */
  offer(block: Buffer): boolean {
    const before = this.offered++;
    const isBehind = before - Atomics.load(this.counts, taken) >= patience;
    if (!isBehind || Atomics.load(this.counts, hashed) !== before) return false;
    this.hash(block);
    return true;
  }

  /** Hashes a block. All blocks before it have to be hashed already. */
  hash(block: Buffer): void {
    this.sha256.update(block);
    Atomics.add(this.counts, hashed, 1);
  }

  /** Called by the reader when it is done with a block. */
  took(): void {
    Atomics.add(this.counts, taken, 1);
  }

  /** The digest in hexadecimal. To be called once, when all blocks are hashed. */
  digest(): string {
    return this.sha256.end();
  }
}
