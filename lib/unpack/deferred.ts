/**
 * Files and symlinks that are put off to be made many in one go, and directories to be completed so. That takes less time
 * than a call from JavaScript for each step. They are those that nothing is to be asked about: what is needed for them is
 * known beforehand, and that nothing stands in their way is taken for granted. Where a call of one does not do what it
 * should, that one and all behind it are made again, one by one, by whoever put them off: only then is it known what their
 * paths mean.
 *
 * All else that is done to the tree comes after a `flush`, so that the outcome is that of the order of the archive.
 */
import { tracing } from '../pipe/trace.js';
import { Batch } from '../sys/batch.js';
import { close, fchmod, fchown, openat, openat2, openHow, symlinkat, utimensat, write } from '../sys/calls.js';
import { AT, O, RESOLVE } from '../sys/constants.js';
import { addressOf } from '../sys/ffi.js';
import { refuseNul } from '../sys/kinds.js';
import type { ByteString } from './bytes.js';
import type { Time } from './pax.js';
import { timespecsBytes, writeTimespecs } from './timespec.js';

/** What finds a directory in its root, where no symlink leads to it. */
export const directHow = openHow(O.RDONLY | O.DIRECTORY | O.CLOEXEC, RESOLVE.IN_ROOT | RESOLVE.NO_SYMLINKS);
/** For a new file, never through a symlink that stands there. */
export const createFile = O.WRONLY | O.CREAT | O.EXCL | O.NOFOLLOW | O.CLOEXEC;

const entriesAtOnce = 64;
const callsOfFile = 6;
/** A name and what it links to, with their NULs: PATH_MAX twice, limits.h. */
const maxTextBytes = 2 * 4096;

/** Where an entry is to be; `again` makes it by single calls, and throws `Failure`. */
export interface Place {
  /** The directory, open until the next `flush`. */
  dirfd: number;
  name: ByteString;
  again(): void;
}

export interface NewFile {
  /** All of it; it must stay as it is until `flush`. */
  content: Buffer | undefined;
  /** The mode, and the owner where it is not who makes it. */
  mode: number;
  owner: { uid: number; gid: number } | undefined;
  mtime: Time;
}

/** Its calls, from `begin` on and before `end`; whether the first opens what the last closes. */
interface Item {
  begin: number;
  end: number;
  opens: boolean;
  again(): void;
}

/** Under `-x` there is none, so that each call is seen by itself. */
export function deferring(): Deferred | undefined {
  return tracing() ? undefined : new Deferred();
}

export class Deferred {
  private readonly batch = new Batch(entriesAtOnce * callsOfFile);
  private items: Item[] = [];
  private readonly times = new Memory(entriesAtOnce * timespecsBytes);
  private readonly texts = new Memory(entriesAtOnce * 64 + maxTextBytes);
  /** Where the memory of the last content is: pieces of an archive hold many. */
  private contentMemory: ArrayBufferLike | undefined;
  private contentAt = 0;
  private readonly howAt = Number(addressOf(directHow));

  /** To be flushed before anything more is added. */
  get isFull(): boolean {
    return this.items.length === entriesAtOnce || this.texts.left < maxTextBytes;
  }

  file(place: Place, { content, mode, owner, mtime }: NewFile): void {
    const { batch } = this;
    const opened = batch.add(openat, 0, place.dirfd, this.text(place.name), createFile, mode & 0o777);
    if (owner) batch.addOn(opened, fchown, 0, owner.uid, owner.gid);
    if (content) batch.addOn(opened, write, content.length, this.addressOf(content), content.length);
    // Behind the content and the owner, which take setuid away.
    if (mode & 0o7000) batch.addOn(opened, fchmod, 0, mode);
    batch.addOn(opened, utimensat, 0, 0, this.time(mtime));
    batch.addOn(opened, close, 0);
    this.note(opened, true, place);
  }

  symlink(place: Place, target: ByteString, mtime: Time): void {
    const { batch } = this;
    const name = this.text(place.name);
    const begin = batch.add(symlinkat, 0, this.text(target), place.dirfd, name);
    batch.add(utimensat, 0, place.dirfd, name, this.time(mtime), AT.SYMLINK_NOFOLLOW);
    this.note(begin, false, place);
  }

  /** A directory that is there, `name` being its path from `dirfd`: its mode, where that is still to be set, and times. */
  directory(place: Place, mode: number | undefined, mtime: Time): void {
    const { batch } = this;
    const opened = batch.add(openat2, 0, place.dirfd, this.text(place.name), this.howAt, directHow.length);
    if (mode !== undefined) batch.addOn(opened, fchmod, 0, mode);
    batch.addOn(opened, utimensat, 0, 0, this.time(mtime));
    batch.addOn(opened, close, 0);
    this.note(opened, true, place);
  }

  /** Makes what was put off. Throws what making one of them again throws; those behind it are not made then. */
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

  /** After a failure: nobody wants them any more. */
  clear(): void {
    this.batch.clear();
    this.items = [];
    this.times.used = 0;
    this.texts.used = 0;
  }

  private note(begin: number, opens: boolean, { again }: Place): void {
    this.items.push({ begin, end: this.batch.size, opens, again });
  }

  /** Closes what one that was not completed has open: its last call would have. close(2) itself never leaves it open. */
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

/** Memory that is filled from its beginning on. */
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

  /** Where the next so many bytes are. Throws RangeError when there are not as many. */
  take(length: number): number {
    const at = this.used;
    if (length > this.left) throw new RangeError(`${length} bytes, and ${this.left} are left`);
    this.used += length;
    return at;
  }
}
