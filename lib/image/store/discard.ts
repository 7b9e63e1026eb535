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
 * Removes a layer whose content is not that of its diffID, so that the next pull fetches it again. Returns what to do
 * where that will help: the file was damaged since its digest was checked.
 *
 * A file that still has its digest may be right for other images: then it is only `image`, the digest of a manifest,
 * that names a wrong diffID for it. The others keep it, or an image could make the store lose the layers of any other.
 * Where another process has found the same and has fetched the layer again by now, `isStillThere` is false, and the new
 * file stays.
 */
export async function discardFromStore(
  { digest, path }: BadLayer,
  isStillThere: () => boolean,
  image: string,
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
