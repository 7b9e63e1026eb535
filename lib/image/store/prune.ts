/** Finds and removes what no image in the store needs. Trees are only found here: lib/unpack removes them. */
import * as fs from 'node:fs';
import { join } from 'node:path';
import { Failure, failingAs, hasErrno } from '../../base/failure.js';
import type { IndexEntry } from '../../base/oci.js';
import { Status } from '../../base/status.js';
import { noSpace, removeAll } from './file-operations.js';
import { partialsIn, storeHint, treesIn } from './home.js';
import { imageOf } from './index-json.js';
import { isAbandoned } from './own-files.js';
import { isIndexOf, reachable } from './reachable.js';
import { abandonedLinks, rootfsNames, rootfsTrees, unnameRootfs } from './rootfs.js';
import type { Store, StoredBlob } from './store.js';

export interface Prunable {
  /** Names of images. */
  images: string[];
  /** The names that have a symbolic link to a tree. They come from the disk, since index.json may contain any name. */
  links: string[];
  blobs: StoredBlob[];
  /** Incomplete blobs and other files that killed processes have left: absolute paths. */
  partials: string[];
  /** Root filesystems: absolute paths. */
  trees: string[];
  /** Those that stay. Killed processes may have left something beside them. */
  staying: string[];
}

/**
 * What is to be removed with the given images, or with all: their names, and everything that no other name leads to. An
 * image without a name in index.json, which another program has put there, stays unless `all`. Throws `Failure` 66 for
 * a name that is not there.
 */
export function prunable(store: Store, { images, all }: { images: readonly string[]; all: boolean }): Prunable {
  const entries = store.entries();
  const names = rootfsNames(store.home);
  const known = imageNames(store);
  const unknown = images.find((image) => !known.has(image));
  if (unknown !== undefined) throw notThere(unknown);
  const going = new Set(all ? known : images);
  const staying = all ? [] : entries.filter((entry) => !going.has(imageOf(entry) ?? ''));
  const trees = rootfsTrees(store.home);
  const pathOf = (tree: string) => join(treesIn(store.home), tree);
  const named = new Set([...names].filter(([name]) => !going.has(name)).map(([, tree]) => tree));
  return {
    images: [...going].sort(),
    links: [...names.keys()].filter((name) => going.has(name)),
    blobs: unneededBlobs(store, staying),
    partials: [...abandoned(partialsIn(store.home)), ...abandonedLinks(store.home)],
    trees: trees.filter((tree) => !named.has(tree)).map(pathOf),
    staying: trees.filter((tree) => named.has(tree)).map(pathOf),
  };
}

/** The names of all images: those in index.json, and those that lead to a tree. */
export function imageNames(store: Store): Set<string> {
  return new Set([...store.entries().flatMap((entry) => imageOf(entry) ?? []), ...rootfsNames(store.home).keys()]);
}

/** Where a user sees what images are called. */
export const namesHint = 'md-prune --all --dry-run lists the names that are in the store';

export function notThere(image: string): Failure {
  return new Failure(Status.missing, image, 'it is not in the store', { hint: namesHint });
}

/** Removes the names before what they lead to, except the trees. */
export async function prune(store: Store, { images, links, blobs, partials }: Prunable, all: boolean): Promise<void> {
  // A link that was left would keep the directory of the names.
  remove(partials);
  for (const link of links) unnameRootfs(link, store.home);
  const going = new Set(images);
  const forget = () => store.forget((entry) => all || going.has(imageOf(entry) ?? ''));
  const paths = blobs.map(({ path }) => path);
  try {
    await forget();
  } catch (error) {
    if (!isFull(error) || paths.length === 0) throw error;
    // On a full disk there is room for the new index only when they have gone.
    remove(paths);
    await forget();
    return;
  }
  remove(paths);
}

function remove(paths: string[]): void {
  for (const path of paths) failingAs(path, () => removeAll(path));
}

/** Whether a write failed for want of space. */
function isFull(error: unknown): boolean {
  return error instanceof Failure && hasErrno(error.cause, ...noSpace);
}

function unneededBlobs(store: Store, staying: readonly IndexEntry[]): StoredBlob[] {
  const read = (digest: string) => store.read(digest);
  const manifests = new Set(staying.map(({ digest }) => digest));
  const needed = reachable([...manifests], read);
  return store.blobs().filter(({ digest }) => !needed.has(digest) && !isIndexOf(manifests, digest, read));
}

function abandoned(directory: string): string[] {
  const find = () => fs.readdirSync(directory).filter((name) => isAbandoned(directory, name));
  return failingAs(directory, find, { hint: storeHint }).map((name) => join(directory, name));
}
