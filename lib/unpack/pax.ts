/**
 * PAX extended headers (POSIX.1-2001, pax(1), "pax Extended Header"): records `LENGTH KEY=VALUE\n`, where LENGTH counts
 * the whole record in bytes. They are cut by that length alone: a value may hold newlines, NULs and any other byte.
 */
import { type ByteString, fromBytes } from './bytes.js';
import { damaged } from './header.js';

export type PaxRecords = Map<ByteString, Buffer>;

/**
 * The records in `body`, later ones over earlier ones. GNU tar's sparse format 0.0 repeats two keys: their values are
 * gathered as the comma list that format 0.1 writes.
 */
export function parsePax(body: Buffer): PaxRecords {
  const records: PaxRecords = new Map();
  const sparse: ByteString[] = [];
  for (let at = 0; at < body.length; ) {
    const { key, value, end } = record(body, at);
    if (key === 'GNU.sparse.offset' || key === 'GNU.sparse.numbytes') sparse.push(fromBytes(value));
    else records.set(key, value);
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

/** A decimal whole number; `undefined` when the record is missing or empty. */
export function paxNumber(records: PaxRecords, key: string): number | undefined {
  const text = paxText(records, key);
  if (text === undefined) return undefined;
  if (!/^[0-9]{1,16}$/.test(text) || !Number.isSafeInteger(Number(text))) throw damaged(`PAX ${key} is no number`);
  return Number(text);
}

/** A name: no NUL can be in it. */
export function paxText(records: PaxRecords, key: string): ByteString | undefined {
  const value = records.get(key);
  // POSIX: an empty value takes the record back, and what the header block says holds.
  if (value === undefined || value.length === 0) return undefined;
  if (value.includes(0)) throw damaged(`PAX ${key} holds a NUL`);
  return fromBytes(value);
}

/** Seconds and nanoseconds, floored: -1.5 is 500 ms after -2. */
export interface Time {
  seconds: number;
  nanoseconds: number;
}

export function paxTime(records: PaxRecords, key: string): Time | undefined {
  const text = paxText(records, key);
  if (text === undefined) return undefined;
  const [, sign, whole = '', fraction = ''] = /^(-?)([0-9]{1,15})(?:\.([0-9]*))?$/.exec(text) ?? [];
  if (sign === undefined) throw damaged(`PAX ${key} is no time`);
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
export function paxXattrs(records: PaxRecords): Map<ByteString, Buffer> | undefined {
  let xattrs: Map<ByteString, Buffer> | undefined;
  for (const [key, value] of records) {
    if (key.startsWith('SCHILY.xattr.')) {
      xattrs ??= new Map();
      xattrs.set(key.slice(13), value);
    } else if (key.startsWith('LIBARCHIVE.xattr.')) {
      xattrs ??= new Map();
      const name = key
        .slice(17)
        .replace(/%([0-9a-fA-F]{2})/g, (_, hex: string) => String.fromCharCode(Number(`0x${hex}`)));
      if (!xattrs.has(name)) xattrs.set(name, Buffer.from(fromBytes(value), 'base64'));
    }
  }
  return xattrs;
}
