/**
 * A tree and its document cannot be renamed at once. So the document stands ready beside the tree before the tree comes
 * to its place, under a name that has the inode of the tree's root in it: whoever reads it looks there first, and finds
 * what belongs to the tree that is there at that moment. Then it becomes `DIR.json`. Empty, it says that there is none.
 */
import { statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

/** What the names of a run's temporary files begin with. */
export function interimPrefix(base: string): string {
  return `.${base}.md-unpack-`;
}

/** The name of the new tree until it is `base`, and with `.json` that of its document. `inode` is that of its root. */
export function interimName(base: string, inode: bigint): string {
  return `${interimPrefix(base)}${inode}`;
}

/** Where the document of the tree at `path` may stand, by its real path, instead of at `DIR.json`. */
export function interimDocument(path: string): string {
  const { ino } = statSync(path, { bigint: true });
  return join(dirname(path), `${interimName(basename(path), ino)}.json`);
}

/** In /tmp everybody can put a file beside a tree: it counts when its owner could have written `DIR.json` as well. */
export function isBelievable(owner: number, directoryOwner: number): boolean {
  return owner === 0 || owner === process.geteuid!() || owner === directoryOwner;
}
