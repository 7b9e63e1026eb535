/** What unpacking would do, entry by entry, without doing it. */
import { createHash, type Hash } from 'node:crypto';
import type { LayerFile } from './announced.js';
import { cleanPath, joinPath, namedPath, shown, splitPath } from './bytes.js';
import type { Entry, EntryType, TarSink } from './tar.js';
import { parseWhiteout } from './whiteouts.js';

/** One entry of a layer. `whiteout` hides `path`, `opaque` all that lower layers have in it. */
export interface ListedEntry {
  path: string;
  /** The exact name, when it is not UTF-8. */
  pathBase64?: string;
  type: EntryType | 'whiteout' | 'opaque';
  /** Octal. */
  mode?: string;
  uid?: number;
  gid?: number;
  /** Bytes, of a file. */
  size?: number;
  /** Of a file's content. */
  digest?: string;
  /** Of a symlink or a hard link. */
  target?: string;
  /** `major:minor`. */
  device?: string;
  /** ISO 8601. */
  mtime?: string;
  xattrs?: string[];
  /** The layer's position, from 0. */
  layer: number;
}

const zeros = Buffer.alloc(64 * 1024);

/** A sink that hands each entry to `emit`, but for those that unpacking passes over. */
export function listEntries({ index }: LayerFile, emit: (entry: ListedEntry) => void): TarSink {
  const list = (entry: Entry, digest?: string) => {
    const line = listed(entry, index, digest);
    if (line) emit(line);
  };
  let hash: Hash | undefined;
  let current: Entry | undefined;
  return {
    entry: (entry) => {
      current = entry;
      hash = entry.type === 'file' ? createHash('sha256') : undefined;
      if (!hash) list(entry);
    },
    content: (bytes) => hash?.update(bytes),
    hole: (length) => {
      for (let left = length; left > 0; left -= zeros.length)
        hash?.update(zeros.subarray(0, Math.min(left, zeros.length)));
    },
    end: () => {
      if (current && hash) list(current, `sha256:${hash.digest('hex')}`);
    },
  };
}

function listed(entry: Entry, layer: number, digest?: string): ListedEntry | undefined {
  const path = cleanPath(entry.path);
  const [dir, name] = splitPath(path);
  const whiteout = parseWhiteout(dir, name);
  if (whiteout?.kind === 'skip') return undefined;
  if (whiteout?.kind === 'opaque') return { ...namedPath(dir || '.'), type: 'opaque', layer };
  if (whiteout?.kind === 'name') return { ...namedPath(joinPath(dir, whiteout.name)), type: 'whiteout', layer };
  const { type, mode, uid, gid, size, target, major, minor, mtime, xattrs } = entry;
  const isDevice = type === 'char' || type === 'block';
  return {
    ...namedPath(path || '.'),
    type,
    mode: mode.toString(8).padStart(4, '0'),
    uid,
    gid,
    ...(type === 'file' ? { size } : {}),
    ...(digest === undefined ? {} : { digest }),
    ...(type === 'symlink' || type === 'hardlink' ? { target: shown(target) } : {}),
    ...(isDevice ? { device: `${major}:${minor}` } : {}),
    mtime: isoTime(mtime.seconds, mtime.nanoseconds),
    ...(xattrs ? { xattrs: [...xattrs.keys()].map(shown).sort() } : {}),
    layer,
  };
}

function isoTime(seconds: number, nanoseconds: number): string {
  const date = new Date(seconds * 1000);
  if (Number.isNaN(date.getTime())) return String(seconds);
  const whole = date.toISOString().slice(0, -5);
  return nanoseconds === 0 ? `${whole}Z` : `${whole}.${String(nanoseconds).padStart(9, '0')}Z`;
}
