/**
 * Makes many system calls in one go, by a few instructions of machine code (machine-code.ts). In JavaScript each call
 * then only takes a few numbers in a table.
 */

import { once } from '../../base/once.js';
import { addressOf, callCode } from '../ffi/ffi.js';
import type { SyscallInfo } from '../syscalls/syscall.js';
import { batchCode } from './machine-code.js';
import { mapCode } from './map-code.js';

/** The sizes of an entry and of the header, and two places in an entry, in 32-bit words: see batchListings. */
const entryWords = 16;
const headerWords = 4;
const resultAt = 12;
const firstAt = 14;

const code = once(() => mapCode(batchCode()));

type Call = Pick<SyscallInfo, 'number'>;

/** A table of at most `capacity` calls. Memory whose address is in it must stay alive until the calls are made. */
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
   * Adds a call with up to four arguments, which are numbers or addresses. `least` is the smallest result that counts
   * as success. Returns its place. Throws RangeError when the table is full: memory after it would be run as calls.
   */
  add(call: Call, least: number, a = 0, b = 0, c = 0, d = 0): number {
    const at = this.wordOf(this.size);
    this.put(at + firstAt, a);
    return this.write(call, least, this.addressAt(at + firstAt), b, c, d);
  }

  /** Adds a call whose first argument is the result of the earlier call at `place`, such as a descriptor. */
  addOn(place: number, call: Call, least: number, b = 0, c = 0): number {
    return this.write(call, least, this.addressAt(this.wordOf(place) + resultAt), b, c, 0);
  }

  /**
   * Makes the calls, and stops after the first whose result is less than `least`. Returns its place; `size` if there is
   * none.
   */
  run(): number {
    this.put(0, this.addressAt(headerWords));
    this.put(2, this.addressAt(this.wordOf(this.size)));
    return (callCode(code(), this.address) - this.addressAt(headerWords)) / (entryWords * 4);
  }

  /** What the call at a place returned: a negative errno after an error. */
  result(place: number): number {
    const at = this.wordOf(place) + resultAt;
    return this.words[at]! + (this.words[at + 1]! | 0) * 2 ** 32;
  }

  clear(): void {
    this.size = 0;
  }

  private write(call: Call, least: number, first: number, b: number, c: number, d: number): number {
    if (this.size === this.capacity) throw new RangeError(`a batch of ${this.capacity} calls is full`);
    const at = this.wordOf(this.size);
    this.put(at, call.number);
    this.put(at + 2, first);
    this.put(at + 4, b);
    this.put(at + 6, c);
    this.put(at + 8, d);
    this.put(at + 10, least);
    return this.size++;
  }

  private wordOf(place: number): number {
    return headerWords + place * entryWords;
  }

  private addressAt(word: number): number {
    return this.address + word * 4;
  }

  /** Writes two words of 32 bits, the lower one first. Storing into a Uint32Array takes a number modulo 2^32. */
  private put(at: number, value: number): void {
    this.words[at] = value;
    this.words[at + 1] = Math.floor(value / 2 ** 32);
  }
}
