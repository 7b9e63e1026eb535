/** Downloads the layers of an image: several at a time, and announced in order. */

import type { Descriptor, ImageConfig, Manifest } from '../base/oci.js';
import type { Source } from '../base/source.js';
import type { Store } from '../image/store/store.js';
import type { Layer } from '../pipe/document.js';
import type { Progress } from '../pipe/progress.js';

interface LayersRequest {
  manifest: Manifest;
  source: Source;
  store: Store;
  /** How many are downloaded at the same time. */
  jobs: number;
  progress: Progress;
}

/** Fetches the layers of an image into the store. */
export class LayerFetch {
  /** The path of each layer that is verified and on disk, by digest. */
  private readonly paths = new Map<string, string>();
  /** The workers share it: each takes what is next. */
  private readonly queue: IterableIterator<Descriptor>;
  private readonly workers: Promise<void>[] = [];
  private tell = () => {};

  /** Begins with one download fewer than `jobs`, since the config is still being fetched. */
  constructor(private readonly request: LayersRequest) {
    const { manifest, jobs } = request;
    // The same layer may come twice in one image: it is fetched once.
    const wanted = new Map(manifest.layers.map((layer) => [layer.digest, layer]));
    this.queue = wanted.values();
    for (let others = Math.min(jobs - 1, wanted.size); others > 0; others--) this.work();
  }

  /**
   * Downloads the rest. Calls `announce` for each layer in the order of the manifest, as soon as it and all before it
   * are there. `config` has to have a diffID for each. Rejects at the first failure.
   */
  async end(config: ImageConfig, announce: (layer: Layer) => void): Promise<void> {
    const { layers } = this.request.manifest;
    const diffIDs = config.rootfs.diff_ids;
    let announced = 0;
    this.tell = () => {
      for (; announced < layers.length; announced++) {
        const { digest, mediaType, size } = layers[announced]!;
        const path = this.paths.get(digest);
        if (path === undefined) return;
        announce({ index: announced, digest, diffID: diffIDs[announced]!, mediaType, size, path });
      }
    };
    this.tell();
    this.work();
    await Promise.all(this.workers);
  }

  private work(): void {
    const work = this.fetchAll();
    // `end` awaits it. A failure before that must not count as unhandled.
    work.catch(() => {});
    this.workers.push(work);
  }

  private async fetchAll(): Promise<void> {
    for (const layer of this.queue) {
      this.paths.set(layer.digest, await fetchLayer(this.request, layer));
      this.tell();
    }
  }
}

async function fetchLayer({ store, source, progress }: LayersRequest, layer: Descriptor): Promise<string> {
  const bar = progress.bar(layer.digest.slice(7, 19), layer.size);
  const { path, found } = await store.fetch(layer, source, (bytes) => bar.at(bytes));
  bar.done(found ? 'already there' : undefined);
  return path;
}
