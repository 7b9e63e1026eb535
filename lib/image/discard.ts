/** Taking a blob out of the store that has turned out to be bad. Apart, since what has a use for it seldom needs the store. */
import { storeHome } from './home.js';

/** A layer of the store that is not what it should be must be fetched again next time. */
export async function discardFromStore({ digest, path }: { digest?: string | undefined; path: string }): Promise<void> {
  // A layer from elsewhere is not ours to remove, and no reason to make a store.
  if (digest === undefined || !path.startsWith(`${storeHome()}/`)) return;
  const { Store } = await import('./store.js');
  const store = new Store();
  if (store.path(digest) === path) await store.discard(digest);
}
