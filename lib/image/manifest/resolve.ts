/**
 * Finds the image for a tag or a digest: through an index, perhaps nested ones, to the manifest for a platform and its
 * config. Nothing is used before its size and its digest are checked.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { isDigest } from '../../base/check.js';
import { digestOf } from '../../base/digest.js';
import { Failure } from '../../base/failure.js';
import { isConfigType, isIndexType, isManifestType, namesImage } from '../../base/media-types.js';
import {
  asImageConfig,
  asImageIndex,
  asManifest,
  checkDiffIDs,
  type Descriptor,
  documentLimit,
  type ImageConfig,
  type IndexEntry,
  isAttestation,
  type Manifest,
  type Platform,
  platformName,
  unknownArchitecture,
} from '../../base/oci.js';
import type { Source } from '../../base/source.js';
import { Status } from '../../base/status.js';
import { warn } from '../../base/trace.js';
import type { ManifestDocument } from '../../pipe/document.js';
import { type DocumentStore, embedded, fetchConfig } from './documents.js';
import { bestOf, type Choice, fitness, narrower, normalize } from './platform.js';
import {
  checkContent,
  checkDigest,
  checkFromRegistry,
  checkIsImage,
  parseJson,
  tooLarge,
  type Verified,
  verified,
} from './verified.js';

const maxDepth = 4;
const maxIndexes = 16;
/** Of how many images that name no platform the config is looked at. */
const maxUnnamed = 16;
const unnamedImages = 'images that name no platform';

type ResolvedImage = Pick<ManifestDocument, 'platform' | 'digest' | 'mediaType' | 'manifest' | 'config'>;

interface ResolveRequest extends Choice {
  /** The image as the user knows it, for messages. */
  image: string;
  /** A tag or a digest. */
  reference: string;
  /** Where documents are looked up first, and where manifest and config are kept. */
  store: DocumentStore;
  /**
   * Called with the manifest before the config is there, if the image is certain to be accepted: its layers can then be
   * fetched at once.
   */
  onManifest?: ((manifest: Manifest) => void) | undefined;
}

/**
 * Resolves a tag or a digest, and keeps the manifest, the config, and the indexes that led there.
 * Throws `Failure` 65 when something is not what its digest, size or type says, 66 when there is no image for the
 * platform, 76 when the source sends what is no manifest at all.
 */
export async function resolveImage(source: Source, request: ResolveRequest): Promise<ResolvedImage> {
  const resolver = new Resolver(source, request);
  const top = await resolver.fetchTop();
  const found = isIndexType(top.mediaType) ? await resolver.search(top) : { document: top, entry: undefined };
  return resolver.image(found.document, found.entry);
}

/** A manifest, and the entry of the index that named it. */
interface Found {
  document: Verified;
  entry: IndexEntry;
}

class Resolver {
  private indexes = 0;
  /** The images of all indexes that were searched. */
  private readonly offered = new Set<IndexEntry>();
  /** The platforms that configs name of images for which the index names none, by the digest of the manifest. */
  private readonly told = new Map<string, Platform | undefined>();

  constructor(
    private readonly source: Source,
    private readonly request: ResolveRequest,
  ) {}

  async fetchTop(): Promise<Verified> {
    const { image, reference, store } = this.request;
    const name = `manifest of ${image}`;
    const digest = isDigest(reference) ? reference : undefined;
    const held = digest === undefined ? undefined : store.read(digest);
    const { bytes, contentType } = held
      ? { bytes: held, contentType: undefined }
      : await this.source.manifest(reference);
    if (digest === undefined) checkFromRegistry(bytes, contentType, name);
    else checkDigest(bytes, digest, name);
    return verified(bytes, digest ?? digestOf(bytes), contentType, name);
  }

