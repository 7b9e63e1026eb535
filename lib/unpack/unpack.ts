/** Unpacking an image: its layers, in order, into one tree. */
import { createHash, type Hash } from 'node:crypto';
import { setImmediate as turn } from 'node:timers/promises';
import type { Layer, ManifestDocument, RootfsDocument } from '../pipe/document.js';
import { Failure } from '../pipe/failure.js';
import type { Progress } from '../pipe/progress.js';
import { Status } from '../pipe/status.js';
import { LayerBytes } from './decompress.js';
import { type Budget, LayerWriter, LimitExceeded } from './layer.js';
import { Stage } from './stage.js';
import { TarReader } from './tar.js';
import { Tree } from './tree.js';
import { unsetSummary } from './unset.js';

export interface Limits {
  /** Entries of all layers together. */
  entries: number;
  /** Bytes of file content of all layers together. */
  bytes: number;
  /** Directories above an entry. */
  depth: number;
}

export const defaultLimits: Limits = { entries: 10_000_000, bytes: Number.POSITIVE_INFINITY, depth: 512 };

export interface UnpackOptions {
  /** Replace a directory that is not empty. */
  force: boolean;
  limits: Limits;
  progress: Progress;
  /** Hears in one line what the kernel did not permit. */
  warn?: (line: string) => void;
  /** Told of a layer whose content is not what it should be, before the failure is thrown. */
  onBadLayer?: (layer: Layer) => Promise<void>;
}

/**
 * Unpacks each layer as it is announced and puts the tree at `dir`, with its document beside it as `DIR.json`. Returns
 * that document. Throws `Failure`: 64 when `dir` is taken, 65 for bad layers, 74 when the disk is full. Nothing is left
 * under the name `dir` then.
 */
export async function unpackImage(
  document: ManifestDocument,
  layers: AsyncIterable<Layer>,
  dir: string,
  options: UnpackOptions,
): Promise<RootfsDocument> {
  const stage = Stage.begin(dir, options.force);
  const { entries, bytes, depth } = options.limits;
  const budget: Budget = { entries, bytes };
  const tree = new Tree(stage.fd, { maxDepth: depth });
  const umask = process.umask(0);
  try {
    for await (const layer of checked(layers, document)) await unpackLayer(tree, layer, budget, options);
    options.progress.release();
    tree.finish();
    const rootfs = rootfsDocument(document, stage.target);
    if (tree.unset.size > 0) options.warn?.(unsetSummary(tree.unset, stage.unsetPath));
    return stage.commit(rootfs, tree.unset);
  } catch (error) {
    tree.root.closeAll();
    stage.discard();
    throw error;
  } finally {
    process.umask(umask);
  }
}

/** What stays true of the tree: all that came down the pipe, except secrets and the manifest, which the digest names. */
export function rootfsDocument(document: ManifestDocument, rootfs: string): RootfsDocument {
  const { authorization, manifest, ...rest } = document;
  return { ...rest, rootfs };
}

/** The layers, each held against what manifest and config say of it. */
async function* checked(layers: AsyncIterable<Layer>, document: ManifestDocument): AsyncGenerator<Layer> {
  const { manifest, config } = document;
  const wanted = manifest.layers.length;
  if (config.rootfs.diff_ids.length !== wanted) {
    throw new Failure(
      Status.data,
      'config.rootfs.diff_ids',
      `${config.rootfs.diff_ids.length} diffIDs for ${wanted} layers`,
    );
  }
  let next = 0;
  for await (const layer of layers) {
    if (next === wanted)
      throw new Failure(Status.data, 'layer on stdin', `the manifest has ${wanted} layers, and more came`);
    expectSame('layer.index', layer.index, next);
    expectSame('layer.digest', layer.digest, manifest.layers[next]!.digest);
    expectSame('layer.diffID', layer.diffID, config.rootfs.diff_ids[next]!);
    next += 1;
    yield layer;
  }
  if (next < wanted) {
    throw new Failure(Status.data, 'stdin', `it ended after ${next} of ${wanted} layers`, {
      hint: 'the command before this one was killed or crashed',
    });
  }
}

function expectSame(name: string, got: string | number, wanted: string | number): void {
  if (got !== wanted) throw new Failure(Status.data, name, `expected ${wanted}, got ${got}`);
}

async function unpackLayer(tree: Tree, layer: Layer, budget: Budget, options: UnpackOptions): Promise<void> {
  const writer = new LayerWriter(tree, layer.index === 0, budget);
  const bytes = await LayerBytes.open(layer.path);
  const bar = options.progress.bar(layer.digest.slice(7, 19), bytes.size);
  const [algorithm, wanted] = layer.diffID.split(':') as [string, string];
  const hash = createHash(algorithm);
  try {
    await pump(bytes, new TarReader(writer), hash, (at) => bar.at(at));
    const got = hash.digest('hex');
    if (got !== wanted) throw new Failure(Status.data, 'diffID', `expected ${layer.diffID}, got ${algorithm}:${got}`);
  } catch (error) {
    const isBad = error instanceof Failure && error.status === Status.data && !(error instanceof LimitExceeded);
    if (isBad) await options.onBadLayer?.(layer);
    throw inLayer(layer, error);
  } finally {
    writer.close();
    await bytes.close();
  }
  bar.done();
}

async function pump(bytes: LayerBytes, reader: TarReader, hash: Hash, moved: (at: number) => void): Promise<void> {
  for (let chunk = await bytes.next(); chunk; chunk = await bytes.next()) {
    hash.update(chunk);
    reader.push(chunk);
    moved(bytes.position);
    // A turn of the event loop, so that the thread that inflates is given its next piece of work in between.
    await turn();
  }
  reader.finish();
}

function inLayer(layer: Layer, error: unknown): unknown {
  if (!(error instanceof Failure)) return error;
  const { status, message, cause, details } = error;
  return new Failure(status, `layer ${layer.index} (${layer.digest.slice(0, 19)})`, message, { cause, details });
}
