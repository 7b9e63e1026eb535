/**
 * Whether what came down the pipe is the image that its digest names. Anybody may change the document on its way, and
 * the tree is then what they want. In the store it would be taken for the image from then on, also by whoever pins the
 * digest.
 */
import { dirname } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { JsonObject } from '../../base/check.js';
import { Failure } from '../../base/failure.js';
import { asImageConfig, asManifest, type ImageConfig, type Manifest } from '../../base/oci.js';
import { Status } from '../../base/status.js';
import type { ManifestDocument } from '../../pipe/document.js';
import { parseJson } from '../manifest/verified.js';
import { readDocument } from './blob-files.js';
import { blobsIn, storeHome } from './home.js';

const hint = 'name DIR to unpack it elsewhere than in the store';

/**
 * Compares with the manifest and the config as md-fetch-layer has put them into the store by its end: which layers
 * there are, and what is run. `beside` is the path of a layer: with `sudo md-unpack` the store of md-fetch-layer is
 * another user's, and they are there. Throws `Failure` 65.
 */
export function checkGenuine({ digest, manifest, config }: ManifestDocument, beside: string | undefined): void {
  const places = [blobsIn(storeHome()), ...(beside === undefined ? [] : [dirname(dirname(beside))])];
  const real = asManifest(documentIn(places, digest), digest);
  const realConfig = asImageConfig(documentIn(places, real.config.digest), real.config.digest);
  if (isDeepStrictEqual(essence(manifest, config), essence(real, realConfig))) return;
  throw new Failure(Status.data, `image ${digest}`, 'the document on stdin has other layers or another config', {
    hint,
  });
}

function documentIn(places: string[], digest: string): JsonObject {
  for (const place of places) {
    const bytes = readDocument(place, digest);
    if (bytes) return parseJson(bytes, digest);
  }
  const why = 'it is not in the store, or damaged, and without it nobody can tell what belongs to the image';
  throw new Failure(Status.data, digest, why, { hint });
}

/**
 * Once through JSON, as in a pipe: it has no `undefined` and no -0. The diffIDs say what is in the layers, however they
 * are compressed.
 */
function essence(manifest: Manifest, { rootfs, config }: ImageConfig): unknown {
  return JSON.parse(JSON.stringify({ digest: manifest.config.digest, diffIDs: rootfs.diff_ids, config }));
}
