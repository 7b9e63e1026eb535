/** Downloading the layers of an image: several at a time, told of in their order. */

import type { Layer } from '../pipe/document.js';
import { Failure } from '../pipe/failure.js';
import type { ImageConfig, Manifest } from '../pipe/oci.js';
import type { Progress } from '../pipe/progress.js';
import { Status } from '../pipe/status.js';
import type { Source } from './source.js';
import type { Store } from './store.js';

export interface LayersRequest {
  manifest: Manifest;
  config: ImageConfig;
  source: Source;
  store: Store;
  /** How many are downloaded at the same time. */
  jobs: number;
  progress: Progress;
}

/**
 * Fetches all layers into the store and calls `announce` for each, in the order of the manifest, as soon as it and all
 * before it are verified and on disk. Rejects at the first failure.
 */
export async function fetchLayers(request: LayersRequest, announce: (layer: Layer) => void): Promise<void> {
  const { manifest, config, jobs } = request;
  const { layers } = manifest;
  if (layers.length !== config.rootfs.diff_ids.length) {
    const why = `${layers.length} layers in the manifest, and ${config.rootfs.diff_ids.length} diffIDs in the config`;
    throw new Failure(Status.data, 'document on stdin', why);
  }
  // The same layer may come twice in one image: it is fetched once.
  const paths = new Map<string, string>();
  const wanted = [...new Map(layers.map((layer) => [layer.digest, layer])).values()];
  let announced = 0;
  const tell = () => {
    for (; announced < layers.length; announced++) {
      const { digest, mediaType, size } = layers[announced]!;
      const path = paths.get(digest);
      if (path === undefined) return;
      announce({ index: announced, digest, diffID: config.rootfs.diff_ids[announced]!, mediaType, size, path });
    }
  };
  const queue = wanted.values();
  const work = async () => {
    // The workers share one iterator: each takes what is next.
    for (const layer of queue) {
      paths.set(layer.digest, await fetchLayer(request, layer));
      tell();
    }
  };
  await Promise.all(Array.from({ length: Math.min(jobs, wanted.length) }, work));
}

async function fetchLayer(
  { store, source, progress }: LayersRequest,
  layer: Manifest['layers'][number],
): Promise<string> {
  const bar = progress.bar(layer.digest.slice(7, 19), layer.size);
  const { path, found } = await store.fetch(layer, source, (bytes) => bar.at(bytes));
  bar.done(found ? 'already there' : undefined);
  return path;
}
