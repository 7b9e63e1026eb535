/** Removes a bad layer from the store. A file of its own, so that md-unpack loads the store only when it needs it. */
import { storeHome } from './home.js';

/** Removes a layer whose content is wrong, so that it is fetched again next time. */
export async function discardFromStore({ digest, path }: { digest?: string | undefined; path: string }): Promise<void> {
  // A layer from elsewhere is not ours to remove. Making a Store would also create one where there is none.
  if (digest === undefined || !path.startsWith(`${storeHome()}/`)) return;
  const { Store } = await import('./store.js');
  const store = new Store();
  if (store.path(digest) === path) await store.discard(digest);
}
