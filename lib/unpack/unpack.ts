/** Unpacking an image: its layers, in order, into one tree. */

import { Failure, failureOf } from '../base/failure.js';
import { warn } from '../base/trace.js';
import { type Layer, type ManifestDocument, type RootfsDocument, withoutSecrets } from '../pipe/document.js';
import { lackingHint } from '../sys/refusals/confinement.js';
import { close } from '../sys/syscalls/calls.js';
import { type LayerFile, ofImage } from './layers/announced.js';
import { LayerWriter } from './layers/layer.js';
import { type ReadOptions, readLayers } from './layers/read.js';
import { Selection } from './layers/selection.js';
import { Stage, type StageOptions } from './place/stage.js';
import { deferring } from './tree/deferred.js';
import { lostAttributes } from './tree/filesystem.js';
import type { Limits } from './tree/limits.js';
import { Tree } from './tree/tree.js';
import { unsetSummary } from './tree/unset.js';
import { compareTree, type Difference } from './verify/compare.js';

export interface UnpackOptions extends ReadOptions, StageOptions {
  limits: Limits;
  /** Only these paths and what is below them; everything when empty. */
  only?: string[];
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
  return onStage(ofImage(layers, document), Stage.begin(dir, options), options, (stage, tree) =>
    commit(stage, tree, rootfsDocument(document, stage.path)),
  );
}

/** The same for layers that no image stands behind. There is no `DIR.json`; what is returned says where the tree is. */
export async function unpackFiles(
  layers: AsyncIterable<LayerFile>,
  dir: string,
  options: UnpackOptions,
): Promise<{ rootfs: string }> {
  return onStage(layers, Stage.begin(dir, options), options, (stage, tree) => {
    commit(stage, tree, undefined);
    return { rootfs: stage.path };
  });
}

function commit<T extends RootfsDocument | undefined>(stage: Stage, { unset }: Tree, document: T): T {
  const whole = stage.commit(document, unset);
  // The line names the record, so it comes after that is written.
  const left = unset.size > 0 ? unsetSummary(unset, stage.unsetPath) : undefined;
  if (left !== undefined) warn(left);
  return whole;
}

/**
 * Unpacks the layers beside `dir`, compares `dir` with them, and removes them again. Returns the number of differences.
 */
export async function verifyTree(
  layers: AsyncIterable<LayerFile>,
  dir: string,
  options: UnpackOptions,
  report: (difference: Difference) => void,
): Promise<number> {
  return onStage(layers, Stage.aside(dir), options, (stage, tree, selection) => {
    const compared = {
      isDescribed: (path: string) => tree.isDescribed(path),
      hasLinkTimes: !tree.followsLinks,
      isWanted: (path: string) => selection.isWanted(path),
      unset: (path: string) => tree.unset.get(path),
    };
    const count = compareTree(dir, stage.fd, compared, report);
    stage.discard();
    return count;
  });
}

/** chmod(2): that is not an error. */
const lostBits =
  'programs that are set-group-ID, of another group than that of this process, will not be so in the tree';

const fit = 'ext4, xfs, btrfs and tmpfs have all that an image needs';

const followedLinks =
  "its filesystem cannot set owners and times of symbolic links, as sshfs, so the image's will be missing";

const foldedNames =
  'on its filesystem names that differ only in case are one: of README and readme only the later one will be there';

/** Unpacks the layers into the tree of `stage` and calls `finish` with it. After a failure the tree is removed. */
async function onStage<T>(
  layers: AsyncIterable<LayerFile>,
  stage: Stage,
  options: UnpackOptions,
  finish: (stage: Stage, tree: Tree, selection: Selection) => T,
): Promise<T> {
  const selection = new Selection(options.only ?? []);
  const umask = process.umask(0);
  let tree: Tree | undefined;
  try {
    warnOfLosses(stage);
    tree = await treeOf(layers, stage, selection, options);
    options.progress.release();
    tree.finish();
    return finish(stage, tree, selection);
  } catch (error) {
    tree?.root.closeAll();
    discardAfterFailure(stage);
    throw failureOf(error, stage.path);
  } finally {
    process.umask(umask);
  }
}

