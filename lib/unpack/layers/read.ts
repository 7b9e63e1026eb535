/** Reads layers: they are decompressed in advance, hashed, parsed as tar, and passed to a sink entry by entry. */
import { createHash, type Hash } from 'node:crypto';
import { statSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { algorithmOf } from '../../base/digest.js';
import { Failure, failingAs } from '../../base/failure.js';
import { Status } from '../../base/status.js';
import { type Decompressor, type LayerBytes, openLayer } from '../../compress/decompress.js';
import type { Progress } from '../../pipe/progress.js';
import type { TarSink } from '../../tar/entry.js';
import { TarReader } from '../../tar/reader.js';
import { LimitExceeded } from '../tree/limits.js';
import { expectSame, type LayerFile } from './announced.js';

export interface ReadOptions {
  progress: Progress;
  /**
   * Called with a layer whose content is wrong, before the failure is thrown. `isStillThere` tells whether its file is
   * the one that was read. Returns a hint for that, if there is one.
   */
  onBadLayer?: ((layer: LayerFile, isStillThere: () => boolean) => Promise<string | undefined>) | undefined;
  /** Decompresses large layers in a thread of its own. Without it this thread decompresses and hashes. */
  decompressor?: Decompressor | undefined;
  /** Called before the memory of a piece is used again: nothing may refer to it any more. */
  flush?: () => void;
}

/**
 * Passes the entries of each layer to the sink that `sinkFor` makes for it. Throws `Failure`: 65 for a bad layer, 74
 * for the disk.
 */
export async function readLayers(
  layers: AsyncIterable<LayerFile>,
  sinkFor: (layer: LayerFile) => TarSink,
  options: ReadOptions,
): Promise<void> {
  for await (const opened of ahead(layers, options.decompressor)) {
    const sink = sinkFor(opened.layer);
    try {
      await readLayer(opened, sink, options);
    } finally {
      sink.close?.();
      await opened.bytes.close();
    }
  }
}

interface Opened {
  layer: LayerFile;
  bytes: LayerBytes;
  /** Which file it was before it was opened. */
  identity: string | undefined;
  /** Hashes the file as it is, when the digest of that is to be checked. */
  blobHash: Hash | undefined;
}

/** Opens each layer while the one before it is still being written, so that its decompression begins early. */
async function* ahead(
  layers: AsyncIterable<LayerFile>,
  decompressor: Decompressor | undefined,
): AsyncGenerator<Opened> {
  const iterator = layers[Symbol.asyncIterator]();
  const open = async (): Promise<Opened | undefined> => {
    const { value, done } = await iterator.next();
    if (done) return undefined;
    const digest = { algorithm: contentAlgorithm(value), isCompared: value.diffID !== undefined };
    const blobHash = value.blobDigest === undefined ? undefined : createHash(algorithmOf(value.blobDigest));
    const identity = identityAt(value.path);
    const bytes = await openLayer(value.path, { digest, decompressor, blobHash });
    return { layer: value, bytes, identity, blobHash };
  };
  let coming = open();
  try {
    for (let current = await coming; current; current = await coming) {
      coming = open();
      // A failure of the next layer is thrown when its turn comes.
      coming.catch(() => {});
      yield current;
    }
  } finally {
    // Not awaited: after a failure the next layer may never be announced.
    coming.then(
      (next) => next?.bytes.close(),
      () => {},
    );
  }
}

async function readLayer(
  { layer, bytes, identity, blobHash }: Opened,
  sink: TarSink,
  { progress, onBadLayer, flush }: ReadOptions,
): Promise<void> {
  const bar = progress.bar(nameOf(layer), bytes.size);
  const { diffID, size, blobDigest } = layer;
  try {
    await pump(bytes, new TarReader(sink), (at) => {
      flush?.();
      bar.at(at);
    });
    const content = bytes.digest();
    if (diffID !== undefined) expectSame('diffID', `${contentAlgorithm(layer)}:${content}`, diffID);
    if (size !== undefined) expectSame('size', bytes.size, size);
    if (blobHash && blobDigest !== undefined) {
      expectSame('digest', `${algorithmOf(blobDigest)}:${blobHash.digest('hex')}`, blobDigest);
    }
  } catch (error) {
    const isBad = error instanceof Failure && error.status === Status.data && !(error instanceof LimitExceeded);
    const isStillThere = () => identity !== undefined && identityAt(layer.path) === identity;
    throw inLayer(layer, error, isBad ? await discarded(layer, isStillThere, onBadLayer) : undefined);
  }
  bar.done();
}

/** Pushes all content into the reader. `read` is called after each piece with the position in the file. */
async function pump(bytes: LayerBytes, reader: TarReader, read: (at: number) => void): Promise<void> {
  for (let chunk = await bytes.next(); chunk; chunk = await bytes.next()) {
    reader.push(chunk);
    read(bytes.used);
    // Lets the event loop turn, so that decompression gets its next piece of work, in whatever thread that is.
    await turn();
  }
  reader.finish();
}

/** Tells a file from one that takes its place; the inode's number alone may be that of the next one. */
function identityAt(path: string): string | undefined {
  const stat = failingAs(path, () => statSync(path, { bigint: true, throwIfNoEntry: false }));
  return stat && `${stat.dev} ${stat.ino} ${stat.birthtimeNs}`;
}

/** The algorithm to hash the content with: that of the digest to compare it with, when one is known. */
function contentAlgorithm({ diffID }: LayerFile): string {
  return diffID === undefined ? 'sha256' : algorithmOf(diffID);
}

function nameOf({ digest, path }: LayerFile): string {
  return digest === undefined ? path : digest.slice(7, 19);
}

/**
 * Calls `discard` for a bad layer. When that fails, as in a read-only store, the reason becomes a hint of the failure.
 */
async function discarded(
  layer: LayerFile,
  isStillThere: () => boolean,
  discard: ReadOptions['onBadLayer'],
): Promise<string | undefined> {
  try {
    return await discard?.(layer, isStillThere);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return `it stays where it is: ${error.why}`;
  }
}

function inLayer(layer: LayerFile, error: unknown, hint?: string): unknown {
  if (!(error instanceof Failure)) return error;
  const { status, message, cause, details } = error;
  return new Failure(status, `layer ${layer.index} (${nameOf(layer)})`, message, { cause, details, hint });
}
