/** Unpacking an image: its layers, in order, into one tree. */
import type { Layer, ManifestDocument, RootfsDocument } from '../pipe/document.js';
import { type LayerFile, ofImage } from './announced.js';
import { type Budget, LayerWriter } from './layer.js';
import type { Limits } from './limits.js';
import { onlyPaths } from './only.js';
import { type ReadOptions, readLayers } from './read.js';
import { Stage, type StageOptions } from './stage.js';
import { Tree } from './tree.js';
import { unsetSummary } from './unset.js';
import { compareTree, type Difference } from './verify.js';

export interface UnpackOptions<L extends LayerFile = Layer> extends ReadOptions<L>, StageOptions {
  limits: Limits;
  /** Only these paths and what is below them; everything when empty. */
  only?: string[];
  /** Hears in one line what the kernel did not permit. */
  warn?: (line: string) => void;
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
  return staged(ofImage(layers, document), dir, options, (stage, tree) =>
    stage.commit(rootfsDocument(document, stage.target), tree.unset),
  );
}

/** The same for layers that no image stands behind. There is no `DIR.json`; what is returned says where the tree is. */
export async function unpackFiles(
  layers: AsyncIterable<LayerFile>,
  dir: string,
  options: UnpackOptions<LayerFile>,
): Promise<{ rootfs: string }> {
  return staged(layers, dir, options, (stage, tree) => {
    stage.commit(undefined, tree.unset);
    return { rootfs: stage.target };
  });
}

/** Unpacks the image beside `dir`, compares and removes it again. Returns how many differences `report` has heard of. */
export async function verifyImage(
  document: ManifestDocument,
  layers: AsyncIterable<Layer>,
  dir: string,
  options: UnpackOptions,
  report: (difference: Difference) => void,
): Promise<number> {
  return staged(ofImage(layers, document), dir, { ...options, force: true, ownsDocument: true }, (stage, tree) => {
    const count = compareTree(dir, stage.fd, (path) => tree.isDescribed(path), report);
    stage.discard();
    return count;
  });
}

/** Lays the layers into a new tree and hands it to `finish`. After a failure the tree is gone. */
async function staged<L extends LayerFile, T>(
  layers: AsyncIterable<L>,
  dir: string,
  options: UnpackOptions<L>,
  finish: (stage: Stage, tree: Tree) => T,
): Promise<T> {
  const stage = Stage.begin(dir, options);
  const { entries, bytes, depth } = options.limits;
  const budget: Budget = { entries, bytes };
  const tree = new Tree(stage.fd, { maxDepth: depth });
  const umask = process.umask(0);
  try {
    await readLayers(
      layers,
      ({ index }) => onlyPaths(new LayerWriter(tree, index === 0, budget), options.only ?? []),
      options,
    );
    options.progress.release();
    tree.finish();
    if (tree.unset.size > 0) options.warn?.(unsetSummary(tree.unset, stage.unsetPath));
    return finish(stage, tree);
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
