import { Failure } from '../../base/failure.js';
import { Status } from '../../base/status.js';
import type { Entry } from '../../tar/entry.js';

/** How large an image may become: some archives are made to fill a disk. */
export interface Limits {
  /** Entries of all layers together. */
  entries: number;
  /** Bytes of file content and extended attributes of all layers together. */
  bytes: number;
  /** Directories inside each other. */
  depth: number;
}

export const defaultLimits: Limits = { entries: 10_000_000, bytes: Number.POSITIVE_INFINITY, depth: 512 };

/** An image that is larger than the user allows: nothing is wrong with it. */
export class LimitExceeded extends Failure {
  constructor(what: string, why: string, flag: string) {
    super(Status.data, what, why, { hint: `${flag} sets the limit` });
  }
}

/**
 * Subtracts an entry from what is left, and its extended attributes: a megabyte of them takes a few hundred bytes in an
 * archive. Throws `LimitExceeded` when there is nothing left.
 */
export function countEntry(left: Limits, { xattrs }: Pick<Entry, 'xattrs'>): void {
  countOne(left);
  for (const value of xattrs?.values() ?? []) countBytes(left, value.length);
}

/** Subtracts an entry, or a directory that has none and is made for what is in it: one name can ask for hundreds. */
export function countOne(left: Limits): void {
  left.entries -= 1;
  if (left.entries < 0) throw new LimitExceeded('archive', 'too many entries', '--max-entries');
}

/** Subtracts bytes from what is left. Throws `LimitExceeded` when they are too many. */
export function countBytes(left: Limits, bytes: number): void {
  left.bytes -= bytes;
  if (left.bytes < 0) throw new LimitExceeded('archive', 'too many bytes', '--max-bytes');
}

/** Bytes. A quarter of the smallest heap that Node can start with is more, so up to here nobody has to ask V8. */
const leastLimit = 1024 * 1024;

/**
 * Counts the memory that names take, so that an archive with millions of them ends in an error and not in a crash. They
 * may have a quarter of the heap, since working on them takes as much again.
 */
export class NamesBudget {
  private held = 0;
  /** Undefined as long as V8 was not asked. */
  private limit: number | undefined;

  /** `what` has the names, for the message. */
  constructor(private readonly what = 'archive') {}

  /** Throws `LimitExceeded` when there are too many. */
  hold(bytes: number): void {
    this.held += bytes;
    if (this.held <= (this.limit ?? leastLimit)) return;
    this.limit ??= heapBytes() / 4;
    if (this.held <= this.limit) return;
    throw new LimitExceeded(
      this.what,
      'its names take more memory than there is',
      'NODE_OPTIONS=--max-old-space-size=MIB',
    );
  }

  release(bytes: number): void {
    this.held -= bytes;
  }
}

/** The limit of this process's heap in bytes. Asking V8 takes a millisecond, and few images make that necessary. */
function heapBytes(): number {
  const { heap_size_limit: all } = process.getBuiltinModule('node:v8').getHeapStatistics();
  const flags = [process.env.NODE_OPTIONS ?? '', ...process.execArgv].join(' ');
  const set = [...flags.matchAll(/--max[-_]old[-_]space[-_]size=(\d+)/g)].at(-1)?.[1];
  // V8's own number includes the young generation, where no name stays; from Node 24 on that can exceed a small heap.
  return set === undefined ? all : Math.min(all, Number(set) * 1024 * 1024);
}

/**
 * Bytes that a name takes as the key of a map with a small object as its value. Measured, and rounded up. `values` are
 * what that object holds, by name.
 */
export function costOf(text: string, values: Iterable<[name: string, value: { length: number }]> = []): number {
  let cost = text.length + 250;
  for (const [name, value] of values) cost += costOf(name) + value.length;
  return cost;
}
