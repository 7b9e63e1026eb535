/**
 * Applies the entries of one layer to the tree, with the meaning that image-spec, layer.md gives them: a later entry
 * replaces an earlier one, whiteouts remove what lower layers left, and nothing is written through an existing file.
 */
import { ENOENT, ENOTDIR } from '../../sys/syscalls/errno.js';
import { type ByteString, joinPath, splitPath } from '../../tar/bytes.js';
import type { Entry, TarSink } from '../../tar/entry.js';
import { entryFailure } from '../tree/entry-failure.js';
import { EntryMaker, type Place } from '../tree/entry-maker.js';
import { countBytes, countEntry, countOne, type Limits } from '../tree/limits.js';
import type { OpenFile } from '../tree/open-file.js';
import type { Kept } from '../tree/remove.js';
import { unreachable } from '../tree/rooted.js';
import type { Tree } from '../tree/tree.js';
import { type Located, locate } from './locate.js';
import { aufsLinks, type Whiteout, Written } from './whiteouts.js';

export class LayerWriter implements TarSink {
  private readonly written: Written;
  private readonly maker: EntryMaker;

  /** The entry whose content comes. */
  private current: Entry | undefined;
  /**
   * A file that has not been created yet: small ones come with all their content in one piece, which is then `whole`.
   */
  private waiting: Located | undefined;
  private whole: Buffer | undefined;
  /** A file that is open, since its content comes in several pieces; and where it is. */
  private open: { file: OpenFile; path: ByteString } | undefined;

  /**
   * `isBase`: there is no lower layer, so that whiteouts have nothing to hide. `left` is what is left of the limits,
   * which all layers share. `sourceOf` returns the tree with the target of a hard link, when that is not this one.
   */
  constructor(
    private readonly tree: Tree,
    isBase: boolean,
    private readonly left: Limits,
    sourceOf: (target: ByteString) => Tree | undefined,
  ) {
    this.maker = new EntryMaker(tree, sourceOf);
    this.written = new Written(!isBase, tree.names);
    tree.onMade = (path) => {
      countOne(left);
      this.written.add(...splitPath(path));
    };
  }

  entry(entry: Entry): void {
    countEntry(this.left, entry);
    this.current = entry;
    this.attempt(() => this.begin(entry));
  }

  content(bytes: Buffer): void {
    countBytes(this.left, bytes.length);
    if (bytes.length === this.waiting?.entry.size) this.whole = bytes;
    else this.attempt(() => this.opened()?.write(bytes));
  }

  hole(length: number): void {
    this.attempt(() => this.opened()?.hole(length));
  }

  end(): void {
    this.attempt(() => {
      const { waiting, whole, open } = this;
      this.waiting = undefined;
      this.whole = undefined;
      if (waiting) this.makeLater(waiting, whole);
      else if (open) this.maker.finishFile(this.current!, open.file, open.path);
      this.open = undefined;
    });
  }

  /** Closes a file that a failure left open, and frees what was kept for this layer. */
  close(): void {
    this.written.close();
    this.open?.file.letGo();
    this.open = undefined;
  }

  /** Does one step for an entry; a failure names that entry. */
  private attempt(step: () => void, { path, size } = this.current!): void {
    try {
      step();
    } catch (error) {
      throw entryFailure(error, path, size);
    }
  }

  private begin(entry: Entry): void {
    const located = locate(entry);
    const { path, above, whiteout, isOnlyLinked } = located;
    if (path === '') this.setRoot(entry);
    else if (isOnlyLinked) {
      this.tree.scaffold = aufsLinks;
      this.waiting = located;
    } else if (whiteout) this.hide(above, whiteout);
    else if (entry.type === 'file') this.waiting = located;
    else if (entry.type === 'symlink') this.makeLater(located);
    else this.makeNow(located);
  }

  /** The file that content is for, created by now. Undefined for a whiteout, whose content means nothing. */
  private opened(): OpenFile | undefined {
    const { waiting } = this;
    this.waiting = undefined;
    if (waiting) {
      const place = this.placeFor(waiting);
      this.open = { file: this.maker.openFile(waiting.entry, place), path: place.path };
      this.written.add(place.dir.path, place.name);
    }
    return this.open?.file;
  }

  /**
   * Where an entry goes. Its directory is made when it is not there, and everything that was put off is made before.
   */
  private placeFor({ above, name }: Located): Place {
    this.tree.deferred?.flush();
    const dir = this.tree.root.ensure(above);
    return { dir, name, path: joinPath(dir.path, name) };
  }

  private makeNow(located: Located, content?: Buffer): void {
    const place = this.placeFor(located);
    this.maker.make(located.entry, place, content);
    this.written.add(place.dir.path, place.name);
  }

  /**
   * Puts off a file whose content is complete, or a symlink; makes it at once when it needs what `Deferred` cannot do.
   */
  private makeLater(located: Located, content?: Buffer): void {
    const { entry, above, name } = located;
    const { maker } = this;
    const { deferred } = this.tree;
    if (!deferred || entry.xattrs) {
      this.makeNow(located, content);
      return;
    }
    const dir = this.tree.root.ensure(above);
    const { uid, gid, mode, mtime, target } = entry;
    const isForeign = !maker.owns(entry, dir.ownGroup);
    const owner = isForeign && maker.isRoot ? { uid, gid } : undefined;
    if (entry.type === 'symlink' && (owner || this.tree.followsLinks)) {
      this.makeNow(located, content);
      return;
    }
    const path = joinPath(dir.path, name);
    this.tree.forgetUnset(path);
    if (isForeign && !maker.isRoot) maker.recordOwner(entry, path);
    const again = () => {
      // What came before it may lead its name elsewhere by now: what is on record there was never made.
      this.tree.forgetUnset(path);
      this.attempt(() => this.makeNow(located, content), entry);
    };
    const place = { dirfd: dir.fd, name, again };
    if (entry.type === 'file') deferred.file(place, { content, mode, owner, mtime });
    else deferred.symlink(place, target, mtime);
    this.written.add(dir.path, name);
    if (deferred.isFull) deferred.flush();
  }

  private setRoot(entry: Entry): void {
    this.tree.deferred?.flush();
    this.maker.setDirectory(this.tree.fd, entry, '');
  }

  /** Removes what a whiteout in the directory `above` hides: all of it that is not of this layer. */
  private hide(above: ByteString, whiteout: Whiteout): void {
    if (whiteout.kind === 'skip' || !this.written.hasLower) return;
    this.tree.deferred?.flush();
    const dir = this.tree.root.find(above);
    if (dir === -ENOENT || dir === -ENOTDIR) return;
    if (typeof dir === 'number') throw unreachable(above, dir);
    const kept: Kept = (at, name) => this.written.kept(at, name);
    if (whiteout.kind === 'name') {
      // Only directories above count here. The named one may have been emptied before, and it is still there.
      if (this.written.isHidden(dir.path)) return;
      this.tree.remove(dir, whiteout.name, kept);
      this.written.hide(joinPath(dir.path, whiteout.name));
      return;
    }
    // When `above` itself is a symlink, the directory behind it is another one, and is not emptied.
    const [parent, name] = splitPath(above);
    const up = this.tree.root.find(parent);
    if (above !== '' && typeof up !== 'number' && joinPath(up.path, name) !== dir.path) return;
    if (this.written.isHidden(dir.path)) return;
    this.tree.clear(dir, kept);
    this.written.hide(dir.path);
  }
}
