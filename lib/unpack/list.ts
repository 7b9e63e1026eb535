/** What unpacking would do, entry by entry, without doing it. */
import { createHash, type Hash } from 'node:crypto';
import { type ByteString, joinPath, namedPath, shown } from '../tar/bytes.js';
import { type Entry, type EntryType, isDevice, type TarSink } from '../tar/entry.js';
import type { LayerFile } from './layers/announced.js';
import { type Located, locate } from './layers/locate.js';
import { type ReadOptions, readLayers } from './layers/read.js';
import { Selection } from './layers/selection.js';
import { countBytes, countEntry, type Limits } from './tree/limits.js';
import { tooDeep } from './tree/rooted.js';

/** One entry of a layer. `whiteout` removes `path`; `opaque` removes everything that lower layers have in it. */
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
  size?: number | undefined;
  /** Of a file's content. Left out for a file with very large holes: see `maxZeros`. */
  digest?: string | undefined;
  /** Of a symlink or a hard link. */
  target?: string | undefined;
  /** `major:minor`. */
  device?: string | undefined;
  /** ISO 8601. */
  mtime?: string;
  xattrs?: string[] | undefined;
  /** The layer's position, from 0. */
  layer: number;
}

export interface ListOptions extends Pick<ReadOptions, 'progress' | 'decompressor'> {
  limits: Limits;
  /** Only these paths and what is below them; everything when empty. */
  only?: string[];
}

/** What is left of the limits, and of the zeros that may be hashed for holes. All layers share it. */
interface Left extends Limits {
  zeros: number;
}

/** Bytes of holes that are hashed. A header can claim petabytes, which would take days; honest files have few. */
const maxZeros = 256 * 1024 * 1024;
const zeros = Buffer.alloc(64 * 1024);

/**
 * Reads the layers and calls `emit` with each entry, except for those that unpacking skips. Throws `Failure` 65 for a
 * bad layer, and for one that unpacking would refuse because of the limits.
 */
export async function listLayers(
  layers: AsyncIterable<LayerFile>,
  { limits, only, progress, decompressor }: ListOptions,
  emit: (entry: ListedEntry) => void,
): Promise<void> {
  const selection = new Selection(only ?? []);
  const left = { ...limits, zeros: maxZeros };
  const sinkFor = ({ index }: LayerFile) => selection.sink(new LayerLister(index, left, emit));
  await readLayers(layers, sinkFor, { progress, decompressor });
}

class LayerLister implements TarSink {
  private current: Located | undefined;
  private hash: Hash | undefined;

  constructor(
    private readonly layer: number,
    private readonly left: Left,
    private readonly emit: (entry: ListedEntry) => void,
  ) {}

  entry(entry: Entry): void {
    countEntry(this.left, entry);
    this.current = locate(entry);
    const { path, whiteout } = this.current;
    if (!whiteout) checkDepth(entry.type, path, this.left.depth);
    if (entry.type === 'file') this.hash = createHash('sha256');
    else this.list();
  }

  content(bytes: Buffer): void {
    countBytes(this.left, bytes.length);
    this.hash?.update(bytes);
  }

  /** A hole does not count as content, as in unpacking. */
  hole(length: number): void {
    if (length > this.left.zeros) this.hash = undefined;
    if (!this.hash) return;
    this.left.zeros -= length;
    for (let rest = length; rest > 0; rest -= zeros.length) {
      this.hash.update(zeros.subarray(0, Math.min(rest, zeros.length)));
    }
  }

  end(): void {
    this.list(this.hash && `sha256:${this.hash.digest('hex')}`);
  }

  private list(digest?: string): void {
    const line = listed(this.current!, this.layer, digest);
    if (line) this.emit(line);
  }
}

/**
 * Counts the directories that unpacking would make. It goes by the names alone, since there is no tree with symlinks.
 */
function checkDepth(type: EntryType, path: ByteString, maxDepth: number): void {
  if (path === '') return;
  const parts = path.split('/');
  const directories = type === 'directory' ? parts.length : parts.length - 1;
  if (directories > maxDepth) throw tooDeep(parts.slice(0, maxDepth + 1).join('/'), maxDepth);
}

function listed({ entry, path, above, whiteout }: Located, layer: number, digest?: string): ListedEntry | undefined {
  if (whiteout?.kind === 'skip') return undefined;
  if (whiteout?.kind === 'opaque') return { ...namedPath(above || '.'), type: 'opaque', layer };
  if (whiteout?.kind === 'name') return { ...namedPath(joinPath(above, whiteout.name)), type: 'whiteout', layer };
  const { type, mode, uid, gid, size, target, major, minor, mtime, xattrs } = entry;
  return {
    ...namedPath(path || '.'),
    type,
    mode: mode.toString(8).padStart(4, '0'),
    uid,
    gid,
    size: type === 'file' ? size : undefined,
    digest,
    target: type === 'symlink' || type === 'hardlink' ? shown(target) : undefined,
    device: isDevice(type) ? `${major}:${minor}` : undefined,
    mtime: isoTime(mtime.seconds, mtime.nanoseconds),
    xattrs: xattrs && [...xattrs.keys()].map(shown).sort(),
    layer,
  };
}

function isoTime(seconds: number, nanoseconds: number): string {
  const date = new Date(seconds * 1000);
  if (Number.isNaN(date.getTime())) return String(seconds);
  const whole = date.toISOString().slice(0, -5);
  return nanoseconds === 0 ? `${whole}Z` : `${whole}.${String(nanoseconds).padStart(9, '0')}Z`;
}
