/** A registry behind its mirrors: each is asked in turn, and the registry itself last. */
import type { BlobRequest, BlobSink, RawManifest, Source } from '../image/source.js';
import { asObject, isDigest } from '../pipe/check.js';
import { hasDigest } from '../pipe/digest.js';
import { Failure } from '../pipe/failure.js';
import { asImageIndex, asManifest } from '../pipe/oci.js';
import { Status } from '../pipe/status.js';
import { warn } from '../pipe/trace.js';
import { RegistryFailure } from './failures.js';

/** A source with a name, for messages. */
export interface Endpoint extends Source {
  readonly name: string;
}

/** Failures of the mirror as a whole: the next request to it would fail as well. */
const aboutItself: number[] = [Status.unavailable, Status.tryLater, Status.notPermitted];

export class Mirrored implements Source {
  readonly #mirrors: Endpoint[];
  readonly #origin: Source;

  constructor(mirrors: Endpoint[], origin: Source) {
    this.#mirrors = mirrors;
    this.#origin = origin;
  }

  async manifest(reference: string): Promise<RawManifest> {
    for (const mirror of [...this.#mirrors]) {
      const found = await this.#try(mirror, async () => {
        const manifest = await mirror.manifest(reference);
        if (!matches(manifest.bytes, reference))
          throw wrongContent(mirror, `manifest ${reference}`, 'it is not what was asked for');
        return manifest;
      });
      if (found) return found;
    }
    return this.#origin.manifest(reference);
  }

  async blob(blob: BlobRequest, sink: BlobSink): Promise<void> {
    // Mirrors get no URLs of foreign layers: only the registry itself looks there, when no mirror has the layer.
    const { urls: _, ...own } = blob;
    for (const mirror of [...this.#mirrors]) {
      const done = await this.#try(mirror, async () => {
        await mirror.blob(own, sink);
        if (!sink.isVerified()) {
          sink.restart();
          throw wrongContent(mirror, `blob ${blob.digest}`, 'digest mismatch');
        }
        return true;
      });
      if (done) return;
    }
    const begun = sink.offset > 0;
    await this.#origin.blob(blob, sink);
    if (!begun || sink.isVerified()) return;
    // A mirror may have sent wrong bytes before it broke off, so the registry sends everything once more.
    sink.restart();
    await this.#origin.blob(blob, sink);
  }

  /**
   * Asks one mirror. When it fails, there is a warning, and the result is undefined. A mirror that cannot be reached,
   * does not have the image or refuses it is not asked again.
   */
  async #try<T>(mirror: Endpoint, attempt: () => Promise<T>): Promise<T | undefined> {
    try {
      return await attempt();
    } catch (error) {
      // Anything else, such as a full disk, is no fault of the mirror.
      if (!(error instanceof RegistryFailure)) throw error;
      const at = this.#mirrors.indexOf(mirror);
      if (at >= 0 && aboutItself.includes(error.status)) this.#mirrors.splice(at, 1);
      warn(`mirror ${mirror.name}: ${error.message}; going on to the next`);
      return undefined;
    }
  }
}

/**
 * Whether a manifest may be the right one. For a digest that is certain; for a tag it only has to be a manifest at all.
 */
function matches(bytes: Buffer, reference: string): boolean {
  return isDigest(reference) ? hasDigest(bytes, reference) : isManifest(bytes);
}

function isManifest(bytes: Buffer): boolean {
  try {
    const value: unknown = JSON.parse(bytes.toString());
    if ('manifests' in asObject(value, 'manifest')) asImageIndex(value, 'manifest');
    else asManifest(value, 'manifest');
    return true;
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof Failure) return false;
    throw error;
  }
}

function wrongContent(mirror: Endpoint, what: string, why: string): RegistryFailure {
  return new RegistryFailure(Status.data, `${what} of ${mirror.name}`, why);
}
