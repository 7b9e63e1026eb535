/**
 * The pull side of the registry API for one repository: manifests and blobs, with tokens renewed, redirects followed and
 * failures tried again. Source: distribution-spec 1.1, "Pull".
 */
import type { BlobRequest, BlobSink, RawManifest } from '../image/source.js';
import { Status } from '../pipe/status.js';
import { warnLine } from '../pipe/trace.js';
import { type AuthTarget, answerChallenges, type Credentials } from './auth.js';
import { parseChallenges } from './challenge.js';
import { RegistryFailure, responseFailure } from './failures.js';
import { Http, type HttpOptions, type Incoming } from './http.js';
import type { Endpoint } from './mirrors.js';
import { quotaOf } from './quota.js';
import { exchangeFollowing } from './redirect.js';
import { defaultRetryPolicy, type RetryPolicy, retrying } from './retry.js';
import { redactUrl } from './url.js';

export interface RegistryOptions extends Partial<HttpOptions> {
  /** As users write it. */
  registry: string;
  repository: string;
  /** The origin of its API. */
  origin: string;
  /** The Authorization header to begin with; null or absent when there is none yet. */
  authorization?: string | null;
  /** Asked when a challenge calls for it. */
  credentials?: () => Promise<Credentials | undefined>;
  retry?: Partial<RetryPolicy>;
}

const acceptedManifests = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
].join(', ');

export class RegistryClient implements Endpoint {
  readonly name: string;
  readonly #http: Http;
  readonly #target: AuthTarget;
  readonly #retry: RetryPolicy;
  readonly #credentials: () => Promise<Credentials | undefined>;
  #authorization: string | null;
  #renewing: Promise<string | null> | undefined;

  constructor(options: RegistryOptions) {
    const { registry, repository, origin, authorization, credentials, retry, ...http } = options;
    this.#http = new Http(http);
    this.name = `${registry}/${repository}`;
    this.#target = { origin, repository };
    this.#retry = { ...defaultRetryPolicy, ...retry };
    this.#credentials = credentials ?? (async () => undefined);
    this.#authorization = authorization ?? null;
  }

  /**
   * Asks the registry how it wants to be asked, and returns the Authorization header for pulls from this repository:
   * null when it is open to all. Throws `Failure` 77 when it needs a login that there is none for.
   */
  async login(): Promise<string | null> {
    return this.#trying(`logging in for ${this.name}`, async () => {
      const url = new URL('/v2/', this.#target.origin);
      const response = await exchangeFollowing(this.#http, { method: 'GET', url, headers: {} });
      if (response.status === 200) {
        await response.drop();
        return null;
      }
      const challenges = this.#challengesOf(response);
      if (challenges.length === 0) throw await responseFailure(response);
      await response.drop();
      return answerChallenges(this.#http, challenges, this.#target, this.#credentials);
    });
  }

  async manifest(reference: string, limit: number): Promise<RawManifest> {
    return this.#trying(`manifest ${reference} of ${this.name}`, async () => {
      const response = await this.#get(`manifests/${reference}`, { accept: acceptedManifests });
      if (response.status !== 200) throw await responseFailure(response);
      this.#warnOfQuota(response);
      return { bytes: await response.bytes(limit), contentType: response.header('content-type') };
    });
  }

  /** A connection that breaks is taken up again where it broke, as long as some bytes come each time. */
  async blob({ digest, size, urls = [] }: BlobRequest, sink: BlobSink): Promise<void> {
    const from = (place: string, get: (headers: Record<string, string>) => Promise<Incoming>) => {
      const download = new Download(`blob ${digest}`, size, sink);
      return this.#trying(
        `blob ${digest} of ${place}`,
        () => download.attempt(get),
        () => download.reached,
      );
    };
    const elsewhere = urls.filter((url) => this.#mayFetch(url));
    try {
      await from(this.name, (headers) => this.#get(`blobs/${digest}`, headers));
    } catch (error) {
      // Foreign layers may not be in registries; whether this one is, the answer has told.
      const next = error instanceof RegistryFailure && error.status === Status.unavailable ? elsewhere[0] : undefined;
      if (next === undefined) throw error;
      const url = new URL(next);
      await from(redactUrl(url), (headers) => exchangeFollowing(this.#http, { method: 'GET', url, headers }));
    }
  }

  /** image-spec, descriptor.md, "urls": http or https; from a registry with TLS only the latter. */
  #mayFetch(url: string): boolean {
    const protocol = URL.canParse(url) ? new URL(url).protocol : '';
    return protocol === 'https:' || (protocol === 'http:' && this.#target.origin.startsWith('http:'));
  }

  /** Hangs up; what is under way fails. */
  close(): Promise<void> {
    return this.#http.close();
  }

  async #trying<T>(what: string, attempt: () => Promise<T>, progress?: () => number): Promise<T> {
    try {
      return await retrying(this.#retry, attempt, progress);
    } catch (error) {
      throw error instanceof RegistryFailure ? error.during(what) : error;
    }
  }

  /** One GET below the repository. A token that is refused is renewed once. */
  async #get(path: string, headers: Record<string, string>): Promise<Incoming> {
    const used = this.#authorization;
    const first = await this.#send(path, headers, used);
    if (first.status !== 401) return first;
    const challenges = this.#challengesOf(first);
    if (challenges.length === 0) return first;
    await first.drop();
    await this.#renew(used, challenges);
    return this.#send(path, headers, this.#authorization);
  }

  #send(path: string, headers: Record<string, string>, authorization: string | null): Promise<Incoming> {
    const url = new URL(`/v2/${this.#target.repository}/${path}`, this.#target.origin);
    const all = authorization === null ? headers : { ...headers, authorization };
    return exchangeFollowing(this.#http, { method: 'GET', url, headers: all });
  }

  /** Only the registry itself may ask for credentials: a host that it redirects to may not. */
  #challengesOf(response: Incoming) {
    const own = response.status === 401 && response.url.origin === this.#target.origin;
    return own ? parseChallenges(response.headers('www-authenticate')) : [];
  }

  #warnOfQuota(response: Incoming): void {
    const quota = quotaOf(response);
    if (!quota || quota.remaining > Math.max(3, quota.limit / 20)) return;
    warnLine(`${this.name}: ${quota.remaining} of ${quota.limit} pulls are left; a login may give more`);
  }

  /** Several requests may be refused at the same time: one renews for all. */
  async #renew(refused: string | null, challenges: ReturnType<typeof parseChallenges>): Promise<void> {
    if (this.#authorization !== refused) return;
    this.#renewing ??= answerChallenges(this.#http, challenges, this.#target, this.#credentials).finally(() => {
      this.#renewing = undefined;
    });
    this.#authorization = await this.#renewing;
  }
}

