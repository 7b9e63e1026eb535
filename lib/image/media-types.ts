/** The media types of images. Sources: image-spec, media-types.md; distribution's manifest-v2-2 for Docker's. */
import { indexTypes, manifestTypes } from '../pipe/oci.js';

/** Early pushes to Docker Hub called every blob an octet-stream. */
const configTypes = [
  'application/vnd.oci.image.config.v1+json',
  'application/vnd.docker.container.image.v1+json',
  'application/octet-stream',
];
/** What a server says that knows nothing of the content: the body decides. */
const genericTypes = ['application/json', 'text/plain', 'application/octet-stream', 'binary/octet-stream', ''];

export const isIndexType = (type: string): boolean => indexTypes.includes(type);
export const isManifestType = (type: string): boolean => manifestTypes.includes(type);
export const isConfigType = (type: string): boolean => configTypes.includes(type);
export const isGenericType = (type: string): boolean => genericTypes.includes(type);

/** Docker's image manifest, schema 1, signed or not: it has no config and no digests of its own. */
export const isSchema1Type = (type: string): boolean =>
  /^application\/vnd\.docker\.distribution\.manifest\.v1\+(?:json|prettyjws)$/.test(type);

/**
 * Whether a layer is a tar archive that can be unpacked, compressed or not. New compressions come as new suffixes, and
 * the content tells what it is; an encrypted one is of no use without its key.
 */
export const isLayerType = (type: string): boolean =>
  /^application\/vnd\.(?:oci\.image\.layer(?:\.nondistributable)?\.v1\.tar|docker\.image\.rootfs(?:\.foreign)?\.diff\.tar)(?:[.+][a-z0-9]+)?$/.test(
    type,
  ) || type === 'application/octet-stream';

/** The type in a Content-Type header, without its parameters. */
export function bareType(header: string | undefined): string | undefined {
  return header?.replace(/;.*/s, '').trim().toLowerCase();
}
