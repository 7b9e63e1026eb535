/** Unpacking layers that a test has made, in this process or by the built command. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { cleanUp } from '../../lib/pipe/cleanup.js';
import type { Layer, ManifestDocument, RootfsDocument } from '../../lib/pipe/document.js';
import { makeProgress } from '../../lib/pipe/progress.js';
import { defaultLimits } from '../../lib/unpack/tree/limits.js';
import { type UnpackOptions, unpackImage } from '../../lib/unpack/unpack.js';
import { type BuiltImage, type BuiltLayer, image, layer } from './image.js';
import { scratch } from './run.js';
import type { TarEntry } from './tar.js';

/** Layers as bytes, or as the entries of each. */
export type Stack = (BuiltLayer | (TarEntry | Buffer)[])[];

/** A file that the second layer hides, one that stays, and a link. */
export const twoLayers: Stack = [
  [
    { name: 'etc/', type: 'directory' },
    { name: 'etc/motd', data: 'lower\n' },
    { name: 'etc/keep', data: 'kept\n' },
  ],
  [{ name: 'etc/.wh.motd' }, { name: 'bin', type: 'symlink', linkname: 'usr/bin' }],
];

export interface Prepared {
  /** A directory of the test's own; the layers are below `layers`, and `rootfs` does not exist. */
  directory: string;
  rootfs: string;
  document: ManifestDocument;
  layers: Layer[];
  /** What comes down the pipe to md-unpack. */
  stdin: string;
  /** Puts manifest and config into a new store, as md-fetch-layer does. The store then belongs to the user `owner`. */
  keepIn(home: string, owner: number): void;
}

/** Writes the layers to files, and makes the document and the layer lines of an image of them. */
export function prepare(t: TestContext, stack: Stack, parent?: string): Prepared {
  const directory = scratch(t, parent);
  const built = stack.map((it) => (Array.isArray(it) ? layer(it) : it));
  mkdirSync(join(directory, 'layers'));
  const layers = built.map(({ bytes, descriptor, diffID }, index): Layer => {
    const path = join(directory, 'layers', String(index));
    writeFileSync(path, bytes);
    return { index, digest: descriptor.digest, diffID, mediaType: descriptor.mediaType, size: bytes.length, path };
  });
  const whole = image({ layers: built });
  const document = documentOf(whole);
  const stdin = `${[document, ...layers.map((it) => ({ layer: it }))].map((it) => JSON.stringify(it)).join('\n')}\n`;
  const keepIn = (home: string, owner: number) => {
    mkdirSync(join(home, 'oci/blobs/sha256'), { recursive: true });
    for (const { bytes, descriptor } of [whole, whole.config])
      writeFileSync(join(home, 'oci/blobs', descriptor.digest.replace(':', '/')), bytes);
    execFileSync('chown', ['-R', `${owner}:${owner}`, home]);
  };
  return { directory, rootfs: join(directory, 'rootfs'), document, layers, stdin, keepIn };
}

/** What md-manifest would write of an image. */
function documentOf({ bytes, descriptor, config, platform }: BuiltImage): ManifestDocument {
  return {
    image: 'docker.io/library/test:latest',
    registry: 'docker.io',
    repository: 'library/test',
    reference: 'latest',
    authorization: null,
    platform,
    digest: descriptor.digest,
    mediaType: descriptor.mediaType,
    manifest: JSON.parse(bytes.toString()),
    config: JSON.parse(config.bytes.toString()),
  };
}

interface Unpacked extends Prepared {
  result: RootfsDocument;
}

/** Unpacks in this process. What a failure leaves behind is cleaned up as a command would. */
export async function unpack(t: TestContext, stack: Stack, options: Partial<UnpackOptions> = {}): Promise<Unpacked> {
  const prepared = prepare(t, stack);
  return { ...prepared, result: await unpackPrepared(prepared, options) };
}

export async function unpackPrepared(
  prepared: Prepared,
  options: Partial<UnpackOptions> = {},
): Promise<RootfsDocument> {
  const { document, layers, rootfs } = prepared;
  const all = { force: false, limits: defaultLimits, progress: makeProgress('none', 'unpack'), ...options };
  try {
    return await unpackImage(document, from(layers), rootfs, all);
  } catch (error) {
    cleanUp();
    throw error;
  }
}

async function* from<T>(items: T[]): AsyncGenerator<T> {
  yield* items;
}
