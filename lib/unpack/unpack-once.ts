/** A tree that several runs may want, and that is there for all of them once it is unpacked: one in the store. */
import { existsSync } from 'node:fs';
import { Failure } from '../base/failure.js';
import { Status } from '../base/status.js';
import type { Layer, ManifestDocument, RootfsDocument } from '../pipe/document.js';
import { lacksOwners } from './tree/unset.js';
import { rootfsDocument, type UnpackOptions, unpackImage } from './unpack.js';

/** The document of the tree at a path, if that is complete. */
export type FindTree = (path: string) => RootfsDocument | undefined;

export interface OnceOptions extends UnpackOptions {
  /** The user asks for the image's owners: that a tree is there without them has to be said. */
  map: boolean;
}

/**
 * Unpacks an image at `path`, or uses the tree that is there. One without its document was left by a killed process,
 * and is replaced. Throws as `unpackImage` does.
 */
export async function unpackOnce(
  document: ManifestDocument,
  layers: AsyncGenerator<Layer>,
  path: string,
  find: FindTree,
  options: OnceOptions,
): Promise<RootfsDocument> {
  const reuse = async () => {
    // To the end, since otherwise the stages above would stop.
    for await (const _ of layers);
    const found = find(path);
    if (options.map && typeof found?.unset === 'string' && lacksOwners(found.unset))
      options.warn?.(
        `${path} was there already, without the owners that ${found.unset} lists; --map --force sets them`,
      );
    return { ...found, ...rootfsDocument(document, path) };
  };
  if (!options.force && find(path)) return reuse();
  try {
    const force = options.force || existsSync(path);
    return await unpackImage(document, layers, path, { ...options, force, ownsDocument: true });
  } catch (error) {
    // Another process may have unpacked the same image meanwhile, and a container may be running in it.
    const isTaken = error instanceof Failure && (error.status === Status.usage || error.status === Status.tryLater);
    if (options.force || !isTaken || !find(path)) throw error;
    return reuse();
  }
}
