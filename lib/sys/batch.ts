/**
 * System calls that are written down and then made in one go by a few instructions of machine code (machine-code.ts). What
 * a call costs in JavaScript is then a few numbers in a table.
 */
import { addressOf, callCode } from './ffi.js';
import { batchCode } from './machine-code.js';
import { mapCode } from './memory.js';
import { once } from './once.js';
import type { Syscall } from './syscall.js';

/** An entry and the header, in 32-bit words: batchListings says what is in them. */
const entryWords = 14;
const headerWords = 4;
const resultAt = 12;

const code = once(() => mapCode(batchCode()));

/** A table of at most `capacity` calls. What addresses in it point to is the caller's to keep until they are made. */
export class Batch {
  private readonly memory: Buffer;
  private readonly words: Uint32Array;
  private readonly address: number;
  /** Calls in the table. */
  size = 0;

  constructor(readonly capacity: number) {
    this.memory = Buffer.alloc((headerWords + capacity * entryWords) * 4);
    this.words = new Uint32Array(this.memory.buffer, this.memory.byteOffset, this.memory.length / 4);
    this.address = Number(addressOf(this.memory));
  }

  /**
   * Writes down a call of four arguments at most, addresses and other numbers, and the result that it must have. Throws
   * RangeError when the table is full: what lies behind it would be run as calls.
   */
  add(call: Pick<Syscall, 'number'>, expected: number, a = 0, b = 0, c = 0, d = 0): void {
    if (this.size === this.capacity) throw new RangeError(`a batch of ${this.capacity} calls is full`);
    const at = headerWords + this.size * entryWords;
    this.put(at, call.number);
    this.put(at + 2, a);
    this.put(at + 4, b);
    this.put(at + 6, c);
    this.put(at + 8, d);
    this.put(at + 10, expected);
    this.size += 1;
  }

  /** Makes the calls from the one at `from` on. Returns the place of the first with an unexpected result, or `size`. */
  run(from = 0): number {
    this.put(0, this.addressOf(from));
    this.put(2, this.addressOf(this.size));
    return (callCode(code(), this.address) - this.addressOf(0)) / (entryWords * 4);
  }

  /** What the call at a place returned: a negative errno after an error. */
  result(place: number): number {
    const at = headerWords + place * entryWords + resultAt;
    return this.words[at]! + (this.words[at + 1]! | 0) * 2 ** 32;
  }

  clear(): void {
    this.size = 0;
  }

  private addressOf(place: number): number {
    return this.address + (headerWords + place * entryWords) * 4;
  }

  /** Two words of 32 bits, the lower one first: storing in an array of them takes a number modulo 2^32. */
  private put(at: number, value: number): void {
    this.words[at] = value;
    this.words[at + 1] = Math.floor(value / 2 ** 32);
  }
}