  /**
   * The best entry of an index. Nested indexes are searched only when it has none itself; among equals the first one
   * wins. When there is none for the platform, one for a narrower platform is taken, unless the user named the
   * platform.
   */
  async search(index: Verified): Promise<Found> {
    const { wanted, strict } = this.request;
    for (const platform of strict ? [wanted] : [wanted, ...narrower(wanted)]) {
      this.indexes = 0;
      const found = await this.searchIn(index, platform, 1);
      if (found) return found;
    }
    const there = await this.present([...this.offered]);
    const names = new Set(there.map((entry) => (entry.platform ? platformName(entry.platform) : unnamedImages)));
    const has = names.size > 0 ? `it has ${[...names].join(', ')}` : 'it has no images at all';
    const isPart = there.length < this.offered.size;
    throw new Failure(Status.missing, this.request.image, `it has no image for ${platformName(wanted)}`, {
      hint: isPart ? `${has}; others were not saved with it: docker pull --platform gets one to save` : has,
    });
  }

  private async searchIn(index: Verified, wanted: Platform, depth: number): Promise<Found | undefined> {
    const found = await this.descend(index, wanted, depth);
    if (found) this.request.store.put(index.digest, index.bytes);
    return found;
  }

  private async descend(index: Verified, wanted: Platform, depth: number): Promise<Found | undefined> {
    this.indexes += 1;
    if (depth > maxDepth || this.indexes > maxIndexes) {
      throw new Failure(
        Status.data,
        `index ${index.digest}`,
        `indexes are nested more than ${maxDepth} deep or too many`,
      );
    }
    const { manifests } = asImageIndex(index.value, `index ${index.digest}`);
    const entry = (await this.choosePresent(manifests, wanted)) ?? (await this.chooseUnnamed(manifests, wanted));
    if (entry) return { document: await this.fetchEntry(entry), entry };
    for (const nested of manifests) {
      if (!isIndexType(nested.mediaType) || (nested.platform && fitness(wanted, nested.platform) === undefined)) {
        continue;
      }
      if (!(await this.isPresent(nested))) continue;
      const found = await this.searchIn(await this.fetchEntry(nested), wanted, depth + 1);
      if (found) return found;
    }
    return undefined;
  }

  /** An index may list what its source lacks: of several platforms `docker save` writes only those that were pulled. */
  private async choosePresent(manifests: IndexEntry[], wanted: Platform): Promise<IndexEntry | undefined> {
    const best = this.choose(manifests, wanted);
    return !best || (await this.isPresent(best)) ? best : this.choose(await this.present(manifests), wanted);
  }

  private async present(entries: IndexEntry[]): Promise<IndexEntry[]> {
    const found: IndexEntry[] = [];
    for (const entry of entries) if (await this.isPresent(entry)) found.push(entry);
    return found;
  }

  private async isPresent(entry: IndexEntry): Promise<boolean> {
    const { source, request } = this;
    if (!source.has) return true;
    return Boolean(request.store.read(entry.digest) ?? embedded(entry)) || source.has(entry.digest);
  }

  /** What is plainly an image comes before artifacts, and before images that need what this machine may not have. */
  private choose(manifests: IndexEntry[], wanted: Platform): IndexEntry | undefined {
    const images = manifests.filter(isImage);
    for (const entry of images) if (entry.platform) this.offered.add(entry);
    const plain = images.filter((entry) => namesImage(entry) && !needsFeatures(entry));
    return bestOrOnly(plain, wanted) ?? bestOrOnly(images, wanted);
  }

  /**
   * The best of those images for which the index names no platform, by their configs. skopeo takes the first one, and
   * containerd too, if its config is for the platform.
   */
  private async chooseUnnamed(manifests: IndexEntry[], wanted: Platform): Promise<IndexEntry | undefined> {
    const images = manifests.filter((entry) => isImage(entry) && namesImage(entry));
    const unnamed = await this.present(images.filter(({ platform }) => !platform));
    const told: IndexEntry[] = [];
    for (const entry of unnamed) {
      if (!this.told.has(entry.digest) && this.told.size < maxUnnamed)
        this.told.set(entry.digest, await this.platformInside(entry));
      const platform = this.told.get(entry.digest);
      if (platform) told.push({ ...entry, platform });
      else this.offered.add(entry);
    }
    return this.choose(told, wanted);
  }

  /** The platform in the config of an image; undefined when it names none, or is an artifact. */
  private async platformInside(entry: IndexEntry): Promise<Platform | undefined> {
    const { value } = await this.fetchEntry(entry);
    const { config } = asManifest(value, `manifest ${entry.digest}`);
    if (!isConfigType(config.mediaType)) return undefined;
    return platformIn((await this.fetchConfig(config)).config, undefined);
  }

