/** The kinds of argument that system calls take, and how a trace shows each. */
import { AT, MOUNT_ATTR, O, RESOLVE } from './constants.js';
import type { Kind, Memory, Path } from './syscall.js';

const maxShown = 64;

/** Refuses a NUL inside a path: the kernel would take the path to end there. */
export function refuseNul(): never {
  throw new Error('a path with a NUL byte reached a system call');
}

/** A NUL-terminated string for the kernel. A NUL inside is refused. */
export function cString(path: Path): Buffer {
  const text = typeof path === 'string';
  if (text ? path.includes('\0') : path.includes(0)) refuseNul();
  if (text) return Buffer.from(`${path}\0`);
  // From the pool of small buffers: if each path had memory of its own, garbage collections would take much longer.
  const bytes = Buffer.allocUnsafe(path.length + 1);
  bytes.set(path);
  bytes[path.length] = 0;
  return bytes;
}

function showPath(path: Path | null): string {
  if (path === null) return 'NULL';
  const text = typeof path === 'string' ? path : Buffer.from(path).toString('latin1');
  return JSON.stringify(text.length > 400 ? `${text.slice(0, 400)}...` : text);
}

const number = { lower: (value: number | bigint) => value };

export const int: Kind<number> = { ...number, show: String };
export const long: Kind<number | bigint> = { ...number, show: String };
export const fd: Kind<number> = int;
export const dirfd: Kind<number> = { ...number, show: (value) => (value === AT.FDCWD ? 'AT_FDCWD' : String(value)) };
export const mode: Kind<number> = { ...number, show: (value) => `0${value.toString(8)}` };
export const hex: Kind<number | bigint> = { ...number, show: (value) => `0x${value.toString(16)}` };

export const path: Kind<Path | null> = {
  lower: (value) => (value === null ? null : cString(value)),
  show: showPath,
};

/** Memory that the kernel reads or fills; shown by its size only. */
export const memory: Kind<Memory> = {
  lower: (value) => value,
  show: (value) => {
    if (value === null) return 'NULL';
    if (typeof value === 'number' || typeof value === 'bigint') return `0x${value.toString(16)}`;
    return `[${value.length} bytes]`;
  },
};

/** Bytes that are worth showing: what is written, an xattr's value. */
export const bytes: Kind<Uint8Array | null> = {
  lower: (value) => value,
  show: (value) => {
    if (value === null) return 'NULL';
    const text = JSON.stringify(Buffer.from(value.subarray(0, maxShown)).toString('latin1'));
    return value.length > maxShown ? `${text}...` : text;
  },
};

/** Names of numbers without the prefix that they have in man pages: `O_` and `{ RDONLY: 0 }`. */
type Family = [prefix: string, names: Record<string, number>];

/** Flags, shown by their names with `|` between them. Unknown bits are shown in hexadecimal. */
export function flags(...families: Family[]): Kind<number> {
  return {
    ...number,
    show: (value) => {
      const shown: string[] = [];
      let rest = value;
      for (const [prefix, names] of families) {
        for (const [name, bit] of Object.entries(names)) {
          if (bit > 0 && (rest & bit) === bit) {
            shown.push(prefix + name);
            rest &= ~bit;
          }
        }
      }
      if (rest !== 0) shown.push(`0x${(rest >>> 0).toString(16)}`);
      return shown.length > 0 ? shown.join('|') : '0';
    },
  };
}

/** One value, shown by its name. */
export function choice(...families: Family[]): Kind<number> {
  return {
    ...number,
    show: (value) => {
      for (const [prefix, names] of families) {
        for (const [name, known] of Object.entries(names)) if (known === value) return prefix + name;
      }
      return String(value);
    },
  };
}

/** `struct open_how` of openat2(2). */
export const openHowKind: Kind<Uint8Array> = {
  lower: (value) => value,
  show: (value) => {
    const [oflags, mode, resolve] = u64s(value);
    return `{flags=${oFlags.show(oflags!)}, mode=0${mode!.toString(8)}, resolve=${resolveFlags.show(resolve!)}}`;
  },
};

/** `struct mount_attr` of mount_setattr(2). */
export const mountAttrKind: Kind<Uint8Array> = {
  lower: (value) => value,
  show: (value) => {
    const [set, clear, propagation] = u64s(value);
    return `{attr_set=${attrFlags.show(set!)}, attr_clr=${attrFlags.show(clear!)}, propagation=0x${propagation!.toString(16)}}`;
  },
};

const oFlags = flags(['O_', O]);
const resolveFlags = flags(['RESOLVE_', RESOLVE]);
const attrFlags = flags(['MOUNT_ATTR_', MOUNT_ATTR]);

function u64s(struct: Uint8Array): number[] {
  const view = Buffer.from(struct.buffer, struct.byteOffset, struct.byteLength);
  return Array.from({ length: Math.floor(view.length / 8) }, (_, i) => Number(view.readBigUInt64LE(i * 8)));
}
