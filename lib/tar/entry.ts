/** An entry of an archive: what its header block and the extended headers before it say together. */
import type { ByteString } from './bytes.js';
import { damaged } from './fields.js';
import type { RawHeader } from './header.js';
import { type PaxRecords, paxNumber, paxText, paxTime, type Time, type Xattrs } from './pax.js';

export type EntryType = 'file' | 'directory' | 'symlink' | 'hardlink' | 'char' | 'block' | 'fifo';

export function isDevice(type: EntryType): type is 'char' | 'block' {
  return type === 'char' || type === 'block';
}

export interface Entry {
  type: EntryType;
  /** The name as it stands in the archive: not cleaned, not trusted. */
  path: ByteString;
  /** The target of a symlink or hard link, exactly as it stands in the archive. */
  target: ByteString;
  /** The permission bits, 07777 at most. */
  mode: number;
  uid: number;
  gid: number;
  /** Bytes of content, holes included; 0 for everything but a file. */
  size: number;
  mtime: Time;
  major: number;
  minor: number;
  xattrs: Xattrs | undefined;
}

/**
 * Receives the entries. After `entry` for a file come `content` and `hole` in the order of the file, then `end`. After
 * all entries, or a failure, `close` lets go of what the sink holds.
 */
export interface TarSink {
  entry(entry: Entry): void;
  content(bytes: Buffer): void;
  hole(length: number): void;
  end(): void;
  close?(): void;
}

/** What headers of their own say about the next entry: PAX records, and GNU tar's long names. */
export interface Extensions {
  records?: Map<ByteString, Buffer>;
  name?: ByteString;
  target?: ByteString;
}

const typeOfFlag: Record<string, EntryType> = {
  '0': 'file',
  '7': 'file',
  S: 'file',
  '1': 'hardlink',
  '2': 'symlink',
  '3': 'char',
  '4': 'block',
  '5': 'directory',
  '6': 'fifo',
};

const maxId = 2 ** 32 - 2;

/** `records` are those in force for this entry, global ones included. Throws `Failure` 65. */
export function makeEntry(raw: RawHeader, records: PaxRecords | undefined, { name, target }: Extensions): Entry {
  const flagType = typeOfFlag[raw.typeflag];
  if (flagType === undefined) throw damaged(`an entry of unknown type ${JSON.stringify(raw.typeflag)}`);
  // An empty long name counts as none, as in Go's archive/tar.
  const path = (name || paxText(records, 'GNU.sparse.name')) ?? paxText(records, 'path') ?? raw.name;
  const size = paxNumber(records, 'size') ?? raw.size;
  // Before POSIX a directory was a file whose name ends in a slash.
  const type = flagType === 'file' && path.endsWith('/') ? 'directory' : flagType;
  if (type !== flagType && size > 0) throw damaged('a directory by its name is a file by its size');
  return {
    type,
    path,
    target: (target || paxText(records, 'linkpath')) ?? raw.linkname,
    mode: raw.mode,
    uid: asId(paxNumber(records, 'uid') ?? raw.uid, 'user'),
    gid: asId(paxNumber(records, 'gid') ?? raw.gid, 'group'),
    size: type === 'file' ? size : 0,
    mtime: paxTime(records, 'mtime') ?? { seconds: raw.mtime, nanoseconds: 0 },
    major: paxNumber(records, 'SCHILY.devmajor') ?? raw.major,
    minor: paxNumber(records, 'SCHILY.devminor') ?? raw.minor,
    xattrs: records?.xattrs(),
  };
}

/** 2^32-1 is not an id: chown(2) takes it for "leave this as it is". */
function asId(id: number, whose: string): number {
  if (id < 0 || id > maxId) throw damaged(`the ${whose} id ${id} is out of range`);
  return id;
}
