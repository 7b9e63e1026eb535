/** `--offline`: the store itself is the source, so that nobody is asked for anything. */
import { isDigest } from '../../base/check.js';
import { Failure } from '../../base/failure.js';
import { type IndexEntry, platformName, unknownArchitecture } from '../../base/oci.js';
import type { RawManifest, Source } from '../../base/source.js';
import { Status } from '../../base/status.js';
import { bestOf, type Choice } from '../manifest/platform.js';
import { isThere, storeHome } from './home.js';
import { Store } from './store.js';

export class Offline implements Source {
  constructor(
    private readonly store: Store,
    private readonly image: string,
    private readonly choice: Choice,
  ) {}

  /** By digest this always fails: callers have looked in the store before they ask. */
  async manifest(reference: string): Promise<RawManifest> {
    if (isDigest(reference)) throw notStored(`manifest ${reference} of ${this.image}`);
    const entries = this.store.images(this.image);
    if (entries.length === 0) throw notStored(this.image);
    const chosen = this.choose(entries);
    if (!chosen) throw this.otherPlatform(entries);
    const bytes = this.store.read(chosen.digest);
    if (!bytes) throw notStored(`manifest ${chosen.digest} of ${this.image}`);
    return { bytes, contentType: chosen.mediaType };
  }

  /**
   * The best entry for the platform. Otherwise what a pull would have accepted: an image with no platform of its own;
   * or, when the user names no platform, the only image that there is.
   */
  private choose(entries: IndexEntry[]): IndexEntry | undefined {
    const { wanted, strict } = this.choice;
    const best = bestOf(entries, wanted);
    if (best) return best;
    const open = entries.find(({ platform }) => platform?.architecture === unknownArchitecture);
    return open ?? (strict || entries.length > 1 ? undefined : entries[0]);
  }

  async blob({ digest }: { digest: string }): Promise<void> {
    throw notStored(`blob ${digest} of ${this.image}`);
  }

  private otherPlatform(entries: IndexEntry[]): Failure {
    const has = entries.map(({ platform }) => (platform ? platformName(platform) : 'no platform'));
    const why = `it is not in the store for ${platformName(this.choice.wanted)}`;
    return new Failure(Status.missing, this.image, why, { hint: `it is there for ${has.join(', ')}` });
  }
}

/** Throws `Failure` 66 when the store has nothing of an image, by its name or by a digest, or when there is no store. */
export function expectStored(image: string, reference: string): void {
  const home = storeHome();
  // Looking for an image must not create a store.
  const store = isThere(home) ? new Store(home) : undefined;
  const found = isDigest(reference) ? store?.read(reference) : store?.images(image)[0];
  if (!found) throw notStored(image);
}

function notStored(what: string): Failure {
  return new Failure(Status.missing, what, 'it is not in the store', { hint: 'pull it without --offline' });
}
