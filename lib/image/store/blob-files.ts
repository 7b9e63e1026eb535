/** The blobs of an OCI image layout as files: image-spec, image-layout.md, "Blobs". `blobs` is their directory. */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { isDigest } from '../../base/check.js';
import { hasDigest } from '../../base/digest.js';
import { failingAs, ignoring } from '../../base/failure.js';
import { documentLimit } from '../../base/oci.js';
import { readRegular } from '../../base/regular-file.js';

/** The path of a blob, which need not exist. */
export function blobPath(blobs: string, digest: string): string {
  return join(blobs, digest.replace(':', '/'));
}

/**
 * A document (manifest, index, config), or undefined when it is missing or does not have its digest: then it can be
 * fetched again. A blob that is too large for a document is a layer, and is not read.
 */
export function readDocument(blobs: string, digest: string): Buffer | undefined {
  // Another program may have entered an image by a digest that cannot be checked here.
  if (!isDigest(digest)) return undefined;
  const path = blobPath(blobs, digest);
  const read = () => {
    const stat = statSync(path);
    if (!stat.isFile() || stat.size > documentLimit) return undefined;
    const bytes = readRegular(path);
    return hasDigest(bytes, digest) ? bytes : undefined;
  };
  return failingAs(path, () => ignoring(['ENOENT'], read));
}
