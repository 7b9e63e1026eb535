/** Removes a bad layer from the store. A file of its own, so that md-unpack loads the store only when it needs it. */
import { createReadStream } from 'node:fs';
import { algorithmOf, digestOfChunks } from '../../base/digest.js';
import { failureOf, hasErrno } from '../../base/failure.js';
import { storeHome } from './home.js';

interface BadLayer {
  digest?: string | undefined;
  path: string;
}

/**
 * Removes a layer whose content is wrong, so that it is fetched again next time. Returns what to do when that will
 * help: the file has changed since its digest was checked. One that has not may be wrong only as a layer of `image`, the
 * digest of a manifest: others that have it lose nothing, or any image could cost the user those that it names layers of.
 * When another process has found the same, and has brought the layer again by now, `isStillThere` is false, and what is
 * there stays.
 */
export async function discardFromStore(
  { digest, path }: BadLayer,
  isStillThere: () => boolean,
  image: unknown,
): Promise<string | undefined> {
  // A layer from elsewhere is not ours to remove. Making a Store would also create one where there is none.
  if (digest === undefined || !path.startsWith(`${storeHome()}/`)) return undefined;
  const { Store } = await import('./store.js');
  const store = new Store();
  if (store.path(digest) !== path) return undefined;
  const isDamaged = (await digestOfFile(path, algorithmOf(digest))) !== digest;
  if (!isStillThere()) return 'another process has removed or replaced it in the store by now: pull the image again';
  await store.discard(digest, (it) => isDamaged || it.digest === image);
  return isDamaged ? 'it was damaged in the store, and is removed: pull the image again' : undefined;
}

/** Undefined when the file is not there any more. */
async function digestOfFile(path: string, algorithm: string): Promise<string | undefined> {
  try {
    return await digestOfChunks(createReadStream(path), algorithm);
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return undefined;
    throw failureOf(error, path);
  }
}
