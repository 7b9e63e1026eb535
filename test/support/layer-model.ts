/**
 * A model of what a stack of layers means by image-spec, layer.md. It knows nothing of files, descriptors or system
 * calls. A layer consists of the entries that it has brought and the paths that it has hidden so far. Its view is what
 * the layers below have left, with both applied.
 */
import type { TarEntry } from './tar.js';

/** A file or directory. The names of a hard link share one node. */
export interface Node {
  type: 'file' | 'directory' | 'symlink' | 'fifo';
  /** The content of a file, or the target of a symlink. */
  value: string;
  mode: string;
  /** A directory that no entry has described: its attributes are not compared. */
  implied?: boolean;
}

/** By path, without symlinks on the way. */
export type Model = ReadonlyMap<string, Node>;

/** An entry that makes its layer a bad one. */
export class Refused extends Error {
  constructor(readonly why: RegExp) {
    super(String(why));
  }
}

const parentOf = (path: string) => path.slice(0, Math.max(0, path.lastIndexOf('/')));
const nameOf = (path: string) => path.slice(path.lastIndexOf('/') + 1);
const join = (dir: string, name: string) => (dir === '' ? name : `${dir}/${name}`);
const octal = (mode: number) => mode.toString(8).padStart(4, '0');

/** A layer after some of its entries. */
export class LayerModel {
  private constructor(
    /** What the layers below have left; undefined for the first layer, whose whiteouts have nothing to hide. */
    private readonly lower: Model | undefined,
    private readonly own: ReadonlyMap<string, Node>,
    private readonly hides: readonly ((path: string) => boolean)[],
  ) {}

  static over(lower: Model | undefined): LayerModel {
    return new LayerModel(lower, new Map(), []);
  }

  /** The layer with one more entry. Throws `Refused`. */
  with(entry: TarEntry): LayerModel {
    const path = String(entry.name).replace(/\/$/, '');
    const name = nameOf(path);
    if (name === '.wh..wh..opq') return this.emptied(parentOf(path));
    if (name.startsWith('.wh.')) return this.without(parentOf(path), name.slice(4));
    const [made, dir] = this.reached('', parentOf(path));
    return entry.type === 'link' ? made.linked(join(dir, name), entry) : made.replaced(join(dir, name), nodeOf(entry));
  }

  /** What there is now. */
  get view(): Model {
    const result = new Map<string, Node>();
    for (const [path, node] of this.lower ?? []) {
      if (!this.hides.some((hide) => hide(path)) && !this.covers(path)) result.set(path, node);
    }
    for (const [path, node] of this.own) {
      const below = result.get(path);
      // A directory that this layer only fills keeps the attributes from below, unless that one was hidden.
      result.set(path, node.implied && below?.type === 'directory' ? below : node);
    }
    return result;
  }

  /** A whiteout only hides what lower layers have. What this layer brings, before or after it, stays. */
  private without(dir: string, name: string): LayerModel {
    const found = this.hiding(dir);
    return found === undefined ? this : this.hidden(join(found, name));
  }

  /** An opaque marker empties a directory, but not one that a symlink leads to. */
  private emptied(dir: string): LayerModel {
    const found = this.hiding(dir);
    const above = find(this.view, parentOf(dir));
    if (found === undefined || (dir !== '' && this.view.get(join(String(above), nameOf(dir)))?.type === 'symlink'))
      return this;
    return new LayerModel(this.lower, this.own, [...this.hides, (it) => found === '' || it.startsWith(`${found}/`)]);
  }

  /** The directory in which a whiteout hides something. */
  private hiding(dir: string): string | undefined {
    if (!this.lower) return undefined;
    const found = find(this.view, dir);
    if (found === circle) throw new Refused(/go round in a circle/);
    return typeof found === 'string' ? found : undefined;
  }

  private hidden(path: string): LayerModel {
    return new LayerModel(this.lower, this.own, [...this.hides, (it) => it === path || it.startsWith(`${path}/`)]);
  }

