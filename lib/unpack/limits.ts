import { Failure } from '../pipe/failure.js';
import { Status } from '../pipe/status.js';

/** What an image may take, against archives that are made to fill a disk. */
export interface Limits {
  /** Entries of all layers together. */
  entries: number;
  /** Bytes of file content of all layers together. */
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

/** Takes an entry off what is left. Throws `LimitExceeded` when nothing was. */
export function countEntry(left: Pick<Limits, 'entries'>): void {
  left.entries -= 1;
  if (left.entries < 0) throw new LimitExceeded('archive', 'too many entries', '--max-entries');
}

/** Takes bytes of content off what is left. Throws `LimitExceeded` when there are more. */
export function countBytes(left: Pick<Limits, 'bytes'>, bytes: number): void {
  left.bytes -= bytes;
  if (left.bytes < 0) throw new LimitExceeded('archive', 'too many bytes', '--max-bytes');
}

/** Bytes; a quarter of the smallest heap that Node starts with is more. */
const leastLimit = 1024 * 1024;

/**
 * Counts what has to be kept in memory of each name, so that an archive of millions of them ends with an error in place
 * of the whole process. A quarter of the heap leaves room for what is made of them in the end.
 */
export class NamesBudget {
  private held = 0;

  constructor(private limit?: number) {}

  /** Throws `LimitExceeded` when there are too many. */
  hold(bytes: number): void {
    this.held += bytes;
    if (this.held <= (this.limit ?? leastLimit)) return;
    this.limit ??= heapBytes() / 4;
    if (this.held <= this.limit) return;
    throw new LimitExceeded(
      'archive',
      'its names take more memory than there is',
      'NODE_OPTIONS=--max-old-space-size=MIB',
    );
  }

  release(bytes: number): void {
    this.held -= bytes;
  }
}

/** Which heap this process has, costs a millisecond to ask; few images need to know. */
function heapBytes(): number {
  const { heap_size_limit: all } = process.getBuiltinModule('node:v8').getHeapStatistics();
  const flags = [process.env.NODE_OPTIONS ?? '', ...process.execArgv].join(' ');
  const set = [...flags.matchAll(/--max[-_]old[-_]space[-_]size=(\d+)/g)].at(-1)?.[1];
  // V8 counts what is young besides, which from Node 24 on may be several times as much as a small heap, and keeps no name.
  return set === undefined ? all : Math.min(all, Number(set) * 1024 * 1024);
}

/** Bytes of a string of one byte a character as the key of a map, with a small object as its value: measured, rounded up. */
export function costOf(text: string): number {
  return text.length + 250;
}
