/**
 * Whether what came down the pipe is the image that its digest names. Anybody may change the document on its way, and
 * the tree is then what they want. In the store it would be taken for the image from then on, also by whoever pins the
 * digest.
 */
import { dirname, join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { algorithmOf, digestOf } from '../../base/digest.js';
import { errnoName, Failure, failureOf } from '../../base/failure.js';
import { asImageConfig, asManifest, type ImageConfig, type Manifest } from '../../base/oci.js';
import { readRegular } from '../../base/regular-file.js';
import { Status } from '../../base/status.js';
import { parseJson } from '../manifest/verified.js';
import { storeHome } from './home.js';

interface Document {
  digest: string;
  manifest: Manifest;
  config: ImageConfig;
}

const hint = 'name DIR to unpack it elsewhere than in the store';

/**
 * Compares with the manifest and the config as md-fetch-layer has put them into the store by its end: which layers
 * there are, and what is run. `beside` is the path of a layer: with `sudo md-unpack` the store of md-fetch-layer is
 * another user's, and they are there. Throws `Failure` 65.
 */
export function checkGenuine({ digest, manifest, config }: Document, beside: string | undefined): void {
  const places = [join(storeHome(), 'oci/blobs'), ...(beside === undefined ? [] : [dirname(dirname(beside))])];
  const real = asManifest(parseJson(read(places, digest), digest), digest);
  const realDigest = real.config.digest;
  const realConfig = asImageConfig(parseJson(read(places, realDigest), realDigest), realDigest);
  if (isDeepStrictEqual(essence(manifest, config), essence(real, realConfig))) return;
  throw new Failure(Status.data, `image ${digest}`, 'the document on stdin has other layers or another config', {
    hint,
  });
}

/** Once through JSON, as in a pipe: it has no `undefined` and no -0. */
function essence(manifest: Manifest, { rootfs, config }: ImageConfig): unknown {
  const layers = manifest.layers.map(({ digest }) => digest);
  return JSON.parse(JSON.stringify({ digest: manifest.config.digest, layers, diffIDs: rootfs.diff_ids, config }));
}

/** A blob from the first of the directories that has it. */
function read([blobs = '', ...others]: string[], digest: string): Buffer {
  const path = join(blobs, digest.replace(':', '/'));
  let bytes: Buffer;
  try {
    // The digest may be any, also that of a layer of many gigabytes.
    bytes = readRegular(path);
  } catch (error) {
    if (errnoName(error) !== 'ENOENT') throw failureOf(error, path);
    if (others.length > 0) return read(others, digest);
    throw new Failure(Status.data, path, 'without it nobody can tell what belongs to the image', { hint });
  }
  if (digestOf(bytes, algorithmOf(digest)) === digest) return bytes;
  throw new Failure(Status.data, path, 'it does not have its digest', {
    hint: 'remove it: the next pull brings it again',
  });
}
