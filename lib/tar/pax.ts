/**
 * PAX extended headers (POSIX.1-2001, pax(1), "pax Extended Header"): records `LENGTH KEY=VALUE\n`, where LENGTH counts
 * the whole record in bytes. They are cut by that length alone: a value may hold newlines, NULs and any other byte.
 */
import { type ByteString, fromBytes } from './bytes.js';
import { damaged } from './fields.js';

/** The longest extended header or long name: the limit of Go's archive/tar, and so of most tools. */
export const maxExtendedBytes = 1024 * 1024;

/** The records that hold for a file. Functions that read them take `undefined` for no records at all. */
export interface PaxRecords {
  get(key: ByteString): Buffer | undefined;
  xattrs(): Xattrs | undefined;
}

export type Xattrs = Map<ByteString, Buffer>;

/**
 * How much the global headers may say about all files: the work for each file grows with it. It is the kernel's own
 * limit on the names of one file's attributes (limits.h, XATTR_LIST_MAX).
 */
const maxGlobalBytes = 64 * 1024;

/** The records that are in force: those of global headers, and over them, for one file, those of its own header. */
export class PaxState {
  private readonly global = new Map<ByteString, Buffer>();
  private globalBytes = 0;
  private globalXattrs: Xattrs | undefined;

  /** Takes the body of a global header. Throws `Failure` 65. */
  addGlobal(body: Buffer): void {
    for (const [key, value] of parsePax(body)) {
      if (key.startsWith('GNU.sparse.')) throw damaged('a global PAX header makes every file a sparse one');
      this.forget(key);
      if (value.length === 0) continue;
      // A copy: the value must not keep the whole header alive.
      this.global.set(key, Buffer.from(value));
      this.globalBytes += key.length + value.length;
    }
    if (this.globalBytes > maxGlobalBytes) throw damaged(`global PAX headers of more than ${maxGlobalBytes} bytes`);
    this.globalXattrs = paxXattrs(this.global);
  }

  /** The records for a file that has `local` of its own; `undefined` when there are none at all. */
  over(local: Map<ByteString, Buffer> | undefined): PaxRecords | undefined {
    const { global, globalXattrs } = this;
    if (!local) return global.size === 0 ? undefined : { get: (key) => global.get(key), xattrs: () => globalXattrs };
    return {
      get: (key) => local.get(key) ?? global.get(key),
      xattrs: () => {
        const own = paxXattrs(local);
        return own && globalXattrs ? new Map([...globalXattrs, ...own]) : (own ?? globalXattrs);
      },
    };
  }

  private forget(key: ByteString): void {
    const value = this.global.get(key);
    if (value) this.globalBytes -= key.length + value.length;
    this.global.delete(key);
  }
}

const meaningful = new Set(['path', 'linkpath', 'size', 'uid', 'gid', 'mtime', 'SCHILY.devmajor', 'SCHILY.devminor']);

function isMeaningful(key: ByteString): boolean {
  return meaningful.has(key) || /^(?:GNU\.sparse|SCHILY\.xattr|LIBARCHIVE\.xattr)\./.test(key);
}

/**
 * The records in `body` whose keys are used here. Of several with the same key the last one counts. GNU tar's sparse
 * format 0.0 repeats two keys instead: their values are joined into the list with commas that format 0.1 has.
 */
export function parsePax(body: Buffer): Map<ByteString, Buffer> {
  const records = new Map<ByteString, Buffer>();
  const sparse: ByteString[] = [];
  for (let at = 0; at < body.length; ) {
    const { key, value, end } = record(body, at);
    if (key === 'GNU.sparse.offset' || key === 'GNU.sparse.numbytes') {
      const isOffset = key === 'GNU.sparse.offset';
      if (isOffset !== (sparse.length % 2 === 0)) throw damaged('a sparse map has an offset without a length');
      sparse.push(fromBytes(value));
    } else if (isMeaningful(key)) records.set(key, value);
    at = end;
  }
  if (sparse.length > 0) records.set('GNU.sparse.map', Buffer.from(sparse.join(',')));
  return records;
}

