/**
 * How a reader finds the right document at every moment, although a tree and its document cannot be renamed at once.
 * The document is written before the tree is put in place, under an interim name that contains the inode of the tree's
 * root. Readers look for that name first, so they find the document of the tree that is there at that moment. In the
 * end it is renamed to `DIR.json`. An empty interim document means that the tree has none.
 */
import { statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

/** The beginning of the names of temporary files beside `base`. */
export function interimPrefix(base: string): string {
  return `.${base}.md-unpack-`;
}

/** The interim name of a new tree, and with `.json` of its document. `inode` is that of the tree's root. */
export function interimName(base: string, inode: bigint): string {
  return `${interimPrefix(base)}${inode}`;
}

/** The path of the interim document of the tree at `path`, which must be a real path. */
export function interimDocument(path: string): string {
  const { ino } = statSync(path, { bigint: true });
  return join(dirname(path), `${interimName(basename(path), ino)}.json`);
}

/**
 * Whether an interim document counts. In /tmp everybody can make one, so its owner must be somebody who may write
 * `DIR.json`.
 */
export function isBelievable(owner: number, directoryOwner: number): boolean {
  return owner === 0 || owner === process.geteuid!() || owner === directoryOwner;
}
