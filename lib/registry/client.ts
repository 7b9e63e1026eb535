/**
 * The pull side of the registry API for one repository: manifests and blobs, from wherever they can be had, with
 * failures tried again. Source: distribution-spec 1.1, "Pull".
 */

import { isDigest } from '../base/check.js';
import { indexTypes, manifestTypes } from '../base/media-types.js';
import { documentLimit } from '../base/oci.js';
import { type BlobRequest, type BlobSink, fill, type RawManifest } from '../base/source.js';
import { Status } from '../base/status.js';
import { warn } from '../base/trace.js';
import type { Credentials } from './auth/auth.js';
import { Connections } from './download/connections.js';
import { Download } from './download/download.js';
import { isRefusedLink, overLink } from './download/link.js';
import { defaultPiecePolicy, type PiecePolicy } from './download/piece-policy.js';
import type { GetPart } from './download/range.js';
import { Http } from './http/http.js';
import type { Incoming } from './http/message.js';
import { defaultHttpOptions, type HttpOptions } from './http/options.js';
import { leastBytes } from './http/pace.js';
import { quotaOf } from './http/quota.js';
import { exchangeFollowing } from './http/redirect.js';
import { linkFailure, responseFailure } from './http/response-failures.js';
import { defaultRetryPolicy, type RetryPolicy, retrying } from './http/retry.js';
import { Warnings } from './http/warnings.js';
import type { Endpoint } from './mirrors.js';
import { redactUrl } from './names/redaction.js';
import { RepositoryRequests } from './requests.js';
import { RegistryFailure } from './transport/failure.js';

export interface RegistryOptions extends Partial<Omit<HttpOptions, 'onResponse'>> {
  /** As users write it. */
  registry: string;
  repository: string;
  /** The origin of its API. */
  origin: string;
  /**
   * The Authorization header to begin with, if there is one. It is used until it is refused. The refusal then tells how
   * to ask for the next one, which no document does.
   */
  authorization?: string | null;
  /** Called when a challenge needs credentials. */
  credentials?: () => Promise<Credentials | undefined>;
  retry?: Partial<RetryPolicy>;
  /** Connections that are not needed help with large blobs. Without this option each blob has a single one. */
  connections?: Connections | undefined;
  pieces?: Partial<PiecePolicy>;
}

const acceptedManifests = [...indexTypes, ...manifestTypes].join(', ');

/** How many URLs of a foreign layer are tried. Honest layers have fewer, and each takes its time. */
const maxUrls = 16;

/** Whether another host may have what this one does not give. */
function isUnserved({ status }: RegistryFailure): boolean {
  return status === Status.missing || status === Status.unavailable;
}

export class RegistryClient implements Endpoint {
  readonly name: string;
  private readonly http: Http;
  private readonly origin: string;
  private readonly requests: RepositoryRequests;
  private readonly retry: RetryPolicy;
  private readonly connections: Connections;
  private readonly pieces: PiecePolicy;

  constructor(options: RegistryOptions) {
    const { registry, repository, origin, authorization, credentials, retry, connections, pieces, ...http } = options;
    this.name = `${registry}/${repository}`;
    // In the form of URL.origin, as for responses: lower case, and without the default port.
    this.origin = new URL(origin).origin;
    const warnings = new Warnings(this.name);
    const onResponse = (response: Incoming) => {
      if (this.requests.isOwn(response)) warnings.tell(response);
    };
    this.http = new Http({ ...http, onResponse });
    this.requests = new RepositoryRequests({
      http: this.http,
      target: { origin: this.origin, repository },
      authorization: authorization ?? null,
      credentials: credentials ?? (async () => undefined),
    });
    // A server that sends a byte and breaks off, again and again, must not count as making progress.
    const { timeouts, minSpeed } = { ...defaultHttpOptions, ...http };
    const leastProgress = Math.max(1, leastBytes({ speed: minSpeed, over: timeouts.idle }));
    this.retry = { ...defaultRetryPolicy, leastProgress, ...retry };
    this.connections = connections ?? new Connections(1);
    this.pieces = { ...defaultPiecePolicy, maxWait: this.retry.maxRetryAfter, ...pieces };
  }

  get authorization(): string | null {
    return this.requests.authorization;
  }

