/** The layers that stdin announces: those of an image, each held against its manifest, or files named by hand. */
import { asDigest, asObject, asString, optional } from '../pipe/check.js';
import type { Layer, ManifestDocument } from '../pipe/document.js';
import { Failure } from '../pipe/failure.js';
import { Status } from '../pipe/status.js';

/** A layer to be read. What is known of its digests is checked. */
export interface LayerFile {
  index: number;
  path: string;
  digest?: string | undefined;
  diffID?: string | undefined;
}

/** The layers, each held against what manifest and config say of it. Throws `Failure` 65 when they differ. */
export async function* ofImage(layers: AsyncIterable<Layer>, document: ManifestDocument): AsyncGenerator<Layer> {
  const { manifest, config } = document;
  const wanted = manifest.layers.length;
  const diffIDs = config.rootfs.diff_ids;
  if (diffIDs.length !== wanted) {
    throw new Failure(Status.data, 'config.rootfs.diff_ids', `${diffIDs.length} diffIDs for ${wanted} layers`);
  }
  let next = 0;
  for await (const layer of layers) {
    if (next === wanted) {
      throw new Failure(Status.data, 'layer on stdin', `the manifest has ${wanted} layers, and more came`);
    }
    expectSame('layer.index', layer.index, next);
    expectSame('layer.digest', layer.digest, manifest.layers[next]!.digest);
    expectSame('layer.diffID', layer.diffID, diffIDs[next]!);
    next += 1;
    yield layer;
  }
  if (next < wanted) {
    throw new Failure(Status.data, 'stdin', `it ended after ${next} of ${wanted} layers`, {
      hint: 'the command before this one was killed or crashed',
    });
  }
}

/** Whether a first line is a layer already, so that no document comes: lines made by hand. */
export function isByHand(first: unknown): boolean {
  const line = asObject(first, 'line');
  return 'layer' in line && !('image' in line);
}

/** Layers in the order in which they are named: `{"layer":{"path":"layer.tar.gz"}}`, with or without digests. */
export async function* byHand(first: unknown, rest: AsyncIterable<unknown>): AsyncGenerator<LayerFile> {
  let index = 0;
  yield asLayerFile(first, index);
  for await (const line of rest) yield asLayerFile(line, ++index);
}

function asLayerFile(line: unknown, index: number): LayerFile {
  const layer = asObject(asObject(line, 'line').layer, 'layer');
  return {
    index,
    path: asString(layer.path, 'layer.path'),
    digest: optional(layer.digest, 'layer.digest', asDigest),
    diffID: optional(layer.diffID, 'layer.diffID', asDigest),
  };
}

function expectSame(name: string, got: string | number, wanted: string | number): void {
  if (got !== wanted) throw new Failure(Status.data, name, `expected ${wanted}, got ${got}`);
}
