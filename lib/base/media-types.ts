/** The media types of images. Sources: image-spec, media-types.md; distribution's manifest-v2-2 for Docker's. */
import type { Descriptor } from './oci.js';

export const ociIndexType = 'application/vnd.oci.image.index.v1+json';
export const indexTypes = [ociIndexType, 'application/vnd.docker.distribution.manifest.list.v2+json'];
export const ociManifestType = 'application/vnd.oci.image.manifest.v1+json';
export const manifestTypes = [ociManifestType, 'application/vnd.docker.distribution.manifest.v2+json'];
export const ociConfigType = 'application/vnd.oci.image.config.v1+json';
/** In early pushes to Docker Hub every blob was an octet-stream. */
const configTypes = [ociConfigType, 'application/vnd.docker.container.image.v1+json', 'application/octet-stream'];
/** Types of servers that do not know the content: then the body decides. */
const genericTypes = ['application/json', 'text/plain', 'application/octet-stream', 'binary/octet-stream', ''];

export const isIndexType = (type: string): boolean => indexTypes.includes(type);
export const isManifestType = (type: string): boolean => manifestTypes.includes(type);
export const isConfigType = (type: string): boolean => configTypes.includes(type);
export const isGenericType = (type: string): boolean => genericTypes.includes(type);

/**
 * Whether a descriptor names an image or an index, as far as it tells. image-spec, descriptor.md, "artifactType": where
 * an image has one, it is the type of its config.
 */
export function namesImage({ mediaType, artifactType }: Descriptor): boolean {
  return (isIndexType(mediaType) || isManifestType(mediaType)) && (!artifactType || isConfigType(artifactType));
}

/** Docker's image manifest, schema 1, signed or not: it has no config and no digests of its own. */
export const isSchema1Type = (type: string): boolean =>
  /^application\/vnd\.docker\.distribution\.manifest\.v1\+(?:json|prettyjws)$/.test(type);

export const ociLayerType = 'application/vnd.oci.image.layer.v1.tar';
/** Of layers that are not compressed; a suffix says how one is compressed. */
const layerTypes = [
  ociLayerType,
  'application/vnd.oci.image.layer.nondistributable.v1.tar',
  'application/vnd.docker.image.rootfs.diff.tar',
  'application/vnd.docker.image.rootfs.foreign.diff.tar',
];

/**
 * Whether a layer is a tar archive that can be unpacked. Any suffix for a compression is accepted, since the content
 * itself tells which it is; an encrypted layer is not, since nobody has its key here.
 */
export function isLayerType(type: string): boolean {
  if (type === 'application/octet-stream') return true;
  const tar = layerTypes.find((it) => type.startsWith(it));
  return tar !== undefined && /^(?:[.+](?!encrypted$)[a-z0-9]+)?$/.test(type.slice(tar.length));
}

/** The type in a Content-Type header, without its parameters. */
export function bareType(header: string | undefined): string | undefined {
  return header?.replace(/;.*/s, '').trim().toLowerCase();
}