  private async fetchConfig(descriptor: Descriptor): Promise<{ bytes: Buffer; config: ImageConfig }> {
    const bytes = await fetchConfig(this.source, this.request.store, descriptor);
    const name = `config ${descriptor.digest}`;
    return { bytes, config: asImageConfig(parseJson(bytes, name), name) };
  }

  private async fetchEntry(entry: Descriptor): Promise<Verified> {
    const name = `manifest ${entry.digest}`;
    if (entry.size > documentLimit) throw tooLarge(name, entry.size);
    const bytes =
      this.request.store.read(entry.digest) ?? embedded(entry) ?? (await this.source.manifest(entry.digest)).bytes;
    checkContent(bytes, entry, name);
    return verified(bytes, entry.digest, entry.mediaType, name);
  }

  async image(document: Verified, entry: IndexEntry | undefined): Promise<ResolvedImage> {
    const name = `manifest ${document.digest}`;
    const manifest = asManifest(document.value, name);
    checkIsImage(manifest, document, name);
    if (this.request.onManifest && (entry?.platform || !this.request.strict)) {
      this.request.onManifest(manifest);
      // The first layer gets the connection that is open already: it takes longer, and a new one up to three round trips.
      await nextTurn();
    }
    const { bytes, config } = await this.fetchConfig(manifest.config);
    checkDiffIDs(manifest, config, name);
    const platform = this.platformOf(config, entry);
    this.checkPlatform(platform);
    this.request.store.put(manifest.config.digest, bytes);
    this.request.store.put(document.digest, document.bytes);
    return { platform, digest: document.digest, mediaType: document.mediaType, manifest, config };
  }

  /**
   * The platform of an image: what its config says, otherwise what the index entry says, otherwise unknown. When the
   * two contradict each other the index counts, as for other tools: the config is often wrong after cross-compiling.
   */
  private platformOf(config: ImageConfig, entry: IndexEntry | undefined): Platform {
    const inIndex = entry?.platform && normalize(entry.platform);
    const own = platformIn(config, inIndex);
    if (!own || !inIndex) return own ?? inIndex ?? { os: 'linux', architecture: unknownArchitecture };
    if (own.os === inIndex.os && own.architecture === inIndex.architecture) return own;
    const why = `its index says that it is for ${platformName(inIndex)}, its config for ${platformName(own)}`;
    warn(`${this.request.image}: ${why}`);
    return inIndex;
  }

  /**
   * An image without an index may be for any platform. Like docker, this only warns, unless the user named the
   * platform.
   */
  private checkPlatform(platform: Platform): void {
    const { image, wanted, strict } = this.request;
    if (platform.architecture === unknownArchitecture || fitness(wanted, platform) !== undefined) return;
    const why = `it is for ${platformName(platform)}, not ${platformName(wanted)}`;
    if (strict) throw new Failure(Status.missing, image, why);
    warn(`${image}: ${why}`);
  }
}

/** Some builders write an index with a single image and no platform. Its config will tell the platform. */
function bestOrOnly(images: IndexEntry[], wanted: Platform): IndexEntry | undefined {
  return bestOf(images, wanted) ?? (images.length === 1 && !images[0]!.platform ? images[0] : undefined);
}

/**
 * image-spec, image-index.md, "os.features": all are mandatory, and for Linux none is defined. Nydus marks by one an
 * image whose layers only its own driver can read, beside the same image for everybody.
 */
function needsFeatures({ platform }: IndexEntry): boolean {
  return platform?.os === 'linux' && (platform['os.features'] ?? []).length > 0;
}

function isImage(entry: IndexEntry): boolean {
  return isManifestType(entry.mediaType) && !isAttestation(entry);
}

/**
 * The platform in the config, with the variant of the index entry if it has none itself; undefined when it has no
 * platform.
 */
function platformIn({ os, architecture, variant }: ImageConfig, inIndex: Platform | undefined): Platform | undefined {
  if (!os || !architecture) return undefined;
  const level = variant ?? (inIndex?.architecture === architecture ? inIndex.variant : undefined);
  return normalize({ os, architecture, variant: level });
}
