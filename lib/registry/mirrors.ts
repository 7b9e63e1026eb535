/** A registry behind its mirrors: each is asked in turn, and the registry itself last. */

import { asJson, asObject, isDigest } from '../base/check.js';
import { hasDigest } from '../base/digest.js';
import { ignoringFailure } from '../base/failure.js';
import { asImageIndex, asManifest } from '../base/oci.js';
import { type BlobRequest, type BlobSink, fill, type RawManifest, type Source } from '../base/source.js';
import { Status } from '../base/status.js';
import { warn } from '../base/trace.js';
import { RegistryFailure } from './transport/failure.js';

/** A registry, asked for one repository. */
export interface Registry extends Source {
  /** The Authorization header that is in use for the registry itself; null when there is none. */
  readonly authorization: string | null;
  /** The Authorization header for the registry itself, or null when there is none, or none is needed yet. */
  login(): Promise<string | null>;
}

/** One of several, with a name for messages. */
export interface Endpoint extends Registry {
  readonly name: string;
}

/** Failures of the mirror as a whole: the next request to it would fail as well. */
const aboutItself: number[] = [Status.missing, Status.unavailable, Status.tryLater, Status.notPermitted];

export class Mirrored implements Registry {
  private readonly mirrors: Set<Endpoint>;

  constructor(
    mirrors: Endpoint[],
    private readonly origin: Registry,
  ) {
    this.mirrors = new Set(mirrors);
  }

  get authorization(): string | null {
    return this.origin.authorization;
  }

  /** Only if no mirror answers, the registry itself has to: when asked later, it says what it wants. */
  async login(): Promise<string | null> {
    const answers = await this.first(async (mirror) => {
      await mirror.login();
      return true;
    });
    return answers ? null : this.origin.login();
  }

  async manifest(reference: string): Promise<RawManifest> {
    const found = await this.first(async (mirror) => {
      const manifest = await mirror.manifest(reference);
      if (matches(manifest.bytes, reference)) return manifest;
      throw wrongContent(mirror, `manifest ${reference}`, 'it is not what was asked for');
    });
    return found ?? this.origin.manifest(reference);
  }

  async blob(blob: BlobRequest, sink: BlobSink): Promise<void> {
    // Mirrors get no URLs of foreign layers: only the registry itself looks there, when no mirror has the layer.
    const { urls: _, ...own } = blob;
    const done = await this.first(async (mirror) => {
      if (await fill(sink, () => mirror.blob(own, sink))) return true;
      sink.restart();
      throw wrongContent(mirror, `blob ${blob.digest}`, 'digest mismatch');
    });
    // Without `fill` a mirror that sent wrong bytes and broke off would spoil what the registry sends.
    if (!done) await fill(sink, () => this.origin.blob(blob, sink));
  }

  /**
   * What the first mirror gives that does not fail; undefined when all do. For each that does there is a warning. One
   * that cannot be reached, does not have the image or refuses it is not asked again.
   */
  private async first<T>(attempt: (mirror: Endpoint) => Promise<T>): Promise<T | undefined> {
    for (const mirror of this.mirrors) {
      try {
        return await attempt(mirror);
      } catch (error) {
        // Anything else, such as a full disk, is not a fault of the mirror.
        if (!(error instanceof RegistryFailure)) throw error;
        if (aboutItself.includes(error.status)) this.mirrors.delete(mirror);
        warn(`mirror ${mirror.name}: ${error.message}; going on to the next`);
      }
    }
    return undefined;
  }
}

/**
 * Whether a manifest may be the right one. For a digest that is certain; for a tag it only has to be a manifest at all.
 */
function matches(bytes: Buffer, reference: string): boolean {
  return isDigest(reference) ? hasDigest(bytes, reference) : isManifest(bytes);
}

function isManifest(bytes: Buffer): boolean {
  const checked = ignoringFailure(() => {
    const value = asObject(asJson(bytes, 'manifest'), 'manifest');
    return 'manifests' in value ? asImageIndex(value, 'manifest') : asManifest(value, 'manifest');
  });
  return checked !== undefined;
}

function wrongContent(mirror: Endpoint, what: string, why: string): RegistryFailure {
  return new RegistryFailure(Status.data, `${what} of ${mirror.name}`, why);
}
