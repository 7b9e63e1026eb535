/**
 * Checks the bytes of a manifest, an index or a config: they have the right size and digest, are JSON that is not
 * nested too deep, and have a media type on which the source, the document and its fields agree.
 */
import { asJson, asObject, asString, type JsonObject, optional } from '../../base/check.js';
import { algorithmOf, digestOf } from '../../base/digest.js';
import { Failure } from '../../base/failure.js';
import {
  bareType,
  isConfigType,
  isGenericType,
  isIndexType,
  isLayerType,
  isManifestType,
  isSchema1Type,
  ociIndexType,
  ociManifestType,
} from '../../base/media-types.js';
import { type Descriptor, documentLimit, type ImageIndex, type Manifest } from '../../base/oci.js';
import { Status } from '../../base/status.js';

/**
 * How deep objects and arrays may be nested. A million levels can be parsed, but later code would overflow its stack.
 */
const maxNesting = 500;

/** A manifest or an index whose bytes have been checked. */
export interface Verified {
  digest: string;
  mediaType: string;
  bytes: Buffer;
  value: JsonObject;
}

/**
 * Decides what a document is. Where the type that the source claims and the one in the body are both specific, both must
 * be of an index or both of a manifest (CVE-2021-41190), and the one in the body counts: Harbor's proxy cache, for one,
 * has sent OCI's indexes with docker's type. Where neither is, its fields decide.
 */
export function verified(bytes: Buffer, digest: string, claimed: string | undefined, name: string): Verified {
  const declared = bareType(claimed) ?? '';
  const value = parseJson(bytes, name);
  // An empty one counts as none, since Go cannot tell them apart.
  const inBody = optional(value.mediaType, `${name}: mediaType`, asString) || undefined;
  const isUntyped1 = !('mediaType' in value) && value.schemaVersion === 1;
  if (isUntyped1 || isSchema1Type(declared) || isSchema1Type(inBody ?? '')) throw schema1(name);
  if (!isGenericType(declared) && inBody !== undefined && !isSameKind(inBody, declared)) {
    throw new Failure(Status.data, name, `it was sent as ${declared} and says that it is ${inBody}`);
  }
  const mediaType = inBody ?? (isGenericType(declared) ? typeByShape(value, name) : declared);
  if (!isIndexType(mediaType) && !isManifestType(mediaType)) {
    throw new Failure(Status.data, name, `it is ${mediaType}, not an image`, { hint: 'only images can be unpacked' });
  }
  return { digest, mediaType, bytes, value };
}

function isSameKind(a: string, b: string): boolean {
  return a === b || (isIndexType(a) && isIndexType(b)) || (isManifestType(a) && isManifestType(b));
}

function typeByShape(value: JsonObject, name: string): string {
  const shape: Partial<ImageIndex & Manifest> = value;
  if (shape.manifests !== undefined) return ociIndexType;
  if (shape.layers !== undefined) return ociManifestType;
  throw new Failure(Status.data, name, 'it is neither an index nor a manifest');
}

/** Throws `Failure` 65 for what is not a JSON object, or one nested too deep. */
export function parseJson(bytes: Buffer, name: string): JsonObject {
  const value = asJson(bytes, name);
  checkNesting(bytes, name);
  return asObject(value, name);
}

/**
 * Throws `Failure` 76 for an answer that no digest vouches for and that is no JSON from its first byte on: something else
 * than a registry has sent it.
 */
export function checkFromRegistry(bytes: Buffer, contentType: string | undefined, name: string): void {
  const start = bytes.toString('latin1', 0, 100).trimStart();
  if (/^[{[]/.test(start)) return;
  const looks = start.startsWith('<') || /html/.test(contentType ?? '') ? 'a web page' : 'not JSON';
  throw new Failure(Status.protocol, name, `what was sent is ${looks}`, {
    hint: 'is this a registry, or something in front of it?',
  });
}

/** Throws `Failure` 65 when the objects and arrays of a JSON text are nested too deep. */
export function checkNesting(json: Buffer, name: string): void {
  if (nesting(json) <= maxNesting) return;
  throw new Failure(Status.data, name, `its objects are nested more than ${maxNesting} deep`);
}

/** How deep the objects and arrays of a JSON text are nested. */
function nesting(json: Buffer): number {
  let [depth, deepest, quoted] = [0, 0, false];
  for (let i = 0; i < json.length; i++) {
    const byte = json[i];
    if (byte === 0x22) quoted = !quoted;
    else if (quoted) i += byte === 0x5c ? 1 : 0;
    else if (byte === 0x5b || byte === 0x7b) deepest = Math.max(deepest, ++depth);
    else if (byte === 0x5d || byte === 0x7d) depth -= 1;
  }
  return deepest;
}

function schema1(name: string): Failure {
  return new Failure(Status.data, name, 'it is a Docker schema 1 manifest, a format given up in 2017', {
    hint: 'pull it with an old docker and push it again',
  });
}

/**
 * image-spec, manifest.md, "Guidelines for Artifact Usage": the type of the config tells an image from an artifact. An
 * image may have an artifactType as well, and other tools run it.
 */
export function checkIsImage({ config, layers, artifactType }: Manifest, { mediaType }: Verified, name: string): void {
  if (!isConfigType(config.mediaType)) {
    const kind = typeof artifactType === 'string' ? artifactType : config.mediaType;
    throw new Failure(Status.data, name, `it is an artifact (${kind}), not an image`, {
      hint: `its type is ${mediaType}`,
    });
  }
  const odd = layers.find((layer) => !isLayerType(layer.mediaType));
  if (odd) throw new Failure(Status.data, name, `its layer ${odd.digest} is ${odd.mediaType}, not a tar archive`);
}

/**
 * Throws `Failure` 65 for the wrong size or digest. The size comes first: it tells a cut document from a forged one.
 */
export function checkContent(bytes: Buffer, { digest, size }: Descriptor, name: string): void {
  if (bytes.length !== size) throw new Failure(Status.data, name, `it has ${bytes.length} bytes, not ${size}`);
  checkDigest(bytes, digest, name);
}

/** Throws `Failure` 65 for the wrong digest. */
export function checkDigest(bytes: Buffer, digest: string, name: string): void {
  const got = digestOf(bytes, algorithmOf(digest));
  if (got !== digest) throw new Failure(Status.data, name, `digest mismatch: its content has ${got}`);
}

export function tooLarge(name: string, size: number): Failure {
  return new Failure(Status.data, name, `it has ${size} bytes, and at most ${documentLimit} are accepted`);
}