function record(body: Buffer, at: number): { key: ByteString; value: Buffer; end: number } {
  const space = body.indexOf(0x20, at);
  const digits = space < 0 ? '' : fromBytes(body, at, space);
  if (!/^[0-9]{1,10}$/.test(digits)) throw damaged('a PAX record has no length');
  const end = at + Number(digits);
  if (end > body.length || end <= space + 1 || body[end - 1] !== 0x0a) {
    throw damaged('a PAX record is not as long as it says');
  }
  const equals = body.indexOf(0x3d, space);
  if (equals <= space + 1 || equals >= end) throw damaged('a PAX record has no key');
  const key = fromBytes(body, space + 1, equals);
  if (key.includes('\0')) throw damaged('a PAX key holds a NUL');
  return { key, value: body.subarray(equals + 1, end - 1), end };
}

type Lookup = Pick<PaxRecords, 'get'> | undefined;

/** A decimal whole number; `undefined` when the record is missing or empty. */
export function paxNumber(records: Lookup, key: string): number | undefined {
  const text = paxText(records, key);
  if (text === undefined) return undefined;
  if (!/^[0-9]{1,16}$/.test(text) || !Number.isSafeInteger(Number(text))) throw damaged(`PAX ${key} is not a number`);
  return Number(text);
}

/** A name: no NUL can be in it. */
export function paxText(records: Lookup, key: string): ByteString | undefined {
  const value = records?.get(key);
  // POSIX: an empty value cancels the record, so that the header block counts again.
  if (value === undefined || value.length === 0) return undefined;
  if (value.includes(0)) throw damaged(`PAX ${key} holds a NUL`);
  return fromBytes(value);
}

/** A time since the epoch. Nanoseconds are never negative: -1.5 s is 500 ms after -2 s. */
export interface Time {
  seconds: number;
  nanoseconds: number;
}

/** Decimal seconds since the epoch, with any number of digits behind the point; `undefined` as above. */
export function paxTime(records: Lookup, key: string): Time | undefined {
  const text = paxText(records, key);
  if (text === undefined) return undefined;
  const [, sign, whole = '', fraction = ''] = /^(-?)([0-9]{1,15})(?:\.([0-9]*))?$/.exec(text) ?? [];
  if (sign === undefined) throw damaged(`PAX ${key} is not a time`);
  const nanoseconds = Number(fraction.slice(0, 9).padEnd(9, '0'));
  if (sign === '') return { seconds: Number(whole), nanoseconds };
  return nanoseconds === 0
    ? { seconds: 0 - Number(whole), nanoseconds }
    : { seconds: -Number(whole) - 1, nanoseconds: 1e9 - nanoseconds };
}

/**
 * The extended attributes: `SCHILY.xattr.NAME` holds the value as it is, `LIBARCHIVE.xattr.NAME` in base64 with the
 * name percent-encoded. `undefined` when there are none.
 */
function paxXattrs(records: Map<ByteString, Buffer>): Xattrs | undefined {
  let xattrs: Xattrs | undefined;
  for (const [key, value] of records) {
    if (key.startsWith('SCHILY.xattr.')) {
      xattrs ??= new Map();
      xattrs.set(key.slice(13), value);
    } else if (key.startsWith('LIBARCHIVE.xattr.')) {
      xattrs ??= new Map();
      const name = key
        .slice(17)
        .replace(/%([0-9a-fA-F]{2})/g, (_, hex: string) => String.fromCharCode(Number(`0x${hex}`)));
      const text = fromBytes(value);
      if (name.includes('\0')) throw damaged('the name of a LIBARCHIVE.xattr holds a NUL');
      if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text)) throw damaged('a LIBARCHIVE.xattr is not base64');
      if (!xattrs.has(name)) xattrs.set(name, Buffer.from(text, 'base64'));
    }
  }
  return xattrs;
}
