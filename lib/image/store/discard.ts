/** Removes a bad layer from the store. A file of its own, so that md-unpack loads the store only when it needs it. */
import { createReadStream } from 'node:fs';
import { algorithmOf, digestOfChunks } from '../../base/digest.js';
import { failingLater } from '../../base/failure.js';
import { storeHome } from './home.js';

interface BadLayer {
  digest?: string | undefined;
  path: string;
}

/**
 * Removes a layer whose content is wrong, so that it is fetched again next time. Returns what to do when that will
 * help: the file has changed since its digest was checked.
 */
export async function discardFromStore({ digest, path }: BadLayer): Promise<string | undefined> {
  // A layer from elsewhere is not ours to remove. Making a Store would also create one where there is none.
  if (digest === undefined || !path.startsWith(`${storeHome()}/`)) return undefined;
  const { Store } = await import('./store.js');
  const store = new Store();
  if (store.path(digest) !== path) return undefined;
  const isDamaged = (await digestOfFile(path, algorithmOf(digest))) !== digest;
  await store.discard(digest);
  return isDamaged ? 'it was damaged in the store, and is removed: pull the image again' : undefined;
}

function digestOfFile(path: string, algorithm: string): Promise<string> {
  return failingLater(path, () => digestOfChunks(createReadStream(path), algorithm));
}
