/**
 * Entries that are put off, so that many are made by one batch of system calls (sys/native-code/batch.ts). A batch takes
 * less time than a call from JavaScript for each step. These entries are files, symlinks, and the modes and times of
 * finished directories.
 *
 * A batch cannot decide anything, so it takes for granted that each call succeeds: that nothing stands at the name, for
 * example. When one fails, its entry and all entries after it are made one by one by `again`, which can decide.
 *
 * Everything else that changes the tree calls `flush` first. The result is therefore that of the archive's own order.
 */
import { tracing } from '../../base/trace.js';
import { addressOf } from '../../sys/ffi/ffi.js';
import { Batch } from '../../sys/native-code/batch.js';
import { close, fchmod, fchown, openat, openat2, symlinkat, utimensat, write } from '../../sys/syscalls/calls.js';
import { AT } from '../../sys/syscalls/constants.js';
import { refuseNul } from '../../sys/syscalls/kinds.js';
import type { ByteString } from '../../tar/bytes.js';
import type { Time } from '../../tar/pax.js';
import { directHow } from './directory.js';
import { newFileFlags } from './open-file.js';
import { timespecsBytes, writeTimespecs } from './timespec.js';

const entriesAtOnce = 64;
const callsOfFile = 6;
/** A name and what it links to, with their NULs: PATH_MAX twice, limits.h. */
const maxTextBytes = 2 * 4096;

/** An entry that is put off. `again` makes it by single calls if the batch could not; it throws `Failure`. */
interface Deferral {
  /** The directory, open until the next `flush`. */
  dirfd: number;
  name: ByteString;
  again(): void;
}

export interface NewFile {
  /** The whole content. It must not change until `flush`. */
  content: Buffer | undefined;
  mode: number;
  /** Undefined when it is this process's own. */
  owner: { uid: number; gid: number } | undefined;
  mtime: Time;
}

/** An entry in the batch: its calls are those from `begin` up to, not including, `end`. */
interface Item {
  begin: number;
  end: number;
  /** Whether the first call opens a descriptor that the last one closes. */
  opens: boolean;
  again(): void;
}

/** Undefined under `-x`, so that each call is traced by itself. */
export function deferring(): Deferred | undefined {
  return tracing() ? undefined : new Deferred();
}

export class Deferred {
  private readonly batch = new Batch(entriesAtOnce * callsOfFile);
  private items: Item[] = [];
  private readonly times = new Memory(entriesAtOnce * timespecsBytes);
  private readonly texts = new Memory(entriesAtOnce * 64 + maxTextBytes);
  /** The memory of the last content and its address: looking that up is slow, and one memory holds many contents. */
  private contentMemory: ArrayBufferLike | undefined;
  private contentAt = 0;
  private readonly howAt = Number(addressOf(directHow));

  /** `flush` has to be called before anything more is added. */
  get isFull(): boolean {
    return this.items.length === entriesAtOnce || this.texts.left < maxTextBytes;
  }

  file(deferral: Deferral, { content, mode, owner, mtime }: NewFile): void {
    const { batch } = this;
    const opened = batch.add(openat, 0, deferral.dirfd, this.text(deferral.name), newFileFlags, mode & 0o777);
    if (owner) batch.addOn(opened, fchown, 0, owner.uid, owner.gid);
    if (content) batch.addOn(opened, write, content.length, this.addressOf(content), content.length);
    // After the content and the owner: both clear setuid.
    if (mode & 0o7000) batch.addOn(opened, fchmod, 0, mode);
    batch.addOn(opened, utimensat, 0, 0, this.time(mtime));
    batch.addOn(opened, close, 0);
    this.note(opened, true, deferral);
  }

  symlink(deferral: Deferral, target: ByteString, mtime: Time): void {
    const { batch } = this;
    const name = this.text(deferral.name);
    const begin = batch.add(symlinkat, 0, this.text(target), deferral.dirfd, name);
    batch.add(utimensat, 0, deferral.dirfd, name, this.time(mtime), AT.SYMLINK_NOFOLLOW);
    this.note(begin, false, deferral);
  }

  /**
   * Completes an existing directory, whose `name` is its path from `dirfd`: its mode, unless that is right, and its
   * times.
   */
  directory(deferral: Deferral, mode: number | undefined, mtime: Time): void {
    const { batch } = this;
    const opened = batch.add(openat2, 0, deferral.dirfd, this.text(deferral.name), this.howAt, directHow.length);
    if (mode !== undefined) batch.addOn(opened, fchmod, 0, mode);
    batch.addOn(opened, utimensat, 0, 0, this.time(mtime));
    batch.addOn(opened, close, 0);
    this.note(opened, true, deferral);
  }

  /** Makes what was put off. Throws what an `again` throws; the entries after that one are not made. */
  flush(): void {
    const { items, batch } = this;
    if (items.length === 0) return;
    const stopped = batch.run();
    const isOver = stopped === batch.size;
    const first = isOver ? items.length : items.findIndex(({ end }) => stopped < end);
    if (!isOver) this.letGo(items[first]!, stopped);
    this.clear();
    for (const { again } of items.slice(first)) again();
  }

  /** Forgets what was put off, after a failure. */
  clear(): void {
    this.batch.clear();
    this.items = [];
    this.times.used = 0;
    this.texts.used = 0;
  }

  private note(begin: number, opens: boolean, { again }: Deferral): void {
    this.items.push({ begin, end: this.batch.size, opens, again });
  }

  /** Closes the descriptor of an entry that stopped halfway, before its own close(2) was reached. */
  private letGo({ begin, end, opens }: Item, stopped: number): void {
    if (opens && stopped > begin && stopped < end - 1) close.try(this.batch.result(begin));
  }

  /** The address of a NUL-terminated string. */
  private text(text: ByteString): number {
    const { bytes } = this.texts;
    const at = this.texts.take(text.length + 1);
    for (let i = 0; i < text.length; i++) {
      const byte = text.charCodeAt(i);
      if (byte === 0) refuseNul();
      bytes[at + i] = byte;
    }
    bytes[at + text.length] = 0;
    return this.texts.address + at;
  }

  private time(time: Time): number {
    const at = this.times.take(timespecsBytes);
    writeTimespecs(this.times.bytes, at, time);
    return this.times.address + at;
  }

  private addressOf(content: Buffer): number {
    if (content.buffer !== this.contentMemory) {
      this.contentMemory = content.buffer;
      this.contentAt = Number(addressOf(content)) - content.byteOffset;
    }
    return this.contentAt + content.byteOffset;
  }
}

/** Memory that is handed out from front to back. */
class Memory {
  readonly bytes: Buffer;
  readonly address: number;
  used = 0;

  constructor(size: number) {
    this.bytes = Buffer.alloc(size);
    this.address = Number(addressOf(this.bytes));
  }

  get left(): number {
    return this.bytes.length - this.used;
  }

  /** Takes `length` bytes and returns their offset. Throws RangeError when fewer are left. */
  take(length: number): number {
    const at = this.used;
    if (length > this.left) throw new RangeError(`${length} bytes, and ${this.left} are left`);
    this.used += length;
    return at;
  }
}
