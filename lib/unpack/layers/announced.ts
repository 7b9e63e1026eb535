/**
 * The layers that stdin announces: those of an image, compared with its manifest, or files that somebody names by hand.
 */
import { asDigest, asObject, asSize, asString, optional } from '../../base/check.js';
import { Failure } from '../../base/failure.js';
import { Status } from '../../base/status.js';
import { asLayer, asManifestDocument, type Layer, type ManifestDocument } from '../../pipe/document.js';

/** A layer to be read. What is known of it is checked. */
export interface LayerFile {
  index: number;
  path: string;
  /** What messages call the layer by. */
  digest?: string | undefined;
  /**
   * The digest that the compressed file must have. Layers of an image have none: checking the diffID is as safe, and
   * cheaper.
   */
  blobDigest?: string | undefined;
  /** The digest that the uncompressed content must have. */
  diffID?: string | undefined;
  /** Bytes of the file. */
  size?: number | undefined;
}

/** The layers, however they are announced: `first` is the document of an image, or the first layer made by hand. */
export function announcedLayers(first: unknown, rest: AsyncIterable<unknown>): AsyncGenerator<LayerFile> {
  return isByHand(first) ? byHand(first, rest) : ofImage(layersOf(rest), asManifestDocument(first));
}

/** The lines of an image's layers. */
export async function* layersOf(lines: AsyncIterable<unknown>): AsyncGenerator<Layer> {
  for await (const line of lines) yield asLayer(line);
}

/** The layers, each compared with what the manifest and the config say. Throws `Failure` 65 when they differ. */
export async function* ofImage(layers: AsyncIterable<Layer>, document: ManifestDocument): AsyncGenerator<Layer> {
  const { manifest, config } = document;
  const wanted = manifest.layers.length;
  const diffIDs = config.rootfs.diff_ids;
  let next = 0;
  for await (const layer of layers) {
    if (next === wanted) {
      throw new Failure(Status.data, 'layer on stdin', `the manifest has ${wanted} layers, and more came`);
    }
    expectSame('layer.index', layer.index, next);
    expectSame('layer.digest', layer.digest, manifest.layers[next]!.digest);
    expectSame('layer.size', layer.size, manifest.layers[next]!.size);
    expectSame('layer.diffID', layer.diffID, diffIDs[next]!);
    next += 1;
    yield layer;
  }
  if (next < wanted) {
    throw new Failure(Status.data, 'stdin', `it ended after ${next} of ${wanted} layers`, {
      hint:
        next === 0
          ? 'md-fetch-layer announces them: pipe its output in here'
          : 'the command before this one was killed',
    });
  }
}

/** Whether the first line is a layer and not the document of an image: then the lines are made by hand. */
export function isByHand(first: unknown): boolean {
  const line = asObject(first, 'line');
  return 'layer' in line && !('image' in line);
}

/**
 * Layers in the order in which they are named: `{"layer":{"path":"layer.tar.gz"}}`, with or without `digest`, `diffID`
 * and `size`.
 */
async function* byHand(first: unknown, rest: AsyncIterable<unknown>): AsyncGenerator<LayerFile> {
  let index = 0;
  yield asLayerFile(first, index);
  for await (const line of rest) yield asLayerFile(line, ++index);
}

function asLayerFile(line: unknown, index: number): LayerFile {
  const layer = asObject(asObject(line, 'line').layer, 'layer');
  const digest = optional(layer.digest, 'layer.digest', asDigest);
  return {
    index,
    path: asString(layer.path, 'layer.path'),
    digest,
    blobDigest: digest,
    diffID: optional(layer.diffID, 'layer.diffID', asDigest),
    size: optional(layer.size, 'layer.size', asSize),
  };
}

/** Throws `Failure` 65 unless what came is what was announced. */
export function expectSame(name: string, got: string | number, wanted: string | number): void {
  if (got !== wanted) throw new Failure(Status.data, name, `expected ${wanted}, got ${got}`);
}