  /**
   * Asks the registry for its challenge, answers that, and returns the Authorization header for pulls from this
   * repository. It is null when the registry is open to all, or does not say, or wants a password and there is none: a
   * pull may still succeed then. Throws `Failure` 77 when a login is refused.
   */
  async login(): Promise<string | null> {
    return this.trying(`authorization for ${this.name}`, () => this.requests.login());
  }

  async manifest(reference: string): Promise<RawManifest> {
    return this.trying(`manifest of ${this.name}${isDigest(reference) ? '@' : ':'}${reference}`, async () => {
      const response = await this.requests.get(`manifests/${reference}`, { accept: acceptedManifests });
      if (response.status !== 200) throw await responseFailure(response);
      this.warnOfQuota(response);
      return { bytes: await response.bytes(documentLimit), contentType: response.header('content-type') };
    });
  }

  /**
   * When a connection breaks, the download continues where it broke, as long as enough bytes come each time. When the
   * registry does not have a foreign layer, it is looked for at its own URLs.
   */
  async blob(blob: BlobRequest, sink: BlobSink): Promise<void> {
    try {
      await this.blobFrom(this.name, blob, sink, (headers) => this.requests.get(`blobs/${blob.digest}`, headers));
    } catch (error) {
      // A foreign layer may not be in the registry: it was asked first, since some do have it.
      if (!(error instanceof RegistryFailure) || !isUnserved(error)) throw error;
      const failures = [error];
      for (const url of (blob.urls ?? []).filter((it) => this.mayFetch(it)).slice(0, maxUrls)) {
        const failure = await this.foreign(new URL(url), blob, sink);
        if (!failure) return;
        failures.push(failure);
      }
      throw failures.length > 1 ? error.among(failures) : error;
    }
  }

  private async blobFrom(place: string, { digest, size }: BlobRequest, sink: BlobSink, get: GetPart): Promise<void> {
    const what = `blob ${digest}`;
    const { connections, pieces } = this;
    const getMore = (first: Incoming) => (this.requests.isOwn(first) ? get : overLink(this.http, first.url, get));
    const download = new Download({ what, size, sink, get, getMore, connections, pieces });
    const whole = () =>
      this.trying(
        `${what} of ${place}`,
        () => download.attempt(),
        () => download.reached,
      );
    this.connections.take();
    try {
      await whole();
      if (download.hadPieces && !sink.isVerified()) {
        // The registry may send wrong parts and still the right whole.
        this.connections.refuse();
        sink.restart();
        await whole();
      }
    } finally {
      this.connections.give();
    }
  }

  /**
   * Fetches a foreign layer, without credentials. Returns the failure, if any. Wrong content does not stay in `sink`.
   */
  private async foreign(url: URL, blob: BlobRequest, sink: BlobSink): Promise<RegistryFailure | undefined> {
    const place = redactUrl(url);
    const attempt = () =>
      this.blobFrom(place, blob, sink, async (headers) => {
        const response = await exchangeFollowing(this.http, { method: 'GET', url, headers });
        if (!isRefusedLink(response)) return response;
        throw await linkFailure(response, 'the manifest');
      });
    try {
      if (await fill(sink, attempt)) return undefined;
      sink.restart();
      return new RegistryFailure(Status.data, `blob ${blob.digest} of ${place}`, 'digest mismatch');
    } catch (error) {
      if (!(error instanceof RegistryFailure)) throw error;
      return error;
    }
  }

  /** image-spec, descriptor.md, "urls": http or https; from a registry with TLS only the latter. */
  private mayFetch(url: string): boolean {
    const protocol = URL.canParse(url) ? new URL(url).protocol : '';
    return protocol === 'https:' || (protocol === 'http:' && this.origin.startsWith('http:'));
  }

  private async trying<T>(what: string, attempt: () => Promise<T>, progress?: () => number): Promise<T> {
    try {
      return await retrying(this.retry, attempt, progress);
    } catch (error) {
      throw error instanceof RegistryFailure ? error.during(what) : error;
    }
  }

  private warnOfQuota(response: Incoming): void {
    const quota = quotaOf(response);
    if (!quota || quota.remaining > Math.max(3, quota.limit / 20)) return;
    warn(`${this.name}: ${quota.remaining} of ${quota.limit} pulls are left; a login may give more`);
  }
}
