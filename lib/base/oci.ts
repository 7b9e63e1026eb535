/**
 * The parts of the OCI image specification that the document carries, and their validators.
 * The validators check the fields that this project uses and keep all others as they came. Like those of check.ts they
 * throw `Failure` 65 that names the field.
 */
import {
  arrayOf,
  asDigest,
  asObject,
  asSize,
  asString,
  asText,
  type Check,
  isUnknownDigest,
  type JsonObject,
  optional,
  recordOf,
  wrong,
} from './check.js';
import { Failure, ignoringFailure } from './failure.js';
import { Status } from './status.js';

/**
 * Bytes of a manifest, index or config. image-spec and distribution-spec: registries hold manifests of at most 4 MiB.
 */
export const documentLimit = 4 * 1024 * 1024;

/** image-spec, descriptor.md. */
export interface Descriptor extends JsonObject {
  mediaType: string;
  digest: string;
  /** Bytes. */
  size: number;
  urls?: string[];
  annotations?: Record<string, string>;
  /** The content itself, base64. */
  data?: string;
  artifactType?: string;
}

/** image-spec, image-index.md, "platform". */
export interface Platform extends JsonObject {
  os: string;
  architecture: string;
  variant?: string | undefined;
  'os.version'?: string;
  'os.features'?: string[];
}

/** A descriptor in an index. */
export interface IndexEntry extends Descriptor {
  platform?: Platform;
}

/** image-spec, image-index.md; Docker's manifest list has the same fields. */
export interface ImageIndex extends JsonObject {
  manifests: IndexEntry[];
}

/** image-spec, manifest.md; Docker's image manifest, schema 2, has the same fields. */
export interface Manifest extends JsonObject {
  config: Descriptor;
  layers: Descriptor[];
}

/** image-spec, config.md, "config": the defaults for running. Go's field names. */
export interface RunConfig extends JsonObject {
  User?: string;
  Env?: string[];
  Entrypoint?: string[];
  Cmd?: string[];
  WorkingDir?: string;
  StopSignal?: string;
  Volumes?: JsonObject;
  Labels?: Record<string, string>;
}

/** image-spec, config.md. */
export interface ImageConfig extends JsonObject {
  os?: string;
  architecture?: string;
  variant?: string;
  config?: RunConfig;
  rootfs: { type: 'layers'; diff_ids: string[] };
}

/** image-spec, annotations.md, "Rules": values are strings, and no key or value that is unknown is an error. */
const asAnnotations = recordOf(asText);

function asDescriptor(value: unknown, name: string, asItsDigest: Check<string> = asDigest): Descriptor {
  const it = asObject(value, name);
  asString(it.mediaType, `${name}.mediaType`);
  asItsDigest(it.digest, `${name}.digest`);
  asSize(it.size, `${name}.size`);
  optional(it.urls, `${name}.urls`, arrayOf(asString));
  const annotations = optional(it.annotations, `${name}.annotations`, asAnnotations);
  optional(it.data, `${name}.data`, asString);
  optional(it.artifactType, `${name}.artifactType`, asString);
  return (annotations ? { ...it, annotations } : it) as Descriptor;
}

export function asPlatform(value: unknown, name: string): Platform {
  const it = asObject(value, name);
  asString(it.os, `${name}.os`);
  asString(it.architecture, `${name}.architecture`);
  optional(it.variant, `${name}.variant`, asString);
  optional(it['os.version'], `${name}.os.version`, asString);
  optional(it['os.features'], `${name}.os.features`, arrayOf(asString));
  return it as Platform;
}

/**
 * A platform without an os or an architecture is left out, so that the entry matches none. The other entries stay of
 * use, as beside one of an unknown media type.
 */
function asIndexEntry(value: unknown, name: string, asItsDigest?: Check<string>): IndexEntry {
  const { platform, ...it } = asDescriptor(value, name, asItsDigest);
  return isWholePlatform(platform) ? { ...it, platform } : it;
}

function isWholePlatform(value: unknown): value is Platform {
  const platform = ignoringFailure(() => asPlatform(value, 'platform'));
  return Boolean(platform?.os && platform.architecture);
}

/** buildkit puts provenance and SBOMs into the index as images for a platform that does not exist. */
export function isAttestation({ platform, annotations }: IndexEntry): boolean {
  return (
    (platform?.os === 'unknown' && platform.architecture === 'unknown') ||
    annotations?.['vnd.docker.reference.type'] === 'attestation-manifest'
  );
}