/**
 * The download of one blob over as many requests as it takes.
 * Source: RFC 9110, 14 (Range, Content-Range, 206, 416).
 */
class Download {
  /** The furthest that it ever came, in bytes: a server that starts again from 0 each time makes no progress. */
  reached: number;
  #useRanges = true;

  constructor(
    readonly what: string,
    readonly size: number,
    readonly sink: BlobSink,
  ) {
    this.reached = sink.offset;
  }

  async attempt(get: (headers: Record<string, string>) => Promise<Incoming>): Promise<void> {
    const { sink, size } = this;
    if (sink.offset > size || (!this.#useRanges && sink.offset > 0)) sink.restart();
    if (sink.offset === size) return;
    const from = sink.offset;
    const response = await get(from > 0 ? { range: `bytes=${from}-${size - 1}` } : {});
    await this.#accept(response, from);
    try {
      await response.stream((chunk) => this.#write(chunk));
    } finally {
      this.reached = Math.max(this.reached, sink.offset);
    }
    if (sink.offset < size) throw this.#again(`it was cut short at ${sink.offset} of ${size} bytes`);
  }

  async #accept(response: Incoming, from: number): Promise<void> {
    if (response.status === 200) {
      const length = Number(response.header('content-length') ?? this.size);
      if (length !== this.size) {
        await response.drop();
        throw new RegistryFailure(Status.data, this.what, `the registry offers ${length} bytes, not ${this.size}`);
      }
      if (from > 0) this.sink.restart();
      return;
    }
    if (response.status === 206 && from > 0 && this.#isWanted(response.header('content-range'), from)) return;
    if (response.status !== 206 && response.status !== 416) throw await responseFailure(response);
    // The server gets ranges wrong: without one it cannot.
    await response.drop();
    const again = this.#useRanges;
    this.#useRanges = false;
    const why = `the registry answers a request for a range with HTTP ${response.status} and the wrong range`;
    throw new RegistryFailure(Status.protocol, this.what, why, { retryable: again });
  }

  #isWanted(header: string | undefined, from: number): boolean {
    const [, first, total] = /^bytes ([0-9]+)-[0-9]+\/([0-9]+|\*)$/.exec(header ?? '') ?? [];
    return Number(first) === from && (total === '*' || Number(total) === this.size);
  }

  #write(chunk: Buffer): Promise<void> | undefined {
    if (this.sink.offset + chunk.length > this.size) {
      throw new RegistryFailure(
        Status.data,
        this.what,
        `more than the ${this.size} bytes came that its descriptor says`,
      );
    }
    return this.sink.write(chunk);
  }

  #again(why: string): RegistryFailure {
    return new RegistryFailure(Status.unavailable, this.what, why, { retryable: true });
  }
}
