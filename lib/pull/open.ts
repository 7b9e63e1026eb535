/**
 * From IMAGE, or from the document of the stage above, to the source of an image. A stage that is given IMAGE does the work
 * of those above it, in one process and over the same connections.
 */

import { type Choice, choosePlatform } from '../image/platform.js';
import type { Source } from '../image/source.js';
import type { Store } from '../image/store.js';
import { asString, optional } from '../pipe/check.js';
import type { ManifestDocument, TokenDocument } from '../pipe/document.js';
import { Failure } from '../pipe/failure.js';
import type { Flags, FlagValues } from '../pipe/flags.js';
import { StdinLines } from '../pipe/input.js';
import type { Manifest } from '../pipe/oci.js';
import { Status } from '../pipe/status.js';
import { Connections } from '../registry/connections.js';
import { loadAgent } from '../registry/dispatchers.js';
import { askedLogin, loginFlags } from '../registry/login.js';
import { networkFlags, networkOf } from '../registry/network.js';
import { openRegistry } from '../registry/open.js';
import {
  formatReference,
  isSameReference,
  manifestName,
  parseReference,
  type Reference,
  tryReference,
} from '../registry/reference.js';

/** They are about IMAGE, and go with it alone. */
export const imageFlags = {
  offline: { kind: 'boolean', help: 'ask nobody: the image is in the store already' },
  ...loginFlags,
} as const satisfies Flags;

const allFlags = { ...imageFlags, ...networkFlags };
type AllFlags = FlagValues<typeof allFlags>;

export interface Opened<D extends TokenDocument = TokenDocument> {
  document: D;
  source: Source;
}

/** What is looked for, and what an open source may use. */
export interface Wanted extends Choice {
  connections?: Connections;
}

/** The document of an image on this machine: of a layout or an archive, or with `--offline` of one that was pulled. */
export async function nameLocal(image: string, offline: boolean): Promise<TokenDocument | undefined> {
  // As a name that could only be docker.io/library/oci with a tag, which can be written so.
  if (/^(?:oci|oci-archive|docker-archive):/.test(image)) return layoutImage(image);
  return offline ? storedImage(image) : undefined;
}

/** Logs in to the registry of an image. */
export async function openNamed(image: string, flags: AllFlags, connections = new Connections(1)): Promise<Opened> {
  const named = nameFields(parseReference(image));
  const network = networkOf(flags);
  const login = await askedLogin(flags);
  const source = await openRegistry({ ...named, login }, network, connections);
  const document = {
    ...named,
    authorization: await source.login(),
    ...(login ? { login } : {}),
    ...(Object.keys(network).length > 0 ? { network } : {}),
  };
  return { document, source };
}

/** Opens what IMAGE is, wherever that is. */
export async function openImage(image: string, flags: AllFlags, wanted: Wanted): Promise<Opened> {
  const local = await nameLocal(image, flags.offline);
  return local ? openDocument(local, flags, wanted) : openNamed(image, flags, wanted.connections);
}

/** Opens what a document is about. Throws `Failure` 65 for a source that is none. */
async function openDocument<D extends TokenDocument>(
  document: D,
  flags: FlagValues<typeof networkFlags>,
  wanted: Wanted,
): Promise<Opened<D>> {
  const place = optional(document.source, 'source', asString);
  if (place === undefined) {
    return { document, source: await openRegistry(document, networkOf(flags, document), wanted.connections) };
  }
  const { openLocal } = await import('../image/local.js');
  return { document, source: openLocal(place, document.image, wanted) };
}

/** Opens what the document of the stage above is about. Throws `Failure` 64 for flags of `ofImage`, which has none here. */
export async function openPiped<D extends TokenDocument>(
  asDocument: (value: unknown) => D,
  ofImage: Flags,
  flags: FlagValues<typeof networkFlags> & Record<string, unknown>,
  wanted: Wanted,
): Promise<Opened<D>> {
  const misplaced = Object.keys(ofImage).find((name) => flags[name] !== undefined && flags[name] !== false);
  if (misplaced !== undefined) {
    throw new Failure(Status.usage, `--${misplaced}`, 'it goes with IMAGE', { hint: 'or give it to the stage above' });
  }
  // That stage is still at work.
  await loadAgent();
  return openDocument(asDocument(await new StdinLines().first()), flags, wanted);
}

/** Goes on to the manifest and the config, which are kept in the store. Throws as `resolveImage` does. */
export async function resolveOpened(
  { document, source }: Opened,
  { wanted, strict }: Choice,
  store: Store,
  onManifest?: (manifest: Manifest) => void,
): Promise<ManifestDocument> {
  const { resolveImage } = await import('../image/manifest.js');
  const { image, reference } = document;
  const found = await resolveImage(source, { image, reference, wanted, strict, store, onManifest });
  const { digest, mediaType, manifest, config, platform } = found;
  return { ...document, platform, digest, mediaType, manifest, config };
}

async function layoutImage(text: string): Promise<TokenDocument> {
  const { findLocal } = await import('../image/local.js');
  const { source, reference, names } = await findLocal(text, isSameReference);
  const name = names.find(tryReference) ?? names.at(-1)!;
  return { ...nameFields(parseReference(name)), reference, source, authorization: null };
}

async function storedImage(text: string): Promise<TokenDocument> {
  const [{ Store }, { Offline }] = await Promise.all([import('../image/store.js'), import('../image/offline.js')]);
  const named = nameFields(parseReference(text));
  new Offline(new Store(), named.image, choosePlatform(undefined)).check(named.reference);
  return { ...named, source: 'store', authorization: null };
}

function nameFields(reference: Reference) {
  const { registry, repository } = reference;
  return { image: formatReference(reference), registry, repository, reference: manifestName(reference) };
}