export function asImageIndex(value: unknown, name: string): ImageIndex {
  const it = asUnambiguous(value, name);
  const entries = listOf((entry: unknown) => entry)(it.manifests, `${name}.manifests`);
  const known = entries.flatMap((entry, i) => {
    const place = `${name}.manifests[${i}]`;
    return isOfUnknownAlgorithm(entry, place) ? [] : [asIndexEntry(entry, place)];
  });
  return { ...it, manifests: known };
}

/**
 * All `manifests` of an index. None may be skipped here, since the index will be written again, and so the algorithm of
 * a digest may be unknown.
 */
export function asIndexEntries(value: unknown, name: string): IndexEntry[] {
  const asEntry = (entry: unknown, place: string) =>
    asIndexEntry(entry, place, isOfUnknownAlgorithm(entry, place) ? asString : asDigest);
  return listOf(asEntry)(value, name);
}

/**
 * Whether the digest of an entry has an unknown algorithm. By image-spec, descriptor.md, "Digests", that is not an
 * error. Where images are looked for, such an entry is skipped, since its manifest could not be checked.
 */
function isOfUnknownAlgorithm(entry: unknown, name: string): boolean {
  const { digest } = asObject(entry, name);
  // An object of JSON may have a `toString` that is no function: then String() of it throws.
  return typeof digest === 'string' && isUnknownDigest(digest);
}

export function asManifest(value: unknown, name: string): Manifest {
  const it = asUnambiguous(value, name);
  const config = asDescriptor(it.config, `${name}.config`);
  return { ...it, config, layers: listOf(asDescriptor)(it.layers, `${name}.layers`) };
}

/** Go writes an empty list as null. */
function listOf<T>(check: Check<T>): Check<T[]> {
  return (value, name) => (value === null ? [] : arrayOf(check)(value, name));
}

/** CVE-2021-41190: two readers could take a document with the fields of both for two different images. */
function asUnambiguous(value: unknown, name: string): JsonObject {
  const it = asObject(value, name);
  if (!('manifests' in it) || !('layers' in it || 'config' in it)) return it;
  throw wrong(name, 'either an index (manifests) or a manifest (config, layers)', 'both in one document');
}

function asRunConfig(value: unknown, name: string): RunConfig {
  const it = asObject(value, name);
  for (const key of ['User', 'WorkingDir', 'StopSignal']) optional(it[key], `${name}.${key}`, asString);
  for (const key of ['Env', 'Entrypoint', 'Cmd']) optional(it[key], `${name}.${key}`, arrayOf(asString));
  for (const path of Object.keys(optional(it.Volumes, `${name}.Volumes`, asObject) ?? {}))
    asString(path, `${name}.Volumes`);
  const Labels = optional(it.Labels, `${name}.Labels`, asAnnotations);
  return (Labels ? { ...it, Labels } : it) as RunConfig;
}

export function asImageConfig(value: unknown, name: string): ImageConfig {
  const it = asObject(value, name);
  for (const key of ['os', 'architecture', 'variant']) optional(it[key], `${name}.${key}`, asString);
  const config = optional(it.config, `${name}.config`, asRunConfig);
  const rootfs = asObject(it.rootfs, `${name}.rootfs`);
  if (rootfs.type !== 'layers') throw wrong(`${name}.rootfs.type`, '"layers"', rootfs.type);
  // docker leaves the list out when it is empty.
  const diff_ids = optional(rootfs.diff_ids, `${name}.rootfs.diff_ids`, arrayOf(asDigest)) ?? [];
  return { ...it, ...(config && { config }), rootfs: { ...rootfs, diff_ids } } as ImageConfig;
}

/** image-spec, config.md, "rootfs": there is a diffID for each layer. Throws `Failure` 65. */
export function checkDiffIDs({ layers }: { layers: unknown[] }, { rootfs }: ImageConfig, name: string): void {
  const [count, diffIDs] = [layers.length, rootfs.diff_ids.length];
  if (count === diffIDs) return;
  throw new Failure(Status.data, name, `it has ${count} layers, and its config ${diffIDs} diffIDs`);
}

/** Go's names for the architectures that this runs on, which platforms have, by Node's. */
export const goArch = { x64: 'amd64', arm64: 'arm64' };

/** The architecture of an image that does not tell its platform. */
export const unknownArchitecture = 'unknown';

/** `os/architecture[/variant]`, as people write a platform. */
export function platformName(platform: Platform): string {
  const { os, architecture, variant } = platform;
  return variant ? `${os}/${architecture}/${variant}` : `${os}/${architecture}`;
}
