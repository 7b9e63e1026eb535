/**
 * Opens the source of an image, which is named by IMAGE or by the document of the stage above. A stage that is given
 * IMAGE does the work of the stages above it as well, in one process and over the same connections.
 */

import { asString, optional } from '../base/check.js';
import { Failure } from '../base/failure.js';
import type { Manifest } from '../base/oci.js';
import type { Source } from '../base/source.js';
import { Status } from '../base/status.js';
import { isPlace } from '../image/local/local-source.js';
import type { Choice } from '../image/manifest/platform.js';
import type { Store } from '../image/store/store.js';
import type { ManifestDocument, TokenDocument } from '../pipe/document.js';
import type { Flags, FlagValues } from '../pipe/flags.js';
import { StdinLines } from '../pipe/input.js';
import { askedLogin, loginFlags } from '../registry/auth/login.js';
import type { Connections } from '../registry/download/connections.js';
import type { Registry } from '../registry/mirrors.js';
import {
  formatReference,
  isSameReference,
  manifestName,
  parseReference,
  type Reference,
  tryReference,
} from '../registry/names/reference.js';
import { networkFlags, networkOf } from '../registry/network.js';
import { openRegistry } from '../registry/open-registry.js';
import { loadAgent } from '../registry/transport/dispatchers.js';
import { archiveInstead, sourceInstead } from './instead.js';

/** Flags that are only valid together with IMAGE. */
export const imageFlags = {
  offline: { kind: 'boolean', help: 'use no network: the image is in the store already' },
  ...loginFlags,
} as const satisfies Flags;

const allFlags = { ...imageFlags, ...networkFlags };
type AllFlags = FlagValues<typeof allFlags>;

interface Opened<D extends TokenDocument = TokenDocument> {
  document: D;
  /** With `authorization` when it is a registry: what it has asked for until now. */
  source: Source & Partial<Pick<Registry, 'authorization'>>;
}

/** The platform that is looked for, and the connections that the source may use. */
interface Wanted extends Choice {
  connections?: Connections;
}

/**
 * The document of an image on this machine: in a layout or an archive, or with `--offline` in the store. Undefined for
 * others. Throws `Failure` 64 for a place that only other tools read, and for an archive
 * that is named without its kind.
 */
export async function nameLocal(image: string, offline: boolean): Promise<TokenDocument | undefined> {
  const hint = sourceInstead(image);
  if (hint !== undefined) throw new Failure(Status.usage, JSON.stringify(image), 'it is not read here', { hint });
  if (isPlace(image)) return localImage(image);
  const archive = archiveInstead(image);
  if (archive !== undefined) throw new Failure(Status.usage, image, 'it is a file here', { hint: archive });
  return offline ? storedImage(image) : undefined;
}

/** The document of an image in a registry, after a login there. */
export async function nameRemote(image: string, flags: AllFlags): Promise<TokenDocument> {
  const { document, source } = await openRemote(image, flags);
  return { ...document, authorization: await source.login() };
}

async function openRemote(image: string, flags: AllFlags, connections?: Connections) {
  const named = nameFields(parseReference(image));
  const network = networkOf(flags);
  const login = await askedLogin(flags);
  const source = await openRegistry({ ...named, login }, network, connections);
  const used = Object.keys(network).length > 0 ? network : undefined;
  return { document: { ...named, authorization: null, login, network: used }, source };
}

/** Opens the source of IMAGE, wherever that is. In a registry with a login that was given by flag, that is used. */
export async function openImage(image: string, flags: AllFlags, wanted: Wanted): Promise<Opened> {
  const local = await nameLocal(image, flags.offline);
  if (local) return openDocument(local, flags, wanted);
  const remote = await openRemote(image, flags, wanted.connections);
  if (remote.document.login) await remote.source.login();
  return remote;
}

/** Opens the source that a document names. Throws `Failure` 65 for an unknown one. */
async function openDocument<D extends TokenDocument>(
  document: D,
  flags: FlagValues<typeof networkFlags>,
  wanted: Wanted,
): Promise<Opened<D>> {
  const place = optional(document.source, 'source', asString);
  if (place === undefined) {
    return { document, source: await openRegistry(document, networkOf(flags, document), wanted.connections) };
  }
  const { openLocal } = await import('../image/local/local.js');
  return { document, source: openLocal(place, document.image, wanted) };
}

/**
 * Reads the document of the stage above and opens its source. Throws `Failure` 64 for flags in `ofImage`, which need
 * IMAGE.
 */
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
  // Meanwhile the stage above is still working.
  await loadAgent();
  return openDocument(asDocument(await new StdinLines().first()), flags, wanted);
}

/** Finds the manifest and the config, and keeps them in the store. Throws as `resolveImage` does. */
export async function resolveOpened(
  { document, source }: Opened,
  choice: Choice,
  store: Store,
  onManifest?: (manifest: Manifest) => void,
): Promise<ManifestDocument> {
  const { resolveImage } = await import('../image/manifest/resolve.js');
  const { image, reference } = document;
  const found = await resolveImage(source, { ...choice, image, reference, store, onManifest });
  return { ...document, authorization: source.authorization ?? null, ...found };
}

async function localImage(text: string): Promise<TokenDocument> {
  const { findLocal } = await import('../image/local/local.js');
  const { source, reference, names } = await findLocal(text, isSameReference);
  const name = names.find(tryReference) ?? names.at(-1)!;
  return { ...nameFields(parseReference(name)), reference, source, authorization: null };
}

async function storedImage(text: string): Promise<TokenDocument> {
  const { expectStored } = await import('../image/store/offline.js');
  const named = nameFields(parseReference(text));
  expectStored(named.image, named.reference);
  return { ...named, source: 'store', authorization: null };
}

function nameFields(reference: Reference) {
  const { registry, repository } = reference;
  return { image: formatReference(reference), registry, repository, reference: manifestName(reference) };
}
