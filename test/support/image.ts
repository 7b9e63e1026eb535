/**
 * Builders of test images. Layers, then an image, then an index, each with its bytes and digests; `put` stores them in
 * the embedded registry.
 *
 *     const base = layer([{ name: 'etc/', type: 'directory' }, { name: 'etc/motd', data: 'hello\n' }]);
 *     const built = image({ layers: [base, layer([{ name: 'etc/.wh.motd' }])], run: { Cmd: ['/bin/sh'] } });
 *     await put(registry, 'library/demo', ['latest'], index([built, image({ ...other, architecture: 'arm64' })]));
 *
 * Source: image-spec manifest.md, image-index.md, config.md; Docker's "Image Manifest V 2, Schema 2".
 */
import { execFileSync } from 'node:child_process';
import * as zlib from 'node:zlib';
import type { Descriptor, Platform, RunConfig } from '../../lib/base/oci.js';
import type { Compression } from '../../lib/compress/magic.js';
import { digestOf } from './content.js';
import type { Registry } from './registry.js';
import { has } from './run.js';
import { type TarEntry, tarball } from './tar.js';

export const mediaTypes = {
  oci: {
    index: 'application/vnd.oci.image.index.v1+json',
    manifest: 'application/vnd.oci.image.manifest.v1+json',
    config: 'application/vnd.oci.image.config.v1+json',
    none: 'application/vnd.oci.image.layer.v1.tar',
    gzip: 'application/vnd.oci.image.layer.v1.tar+gzip',
    zstd: 'application/vnd.oci.image.layer.v1.tar+zstd',
  },
  docker: {
    index: 'application/vnd.docker.distribution.manifest.list.v2+json',
    manifest: 'application/vnd.docker.distribution.manifest.v2+json',
    config: 'application/vnd.docker.container.image.v1+json',
    none: 'application/vnd.docker.image.rootfs.diff.tar',
    gzip: 'application/vnd.docker.image.rootfs.diff.tar.gzip',
    zstd: 'application/vnd.docker.image.rootfs.diff.tar.zstd',
  },
} as const;

type Format = keyof typeof mediaTypes;

/** Bytes and what describes them. */
export interface Blob {
  bytes: Buffer;
  descriptor: Descriptor;
}

export interface BuiltLayer extends Blob {
  diffID: string;
  compression: Compression;
}

export interface BuiltImage extends Blob {
  kind: 'image';
  config: Blob;
  layers: BuiltLayer[];
  platform: Platform;
  /** Those of its entry in an index. */
  annotations?: Record<string, string>;
}

export interface BuiltIndex extends Blob {
  kind: 'index';
  children: (BuiltImage | BuiltIndex)[];
}

interface LayerOptions {
  /** gzip by default. */
  compression?: Compression;
  /** Docker's media types for `docker`. */
  format?: Format;
  /** The media type in the descriptor, right or wrong. */
  mediaType?: string;
}

/** A layer of entries, or of archive bytes as they are. */
export function layer(content: (TarEntry | Buffer)[] | Buffer, options: LayerOptions = {}): BuiltLayer {
  const { compression = 'gzip', format = 'oci', mediaType } = options;
  const archive = Buffer.isBuffer(content) ? content : tarball(content);
  const bytes = compress(archive, compression);
  return {
    bytes,
    descriptor: describe(bytes, mediaType ?? mediaTypes[format][compression]),
    diffID: digestOf(archive),
    compression,
  };
}

function compress(data: Buffer, compression: Compression): Buffer {
  if (compression === 'none') return data;
  return compression === 'gzip' ? zlib.gzipSync(data) : zstd(data);
}

/** One zstd frame, by Node where it has zstd and by the zstd program elsewhere. */
export function zstd(data: Buffer): Buffer {
  const own: unknown = Reflect.get(zlib, 'zstdCompressSync');
  if (typeof own === 'function') return own(data) as Buffer;
  return execFileSync('zstd', ['-q', '-c'], { input: data, maxBuffer: 1 << 30 });
}

