/**
 * Whiteouts: image-spec, layer.md, "Whiteouts". A file `.wh.NAME` hides NAME of the layers below, `.wh..wh..opq` hides
 * all that the layers below have in its directory. Neither touches what its own layer brings, before or after it.
 */
import { Failure } from '../../base/failure.js';
import { Status } from '../../base/status.js';
import { type ByteString, joinPath, shown, splitPath } from '../../tar/bytes.js';
import { costOf, type NamesBudget } from '../tree/limits.js';
import type { Kept } from '../tree/remove.js';

const prefix = '.wh.';
const opaque = '.wh..wh..opq';

/**
 * At the root of a layer that docker's aufs driver made: a directory with the files that have several names, of which
 * each name is a hard link. It is no part of the image itself.
 */
export const aufsLinks = '.wh..wh.plnk';

export type Whiteout = { kind: 'opaque' } | { kind: 'name'; name: ByteString } | { kind: 'skip' };

/**
 * What an entry's name means for the layers below; `undefined` for an entry like any other.
 * Throws `Failure` 65 for a whiteout without a name, of `.` or `..`, or with entries below it.
 */
export function parseWhiteout(dir: ByteString, name: ByteString): Whiteout | undefined {
  if (dir.startsWith(prefix) || dir.includes('/.wh.')) {
    // Docker's aufs driver kept its own files in directories of this name at the root of a layer.
    if (dir.startsWith('.wh..wh.')) return { kind: 'skip' };
    throw new Failure(Status.data, shown(joinPath(dir, name)), 'it lies below a whiteout');
  }
  if (!name.startsWith(prefix)) return undefined;
  if (name === opaque) return { kind: 'opaque' };
  const hidden = name.slice(prefix.length);
  if (hidden === '' || hidden === '.' || hidden === '..') {
    throw new Failure(Status.data, shown(joinPath(dir, name)), 'a whiteout of no name');
  }
  return { kind: 'name', name: hidden };
}

/** The path that a whiteout hides; for any other entry its own path. */
export function hiddenBy(path: ByteString): ByteString {
  const [dir, name] = splitPath(path);
  if (name === opaque) return dir;
  return name.startsWith(prefix) ? joinPath(dir, name.slice(prefix.length)) : path;
}

/** What the current layer has written, directories above that included; and what it has hidden already. */
export class Written {
  private readonly names = new Map<ByteString, Set<ByteString>>();
  private readonly hidden = new Set<ByteString>();

  private held = 0;

  /** Without lower layers there is nothing to hide, and nothing is remembered. */
  constructor(
    readonly hasLower: boolean,
    private readonly budget: NamesBudget,
  ) {}

  /** Notes an entry. `dir` is a path without symlinks, so that each file has one path, however it was reached. */
  add(dir: ByteString, name: ByteString): void {
    if (!this.hasLower) return;
    const known = this.names.get(dir);
    if (known?.has(name)) return;
    this.hold(name);
    if (known) {
      known.add(name);
      return;
    }
    this.hold(dir);
    this.names.set(dir, new Set([name]));
    if (dir !== '') this.add(...splitPath(dir));
  }

  /** How much a whiteout keeps of an entry. */
  kept(dir: ByteString, name: ByteString): ReturnType<Kept> {
    if (!this.names.get(dir)?.has(name)) return 'nothing';
    return this.hidden.has(joinPath(dir, name)) ? 'all' : 'itself';
  }

  /**
   * Notes that nothing of lower layers is left at this path, so that a hostile archive cannot have it searched again
   * and again.
   */
  hide(path: ByteString): void {
    if (this.hidden.has(path)) return;
    this.hold(path);
    this.hidden.add(path);
  }

  /** The layer is complete: gives back its part of the budget. */
  close(): void {
    this.budget.release(this.held);
    this.held = 0;
  }

  private hold(name: ByteString): void {
    this.held += costOf(name);
    this.budget.hold(costOf(name));
  }

  /** Whether nothing of a lower layer is left below this path, or below a directory above it. */
  isHidden(path: ByteString): boolean {
    if (this.hidden.size === 0) return false;
    for (let at = path; ; [at] = splitPath(at)) {
      if (this.hidden.has(at)) return true;
      if (at === '') return false;
    }
  }
}
