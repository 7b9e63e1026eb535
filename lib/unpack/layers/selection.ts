/**
 * Parts of an image: a sink that passes on only the entries for the wanted paths. A wanted hard link may name a file
 * that is not wanted, in the same layer or a lower one. An archive is a stream: when the link comes, the file has
 * already gone by. So its path is remembered, and the layers are read once more. Such files are then written to a spare
 * tree, and linked from there.
 */

import { Failure } from '../../base/failure.js';
import { Status } from '../../base/status.js';
import { type ByteString, byteString, cleanPath, joinPath, shown, splitPath } from '../../tar/bytes.js';
import type { Entry, TarSink } from '../../tar/entry.js';
import { MissingTarget } from '../tree/entry-maker.js';
import { costOf, NamesBudget } from '../tree/limits.js';
import { statAt } from '../tree/stat.js';
import type { Tree } from '../tree/tree.js';
import { hiddenBy } from './whiteouts.js';

/**
 * A link to a link takes another pass, and so does a symlink on the way to one. No honest image needs more than a few.
 */
const maxPasses = 40;

/** In an array that grows. */
const bytesOfReference = 16;

export class Selection {
  private readonly wanted: ByteString[];
  /** Targets of wanted hard links that are not wanted themselves; and of each directory above those, which are below. */
  private readonly sources = new Set<ByteString>();
  private readonly ways = new Map<ByteString, ByteString[]>();
  /** Of a symlink on the way and where it leads, for how many of the sources below it that has been worked out. */
  private readonly followed = new Map<ByteString, number>();
  private readonly names = new NamesBudget();
  private hasGrown = false;
  /** Everything is a source, since one was not there under its own name. */
  private isAnySource = false;
  private passes = 0;

  /**
   * Selects `paths`, what is below them, and the directories and symlinks on the way to them. Without `paths`,
   * everything. Throws `Failure` 64 for an empty one.
   */
  constructor(paths: string[]) {
    // As a path it would be all of the image, where a variable without a value was meant to be a part.
    if (paths.includes('')) throw new Failure(Status.usage, '--only', 'the path is empty', { hint: 'for all write .' });
    this.wanted = paths.map((path) => cleanPath(byteString(path)));
  }

  get isAll(): boolean {
    return this.wanted.length === 0;
  }

  /** Whether the layers have to be read once more, with a spare tree. Throws `Failure` 65 after too many passes. */
  needsPass(): boolean {
    const { hasGrown } = this;
    this.hasGrown = false;
    this.passes += 1;
    if (hasGrown && this.passes === maxPasses)
      throw new Failure(Status.data, 'archive', 'its hard links refer to other hard links without end');
    return hasGrown;
  }

  /** Throws `Failure` 64 for a wanted path that has come to nothing. */
  expectIn(tree: Tree): void {
    for (const path of this.wanted) {
      if (path === '' || tree.unset.has(path) || isIn(tree, path)) continue;
      const hint = 'it may lie behind a symlink; --list has the names as they are';
      throw new Failure(Status.usage, `--only ${shown(path)}`, 'the image has nothing of this name', { hint });
    }
  }

  /** A sink that passes wanted entries to `main`, and to `spare` what wanted hard links need. */
  sink(main: TarSink, spare?: TarSink): TarSink {
    if (this.isAll) return main;
    let takers: TarSink[] = [];
    return {
      entry: (entry) => {
        takers = [];
        const path = hiddenBy(cleanPath(entry.path));
        if (this.isWanted(path) && this.takes(main, entry)) takers.push(main);
        if (spare && this.isSource(path, entry) && this.takes(spare, entry)) takers.push(spare);
      },
      content: (bytes) => {
        for (const taker of takers) taker.content(bytes);
      },
      hole: (length) => {
        for (const taker of takers) taker.hole(length);
      },
      end: () => {
        for (const taker of takers) taker.end();
      },
      close: () => {
        main.close?.();
        spare?.close?.();
      },
    };
  }

  /** The tree that holds the target of a hard link in `main`. */
  sourceOf(target: ByteString, main: Tree, spare: Tree | undefined): Tree | undefined {
    if (this.isAll) return main;
    return this.isWanted(target) && isIn(main, target) ? main : spare;
  }

  /** Whether a path is wanted, or on the way to one that is. */
  isWanted(path: ByteString): boolean {
    if (this.isAll || path === '') return true;
    return this.wanted.some((it) => path === it || it === '' || path.startsWith(`${it}/`) || it.startsWith(`${path}/`));
  }

  private takes(sink: TarSink, entry: Entry): boolean {
    try {
      sink.entry(entry);
      return true;
    } catch (error) {
      if (!(error instanceof MissingTarget)) throw error;
      this.addSource(cleanPath(entry.target));
      if (!this.hasGrown) {
        if (this.isAnySource) throw error;
        // It may have come under another name, through a symlink: where that led, the whole image tells.
        this.isAnySource = true;
        this.hasGrown = true;
      }
      return false;
    }
  }

  private isSource(path: ByteString, entry: Entry): boolean {
    if (this.isAnySource) return true;
    if (entry.type === 'symlink' && this.ways.has(path)) this.follow(path, entry.target);
    return this.sources.has(path) || this.ways.has(path);
  }

  /**
   * A source below a symlink is really where the symlink leads: that path becomes a source, too. Each is worked out once:
   * a hostile archive has the same symlink a million times.
   */
  private follow(link: ByteString, target: ByteString): void {
    const to = cleanPath(target.startsWith('/') ? target : joinPath(splitPath(link)[0], target));
    const way = `${link}\0${to}`;
    const done = this.followed.get(way);
    if (done === undefined) this.names.hold(costOf(way));
    const coming = this.ways.get(link)!.slice(done);
    this.followed.set(way, (done ?? 0) + coming.length);
    for (const path of coming) this.addSource(joinPath(to, path.slice(link.length + 1)));
  }

  private addSource(path: ByteString): void {
    if (this.sources.has(path)) return;
    this.names.hold(costOf(path));
    this.sources.add(path);
    this.hasGrown = true;
    for (let [above] = splitPath(path); above !== ''; [above] = splitPath(above)) {
      const known = this.ways.get(above);
      this.names.hold(known ? bytesOfReference : costOf(above));
      if (known) known.push(path);
      else this.ways.set(above, [path]);
    }
  }
}

/** Whether a tree has something at a path, symlinks above it followed. */
function isIn(tree: Tree, path: ByteString): boolean {
  const [above, name] = splitPath(path);
  const dir = tree.root.findIfThere(above);
  return dir !== undefined && statAt(dir.fd, name) !== undefined;
}