/** The `skip` of a test that needs to compress with zstd. */
export const needsZstd: string | false =
  !('zstdCompressSync' in zlib) && !has('zstd') && 'neither this Node nor the machine has zstd';

export interface ImageOptions {
  layers: BuiltLayer[];
  /** The defaults for running, `config.config`. */
  run?: RunConfig;
  os?: string;
  /** That of this machine by default. */
  architecture?: string;
  variant?: string;
  format?: Format;
  /** Changes to the config and to the manifest: fields over the normal ones. */
  config?: Record<string, unknown>;
  manifest?: Record<string, unknown>;
}

/** The architecture of this machine as images name it. */
export const hostArchitecture = process.arch === 'x64' ? 'amd64' : process.arch;

export function image(options: ImageOptions): BuiltImage {
  const { layers, run = {}, os = 'linux', architecture = hostArchitecture, variant, format = 'oci' } = options;
  const platform: Platform = { os, architecture, ...(variant === undefined ? {} : { variant }) };
  const rootfs = { type: 'layers', diff_ids: layers.map(({ diffID }) => diffID) };
  const config = jsonBlob({ ...platform, config: run, rootfs, ...options.config }, mediaTypes[format].config);
  const body = {
    schemaVersion: 2,
    mediaType: mediaTypes[format].manifest,
    config: config.descriptor,
    layers: layers.map(({ descriptor }) => descriptor),
    ...options.manifest,
  };
  return { kind: 'image', ...jsonBlob(body, mediaTypes[format].manifest), config, layers, platform };
}

interface IndexOptions {
  format?: Format;
  /** Descriptors behind the children's, of which nothing is stored. */
  extra?: Record<string, unknown>[];
  /** Fields over the normal ones. */
  index?: Record<string, unknown>;
}

/** A multi-platform image: an index of images, and of further indexes. */
export function index(children: (BuiltImage | BuiltIndex)[], options: IndexOptions = {}): BuiltIndex {
  const { format = 'oci', extra = [] } = options;
  const manifests = [...children.map((it) => (it.kind === 'image' ? indexEntry(it) : it.descriptor)), ...extra];
  const body = { schemaVersion: 2, mediaType: mediaTypes[format].index, manifests, ...options.index };
  return { kind: 'index', ...jsonBlob(body, mediaTypes[format].index), children };
}

function indexEntry({ descriptor, platform, annotations }: BuiltImage): Record<string, unknown> {
  return { ...descriptor, platform, ...(annotations ? { annotations } : {}) };
}

/** What BuildKit puts into an index beside an image: a manifest of no platform that nobody can run. */
export function attestation(of: BuiltImage): BuiltImage {
  const statement = layer(Buffer.from('{"_type":"https://in-toto.io/Statement/v0.1"}'), {
    compression: 'none',
    mediaType: 'application/vnd.in-toto+json',
  });
  const annotations = {
    'vnd.docker.reference.type': 'attestation-manifest',
    'vnd.docker.reference.digest': of.descriptor.digest,
  };
  return { ...image({ layers: [statement], os: 'unknown', architecture: 'unknown' }), annotations };
}

/** Stores an image or an index with all that it refers to; returns its descriptor. */
export async function put(
  registry: Registry,
  repository: string,
  tags: string[],
  what: BuiltImage | BuiltIndex,
): Promise<Descriptor> {
  if (what.kind === 'index') for (const child of what.children) await put(registry, repository, [], child);
  else
    for (const { bytes, descriptor } of [what.config, ...what.layers]) await registry.addBlob(bytes, descriptor.digest);
  registry.addManifest(repository, tags, what.bytes, what.descriptor.mediaType);
  return what.descriptor;
}

export function describe(bytes: Buffer, mediaType: string): Descriptor {
  return { mediaType, digest: digestOf(bytes), size: bytes.length };
}

export function jsonBlob(value: unknown, mediaType: string): Blob {
  const bytes = Buffer.from(JSON.stringify(value));
  return { bytes, descriptor: describe(bytes, mediaType) };
}