/** Tells what the filesystem or the kernel will not keep, before anything is unpacked. */
function warnOfLosses(stage: Stage): void {
  if (stage.foldsCase) warn(`${stage.path}: ${foldedNames}`);
  const lost = lostAttributes(stage.fd).join(' and ');
  if (lost) warn(`${stage.path}: its filesystem keeps no ${lost}, so the image's will be missing; ${fit}`);
  const lacking = lackingHint(['FSETID']);
  if (lacking) warn(`${lostBits}: ${lacking}`);
}

/** When the tree cannot be removed that is a warning: the failure that led here is the one to report. */
function discardAfterFailure(stage: Stage): void {
  try {
    stage.discard();
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    warn(`cleaning up: ${error.message}`);
  }
}

/**
 * Returns the tree with all layers in it. For parts of an image the layers may have to be read several times: see
 * selection.ts.
 */
async function treeOf(
  layers: AsyncIterable<LayerFile>,
  stage: Stage,
  selection: Selection,
  options: UnpackOptions,
): Promise<Tree> {
  const repeated = selection.isAll ? layers : repeatable(layers);
  const deferred = deferring();
  const begin = (fd: number) => new Tree(fd, options.limits.depth, deferred);
  let tree = begin(stage.fd);
  if (tree.followsLinks) warn(`${stage.path}: ${followedLinks}`);
  await writeLayers(repeated, { tree }, selection, options);
  while (selection.needsPass()) {
    // The next pass starts with an empty tree; the root gets its attributes again from the layers.
    tree.clear({ fd: stage.fd, path: '', ownGroup: true });
    tree.root.closeAll();
    const spareFd = stage.spare();
    try {
      const spare = begin(spareFd);
      tree = begin(stage.fd);
      await writeLayers(repeated, { tree, spare }, selection, options);
      spare.root.closeAll();
    } finally {
      close(spareFd);
    }
  }
  selection.expectIn(tree);
  return tree;
}

/** Writes the layers to the tree: with `spare`, what wanted hard links need goes there. */
async function writeLayers(
  layers: AsyncIterable<LayerFile>,
  { tree, spare }: { tree: Tree; spare?: Tree },
  selection: Selection,
  options: UnpackOptions,
): Promise<void> {
  const { deferred } = tree;
  const left = { ...options.limits };
  // What is in both trees must not count twice.
  const spareLeft = { ...options.limits };
  const sourceOf = (target: string) => selection.sourceOf(target, tree, spare);
  try {
    await readLayers(
      layers,
      ({ index }) =>
        selection.sink(
          new LayerWriter(tree, index === 0, left, sourceOf),
          // Also what the spare tree links may be wanted itself: then there must not be a second file of it.
          spare && new LayerWriter(spare, index === 0, spareLeft, sourceOf),
        ),
      { ...options, flush: () => deferred?.flush() },
    );
  } catch (error) {
    deferred?.clear();
    tree.root.closeAll();
    spare?.root.closeAll();
    throw error;
  }
}

/** Layers that can be iterated several times. It remembers where they are, not their content. */
function repeatable<L>(layers: AsyncIterable<L>): AsyncIterable<L> {
  const known: L[] = [];
  return {
    async *[Symbol.asyncIterator]() {
      yield* [...known];
      for await (const layer of layers) {
        known.push(layer);
        yield layer;
      }
    },
  };
}

/**
 * The document of a tree: everything that came down the pipe, except secrets, and the manifest, which `digest`
 * identifies.
 */
export function rootfsDocument(document: ManifestDocument, rootfs: string): RootfsDocument {
  const { manifest, ...rest } = withoutSecrets(document);
  return { ...rest, rootfs };
}
