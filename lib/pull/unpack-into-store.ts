/** Unpacking into the store: a tree that several runs may want, and that is there for all of them once it is whole. */
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Failure, failureOf } from '../base/failure.js';
import { Status } from '../base/status.js';
import { warn } from '../base/trace.js';
import { checkGenuine } from '../image/store/genuine.js';
import { checkRootfsName, findRootfs, nameRootfs, rootfsPath } from '../image/store/rootfs.js';
import type { Layer, ManifestDocument, RootfsDocument } from '../pipe/document.js';
import { removeUnfinished } from '../unpack/place/remove-stored.js';
import { lacksOwners } from '../unpack/tree/unset.js';
import { rootfsDocument, type UnpackOptions, unpackImage } from '../unpack/unpack.js';

export interface StoreOptions extends UnpackOptions {
  /** The user asks for the image's owners: that a tree is there without them has to be said. */
  map: boolean;
}

/**
 * Unpacks an image into the store, or uses the tree that is there. The name of the image leads to it then. Throws as
 * `unpackImage` does, and `Failure` 65 for a document that is not that of the image.
 */
export async function unpackIntoStore(
  document: ManifestDocument,
  layers: AsyncIterable<Layer>,
  options: StoreOptions,
): Promise<RootfsDocument> {
  // At once, since the layers are still to come.
  checkRootfsName(document.image);
  const path = rootfsPath(document.digest);
  const stored = await unpackOnce(document, genuineLayers(layers, document), path, options);
  nameRootfs(document.image, path);
  return stored;
}

/** The check comes last: by its end md-fetch-layer has put into the store what that needs. */
async function* genuineLayers(layers: AsyncIterable<Layer>, document: ManifestDocument): AsyncGenerator<Layer> {
  let last: Layer | undefined;
  for await (last of layers) yield last;
  checkGenuine(document, last?.path);
}

async function unpackOnce(
  document: ManifestDocument,
  layers: AsyncIterable<Layer>,
  path: string,
  options: StoreOptions,
): Promise<RootfsDocument> {
  const reuse = async () => {
    // To the end, since otherwise the stages above would stop.
    for await (const _ of layers);
    const found = findRootfs(path);
    if (options.map && typeof found?.unset === 'string') warnOfOwners(path, found.unset);
    return { ...found, ...rootfsDocument(document, path) };
  };
  if (!options.force && findRootfs(path)) return reuse();
  try {
    // A tree without its document was left by a killed process, and makes room. What stays of it is replaced.
    if (!options.force) removeUnfinished(path, () => findRootfs(path) !== undefined);
    const force = options.force || existsSync(path);
    return await unpackImage(document, layers, path, { ...options, force, ownsDocument: true });
  } catch (error) {
    // Another process may have unpacked the same image meanwhile, and a container may be running in it.
    const isTaken = error instanceof Failure && (error.status === Status.usage || error.status === Status.tryLater);
    if (options.force || !isTaken || !(await isWholeSoon(path))) throw error;
    return reuse();
  }
}

/** Whether a tree has its document, which the process that unpacked it puts beside it just after the tree. */
async function isWholeSoon(path: string): Promise<boolean> {
  for (let tries = 0; tries < 100; tries++) {
    if (findRootfs(path)) return true;
    await sleep(20);
  }
  return false;
}

/** The tree is good without its record of what could not be set: that nobody can read this is a warning as well. */
function warnOfOwners(path: string, record: string): void {
  let lack: string | undefined;
  try {
    lack = lacksOwners(record) ? `without the owners that ${record} lists` : undefined;
  } catch (error) {
    lack = `and may lack owners: ${failureOf(error, record).message}`;
  }
  if (lack !== undefined) warn(`${path} was there already, ${lack}; --map --force sets them`);
}
