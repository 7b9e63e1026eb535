/**
 * The document in the pipe, one JSON object a line, and the fields that each stage needs. Every stage adds fields and
 * passes on all others, also those that it does not know. The checks throw `Failure` 65 that names the field.
 */
import {
  asDigest,
  asFieldValue,
  asObject,
  asSize,
  asString,
  type JsonObject,
  optional,
  secret,
  wrong,
} from '../base/check.js';
import { Failure } from '../base/failure.js';
import {
  asImageConfig,
  asManifest,
  asPlatform,
  checkDiffIDs,
  type ImageConfig,
  type Manifest,
  type Platform,
} from '../base/oci.js';
import { Status } from '../base/status.js';

/** What `md-token` writes. */
export interface TokenDocument extends JsonObject {
  /** Fully qualified: `docker.io/library/alpine:latest`. */
  image: string;
  /** Host and port of the registry as users write it: `docker.io`, `localhost:5000`. */
  registry: string;
  repository: string;
  /** A tag or a digest. */
  reference: string;
  /** The value of the Authorization header for this registry, or null when none is needed. A secret. */
  authorization: string | null;
}

/** What `md-manifest` writes. */
export interface ManifestDocument extends TokenDocument {
  platform: Platform;
  /** Digest of the resolved manifest. */
  digest: string;
  mediaType: string;
  manifest: Manifest;
  config: ImageConfig;
}

/** One layer as `md-fetch-layer` announces it: it is verified, and on disk at `path`. */
export interface Layer {
  /** Position in the manifest, from 0. */
  index: number;
  digest: string;
  diffID: string;
  mediaType: string;
  /** Bytes, compressed. */
  size: number;
  path: string;
}

/** What `md-unpack` writes at the end and keeps as `DIR.json`. */
export interface RootfsDocument extends JsonObject {
  image: string;
  digest: string;
  platform: Platform;
  config: ImageConfig;
  /** Absolute path of the root filesystem. */
  rootfs: string;
}

/** The `error` object of the line that a failed stage sends down the pipe. */
export interface ErrorReport extends JsonObject {
  command: string;
  /** The exit status of the stage that failed. */
  code: number;
  message: string;
}

export function asTokenDocument(value: unknown): TokenDocument {
  const fields = ['image', 'registry', 'repository', 'reference'];
  const it = asStage(value, fields, 'md-token');
  for (const key of fields) asString(it[key], key);
  optional(it.authorization, 'authorization', secret(asFieldValue));
  return { ...it, authorization: it.authorization ?? null } as TokenDocument;
}

export function asManifestDocument(value: unknown): ManifestDocument {
  const it = asStage(asTokenDocument(value), ['manifest', 'config', 'platform', 'digest', 'mediaType'], 'md-manifest');
  asPlatform(it.platform, 'platform');
  asDigest(it.digest, 'digest');
  asString(it.mediaType, 'mediaType');
  const manifest = asManifest(it.manifest, 'manifest');
  const config = asImageConfig(it.config, 'config');
  checkDiffIDs(manifest, config, 'document on stdin');
  return { ...it, manifest, config } as ManifestDocument;
}

/** The document without its secrets, for the stages and files that have no need of them. */
export function withoutSecrets(document: ManifestDocument) {
  const { authorization, login, ...open } = document;
  return open;
}

/** A document that was read from the file at `path`. */
export function asRootfsDocument(value: unknown, path: string): RootfsDocument {
  const it = asObject(value, path);
  asString(it.rootfs, `${path}: rootfs`);
  asString(it.image, `${path}: image`);
  asDigest(it.digest, `${path}: digest`);
  asPlatform(it.platform, `${path}: platform`);
  const config = asImageConfig(it.config, `${path}: config`);
  return { ...it, config } as RootfsDocument;
}

export function asLayer(value: unknown): Layer {
  const it = asObject(asObject(value, 'line').layer, 'layer');
  const missing = ['index', 'digest', 'diffID', 'mediaType', 'size', 'path'].find((key) => it[key] === undefined);
  if (missing !== undefined) {
    throw new Failure(Status.data, 'layer on stdin', `the field layer.${missing} is missing`, {
      hint: 'below the document of an image every layer has index, digest, diffID, mediaType, size and path',
    });
  }
  return {
    index: asSize(it.index, 'layer.index'),
    digest: asDigest(it.digest, 'layer.digest'),
    diffID: asDigest(it.diffID, 'layer.diffID'),
    mediaType: asString(it.mediaType, 'layer.mediaType'),
    size: asSize(it.size, 'layer.size'),
    path: asString(it.path, 'layer.path'),
  };
}

export function asErrorReport(value: unknown): ErrorReport {
  const it = asObject(value, 'error');
  const code = asSize(it.code, 'error.code');
  if (code < 1 || code > 255) throw wrong('error.code', 'an exit status from 1 to 255', code);
  return {
    ...it,
    command: asString(it.command, 'error.command'),
    code,
    message: asString(it.message, 'error.message'),
  };
}

/**
 * Checks the fields that `writer` adds. Without one of them the document comes from another stage or was made by hand,
 * and the message says which is missing.
 */
function asStage(value: unknown, fields: string[], writer: string): JsonObject {
  const it = asObject(value, 'document on stdin');
  const field = fields.find((key) => it[key] === undefined);
  if (field === undefined) return it;
  throw new Failure(Status.data, 'document on stdin', `the field ${field} is missing`, {
    hint: `${writer} adds it: pipe its output in here`,
  });
}