  private replaced(path: string, node: Node): LayerModel {
    // A non-directory hides what lower layers have at and below its path, even if the entry itself is replaced later.
    return (node.type === 'directory' ? this : this.hidden(path)).put(path, node);
  }

  private linked(path: string, { linkname }: TarEntry): LayerModel {
    const target = String(linkname).replace(/^\//, '');
    const dir = find(this.view, parentOf(target));
    const source = typeof dir === 'string' ? join(dir, nameOf(target)) : undefined;
    const node = source === undefined ? undefined : this.view.get(source);
    if (node === undefined) throw new Refused(/which is not there/);
    // A link to itself changes nothing, but the name counts as this layer's from now on.
    if (source === path) return this.own.has(path) ? this : this.put(path, node.type === 'directory' ? implied : node);
    // The target is in the directory that the link replaces, so it is gone.
    if (source?.startsWith(`${path}/`)) throw new Refused(/which is not there/);
    if (node.type === 'directory') throw new Refused(/which cannot have one/);
    return this.replaced(path, node);
  }

  /**
   * The layer with all directories of a path made, and the path where they really are. A dangling symlink is followed,
   * and its target is made. Anything else that is not a directory, and does not lead to one, is replaced by one.
   */
  private reached(from: string, path: string): [LayerModel, string] {
    let layer: LayerModel = this;
    let at = from;
    for (const part of path.split('/')) {
      if (part === '..') at = parentOf(at);
      if (part === '' || part === '.' || part === '..') continue;
      const next = join(at, part);
      const found = find(layer.view, next);
      if (found === circle) throw new Refused(/go round in a circle/);
      const there = layer.view.get(next);
      if (typeof found === 'string') at = found;
      else if (found === nothing && there?.type === 'symlink')
        [layer, at] = layer.reached(there.value.startsWith('/') ? '' : at, there.value);
      else [layer, at] = [layer.put(next, implied), next];
    }
    return [layer, at];
  }

  /** An entry replaces what its own layer had there, unless both are directories; directories above it are implied. */
  private put(path: string, node: Node): LayerModel {
    const own = new Map(this.own);
    for (let above = parentOf(path); above !== ''; above = parentOf(above)) {
      if (own.get(above)?.type !== 'directory') own.set(above, implied);
    }
    if (node.type !== 'directory' || own.get(path)?.type !== 'directory') {
      for (const other of [...own.keys()]) if (other.startsWith(`${path}/`)) own.delete(other);
    }
    own.set(path, node);
    return new LayerModel(this.lower, own, this.hides);
  }

  /** Whether something above the path is not a directory any more. */
  private covers(path: string): boolean {
    for (let at = parentOf(path); at !== ''; at = parentOf(at)) {
      const above = this.own.get(at);
      if (above && above.type !== 'directory') return true;
    }
    return false;
  }
}

const implied: Node = { type: 'directory', value: '', mode: octal(0o755), implied: true };

function nodeOf({ type = 'file', mode = 0o644, data = '', linkname = '' }: TarEntry): Node {
  const isLink = type === 'symlink';
  return {
    type: type as Node['type'],
    value: String(isLink ? linkname : data),
    mode: octal(isLink ? 0o777 : mode),
  };
}

/** Why a path leads to no directory. */
const nothing = Symbol('nothing is there');
const obstacle = Symbol('something else is there');
const circle = Symbol('symlinks go round in a circle');

/** path_resolution(7) in a root of its own: the directory that a path leads to. */
export function find(view: Model, path: string): string | typeof nothing | typeof obstacle | typeof circle {
  let links = 0;
  let at = '';
  for (let parts = path.split('/'); parts.length > 0; ) {
    const [part = '', ...rest] = parts;
    parts = rest;
    if (part === '..') at = parentOf(at);
    if (part === '' || part === '.' || part === '..') continue;
    const node = view.get(join(at, part));
    if (!node) return nothing;
    if (node.type === 'symlink') {
      links += 1;
      if (links > 40) return circle;
      if (node.value.startsWith('/')) at = '';
      parts = [...node.value.split('/'), ...rest];
    } else if (node.type === 'directory') at = join(at, part);
    else return obstacle;
  }
  return at;
}
