/**
 * A tar writer for tests: ordinary archives in one call, and every kind of malformed one. The caller says what a header
 * holds; nothing is checked, and nothing is left out because it makes no sense.
 *
 * Source: POSIX pax, "ustar Interchange Format" and "pax Interchange Format"; GNU tar manual, "Tar Internals".
 */

/** Type flags by name. */
const typeflags = {
  file: '0',
  link: '1',
  symlink: '2',
  char: '3',
  block: '4',
  directory: '5',
  fifo: '6',
  contiguous: '7',
  global: 'g',
  pax: 'x',
  gnuSparse: 'S',
} as const;

export interface TarEntry {
  /** At most 100 bytes go into the header; a longer name gets a PAX record as well. */
  name: string | Buffer;
  /** A name of `typeflags`, or the character itself; a file by default. */
  type?: keyof typeof typeflags | (string & {});
  /** 0644 for files, 0755 for directories, 0777 for symlinks by default. */
  mode?: number;
  uid?: number;
  gid?: number;
  /** Seconds; a fraction makes a PAX record. 2001-09-09 by default. */
  mtime?: number;
  linkname?: string | Buffer;
  data?: string | Buffer;
  uname?: string;
  gname?: string;
  major?: number;
  minor?: number;
  /** Become `SCHILY.xattr.*` records. */
  xattrs?: Record<string, string | Buffer>;
  /** PAX records, in order; they come before those that this writer adds. */
  pax?: Record<string, string | Buffer>;
  /** The bytes of a PAX header as they are, for malformed ones. */
  rawPax?: Buffer;
  /** The size that the header claims, where it is not that of `data`. */
  size?: number;
  /** Changes the block before the checksum is computed. */
  patch?: (block: Buffer) => void;
  /** The checksum field, where it is not the right one. */
  checksum?: number | string;
}

const blockSize = 512;
const defaultTime = 1_000_000_000;

/** One entry with its PAX header, if it needs one, and its data. */
export function tarEntry(entry: TarEntry): Buffer {
  const data = bytesOf(entry.data ?? '');
  const records = entry.rawPax ?? paxRecords(entry);
  const parts: Buffer[] = [];
  if (records.length > 0) {
    parts.push(header({ name: 'PaxHeaders/entry', type: 'x', size: records.length }), records, padding(records.length));
  }
  parts.push(header({ ...entry, size: entry.size ?? data.length }), data, padding(data.length));
  return Buffer.concat(parts);
}

/** An archive: entries, or bytes to be put in as they are, and two zero blocks (or `end` in their place). */
export function tarball(entries: (TarEntry | Buffer)[], end: Buffer = Buffer.alloc(2 * blockSize)): Buffer {
  return Buffer.concat([...entries.map((it) => (Buffer.isBuffer(it) ? it : tarEntry(it))), end]);
}

/** PAX records as bytes: `LENGTH KEY=VALUE\n`, the length counting itself. */
export function paxBytes(records: Record<string, string | Buffer>): Buffer {
  return Buffer.concat(Object.entries(records).map(([key, value]) => paxRecord(key, bytesOf(value))));
}

/** A global PAX header. */
export function globalPax(records: Record<string, string | Buffer>): Buffer {
  return tarEntry({ name: 'pax_global_header', type: 'g', data: paxBytes(records) });
}

/** GNU's `L` (name) or `K` (link target) entry for the entry behind it. */
export function gnuLong(kind: 'L' | 'K', text: string | Buffer): Buffer {
  return tarEntry({
    name: '././@LongLink',
    type: kind,
    mtime: 0,
    data: Buffer.concat([bytesOf(text), Buffer.alloc(1)]),
  });
}

function paxRecord(key: string, value: Buffer): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), value, Buffer.from('\n')]);
  let length = rest.length;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return Buffer.concat([Buffer.from(String(length)), rest]);
}

function paxRecords({ name, linkname, mtime, uid, gid, xattrs, pax }: TarEntry): Buffer {
  const records: Record<string, string | Buffer> = { ...pax };
  const add = (key: string, value: string | Buffer) => {
    records[key] ??= value;
  };
  if (bytesOf(name).length > 100) add('path', name);
  if (linkname !== undefined && bytesOf(linkname).length > 100) add('linkpath', linkname);
  if (mtime !== undefined && !Number.isInteger(mtime)) add('mtime', String(mtime));
  if (uid !== undefined && uid > 0o7777777) add('uid', String(uid));
  if (gid !== undefined && gid > 0o7777777) add('gid', String(gid));
  for (const [key, value] of Object.entries(xattrs ?? {})) add(`SCHILY.xattr.${key}`, value);
  return paxBytes(records);
}

function header(entry: TarEntry): Buffer {
  const block = Buffer.alloc(blockSize);
  const type = entry.type ?? 'file';
  bytesOf(entry.name).copy(block, 0, 0, 100);
  octal(block, 100, 8, entry.mode ?? defaultMode(type));
  number(block, 108, 8, entry.uid ?? 0);
  number(block, 116, 8, entry.gid ?? 0);
  number(block, 124, 12, entry.size ?? 0);
  number(block, 136, 12, Math.floor(entry.mtime ?? defaultTime));
  block.write(Object.hasOwn(typeflags, type) ? typeflags[type as keyof typeof typeflags] : type, 156, 'latin1');
  bytesOf(entry.linkname ?? '').copy(block, 157, 0, 100);
  block.write('ustar\x0000', 257, 'latin1');
  block.write(entry.uname ?? '', 265, 32);
  block.write(entry.gname ?? '', 297, 32);
  number(block, 329, 8, entry.major ?? 0);
  number(block, 337, 8, entry.minor ?? 0);
  entry.patch?.(block);
  setChecksum(block, entry.checksum);
  return block;
}

function setChecksum(block: Buffer, given: number | string | undefined): void {
  block.fill(' ', 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  const text = typeof given === 'string' ? given : `${(given ?? sum).toString(8).padStart(6, '0')}\0 `;
  block.write(text, 148, 8, 'latin1');
}

function defaultMode(type: string): number {
  if (type === 'directory' || type === '5') return 0o755;
  return type === 'symlink' || type === '2' ? 0o777 : 0o644;
}

function octal(block: Buffer, at: number, length: number, value: number): void {
  block.write(`${value.toString(8).padStart(length - 1, '0')}\0`, at, length, 'latin1');
}

/** Octal where it fits, else base-256 as GNU tar does; a negative number is base-256 too. */
function number(block: Buffer, at: number, length: number, value: number): void {
  if (value >= 0 && value < 8 ** (length - 1)) {
    octal(block, at, length, value);
    return;
  }
  let rest = BigInt(value);
  for (let i = at + length - 1; i >= at; i--) {
    block[i] = Number(rest & 255n);
    rest >>= 8n;
  }
  block[at] = value < 0 ? 0xff : 0x80 | block[at]!;
}

function padding(length: number): Buffer {
  return Buffer.alloc((blockSize - (length % blockSize)) % blockSize);
}

function bytesOf(text: string | Buffer): Buffer {
  return Buffer.isBuffer(text) ? text : Buffer.from(text);
}
