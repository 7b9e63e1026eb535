/**
 * A registry inside the test process, on loopback ports: the distribution API, a token service on an origin of its own
 * that challenges like Docker Hub's, and a "CDN" on another one that answers 400 to anyone who brings an Authorization
 * header. It can be told to fail in the ways of `Fault`, and remembers what it was asked.
 *
 *     const registry = await registryFor(t, { auth: 'token' });
 *     const { digest } = registry.addManifest('library/demo', ['latest'], manifestBytes, mediaType);
 *     registry.faults.add({ on: /registry GET .*blobs/, times: 1, cutAfter: 1000 });
 *     await md('md-token', [`${registry.host}/library/demo`]);
 *     registry.requests.filter(({ service }) => service === 'cdn')
 *
 * Source of the API: OCI distribution-spec 1.1, "Endpoints".
 */
import { randomBytes } from 'node:crypto';
import { createWriteStream, mkdtempSync, rmSync } from 'node:fs';
import * as http from 'node:http';
import * as https from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { TestContext } from 'node:test';
import { TLSSocket } from 'node:tls';
import { type Content, digestOf, digestOfContent, inFile, inMemory } from './content.js';
import { type Answer, FaultPlan, json, send } from './faults.js';
import { afterwards } from './run.js';
import type { ServerTls } from './tls.js';
import { basicUser, type TokenOptions, TokenService } from './tokens.js';

export interface RegistryOptions extends TokenOptions {
  /** `token`: Bearer tokens, users optional. `basic`: one of `users`, with every request. Default: open to all. */
  auth?: 'none' | 'basic' | 'token';
  /** Names and passwords. */
  users?: Record<string, string>;
  /** Serve https with this certificate; see tls.ts. */
  tls?: ServerTls;
  /**
   * With `tls`: the authority (PEM) of the client certificates without which the registry answers nobody. The other
   * services ask for one and do without.
   */
  clientCa?: string;
  /** The status with which blobs are sent to the CDN (301, 302, 303, 307, 308); without it they are served here. */
  redirectBlobs?: number;
  /** As for blobs, for manifests. */
  redirectManifests?: number;
  /** Serves https for the registry and plain http for the CDN: a redirect that a client has to refuse. */
  plainCdn?: boolean;
  /** Whether Range is honoured; true by default. */
  ranges?: boolean;
  /** The `WWW-Authenticate` values in place of the normal one, which it gets. */
  challenge?: (normal: string) => string | string[];
  /** The name under which clients reach it: `127.0.0.1` (default) or `localhost`. */
  hostname?: string;
  /** Port of the registry; a free one by default. */
  port?: number;
}

type Service = 'registry' | 'token' | 'cdn';

/** A request that was received. */
interface Recorded {
  service: Service;
  method: string;
  /** Path and query. */
  url: string;
  headers: http.IncomingHttpHeaders;
  /** The common name in the client certificate, if one was presented. */
  client: string | undefined;
  /** The client's port: the same for all requests on one connection. */
  port: number | undefined;
}

interface Stored {
  digest: string;
  size: number;
}

interface ManifestEntry extends Stored {
  mediaType: string;
}

/** A registry for one test, closed after it. */
export async function registryFor(t: TestContext, options: RegistryOptions = {}): Promise<Registry> {
  const registry = await startRegistry(options);
  afterwards(t, () => registry.close());
  return registry;
}

/** Starts all three services; they listen when the promise is fulfilled. */
export async function startRegistry(options: RegistryOptions = {}): Promise<Registry> {
  const registry = new Registry(options);
  await registry.listen();
  return registry;
}

export class Registry {
  readonly faults = new FaultPlan();
  readonly requests: Recorded[] = [];
  readonly tokens: TokenService;
  /** `127.0.0.1:PORT`, the first part of an image reference. */
  host = '';
  /** Origins, such as `http://127.0.0.1:PORT`. */
  readonly origin: Record<Service, string> = { registry: '', token: '', cdn: '' };

  /** The answer for an unknown tag, in any repository; 404 without it. */
  anyTag: ManifestEntry | undefined;

  private readonly servers: http.Server[] = [];
  private readonly blobs = new Map<string, Content>();
  private readonly manifests = new Map<string, ManifestEntry>();
  /** The files of uploads that are under way. */
  private readonly uploads = new Map<string, string>();
  /** What a link to the CDN has to have. */
  private readonly signature = randomBytes(16).toString('hex');
  private scratch: string | undefined;

  constructor(private readonly options: RegistryOptions) {
    this.tokens = new TokenService(options.users ?? {}, options);
  }

  /** Makes a blob available in every repository. A given digest is used even if it is wrong. */
  async addBlob(data: Buffer | string | Content, digest?: string): Promise<Stored> {
    const content = typeof data === 'string' || Buffer.isBuffer(data) ? inMemory(data) : data;
    const name = digest ?? (await digestOfContent(content));
    this.blobs.set(name, content);
    return { digest: name, size: content.size };
  }

  /** Stores a manifest or an index under its digest and under each tag. */
  addManifest(repository: string, tags: string[], body: Buffer | string, mediaType: string): ManifestEntry {
    const bytes = Buffer.from(body);
    const entry = { digest: digestOf(bytes), size: bytes.length, mediaType };
    this.blobs.set(entry.digest, inMemory(bytes));
    for (const algorithm of ['sha256', 'sha512']) {
      this.manifests.set(`${repository} ${digestOf(bytes, algorithm)}`, entry);
    }
    for (const tag of tags) this.manifests.set(`${repository} ${tag}`, entry);
    return entry;
  }

  /** A reference to an image in this registry: `127.0.0.1:PORT/NAME`. */
  image(name: string): string {
    return `${this.host}/${name}`;
  }

  /** The requests of one service as `METHOD URL` lines. */
  lines(service: Service): string[] {
    return this.requests.filter((it) => it.service === service).map(({ method, url }) => `${method} ${url}`);
  }

  async listen(): Promise<void> {
    for (const service of ['token', 'cdn', 'registry'] as const) {
      const tls = service === 'cdn' && this.options.plainCdn ? undefined : this.options.tls;
      const handler: http.RequestListener = (req, res) => this.receive(service, req, res);
      const server = tls ? https.createServer(this.tlsOptions(service, tls), handler) : http.createServer(handler);
      // A client that breaks off is part of many tests.
      server.on('clientError', (_error, socket) => socket.destroy());
      this.servers.push(server);
      const port = service === 'registry' ? (this.options.port ?? 0) : 0;
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(port, '127.0.0.1', resolve);
      });
      const host = `${this.options.hostname ?? '127.0.0.1'}:${(server.address() as AddressInfo).port}`;
      this.origin[service] = `${tls ? 'https' : 'http'}://${host}`;
      if (service === 'registry') this.host = host;
    }
  }

  private tlsOptions(service: Service, tls: ServerTls): https.ServerOptions {
    const { clientCa } = this.options;
    const asking = { requestCert: true, rejectUnauthorized: service === 'registry', ca: clientCa };
    return { cert: tls.cert, key: tls.key, ...(clientCa === undefined ? {} : asking) };
  }

  async close(): Promise<void> {
    for (const server of this.servers) {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    }
    if (this.scratch) rmSync(this.scratch, { recursive: true, force: true });
  }

  private async receive(service: Service, req: http.IncomingMessage, res: http.ServerResponse): Promise<void> {
    const { method = 'GET', url = '/', headers } = req;
    const { socket } = req;
    const subject = socket instanceof TLSSocket ? socket.getPeerCertificate().subject : undefined;
    this.requests.push({ service, method, url, headers, client: [subject?.CN].flat()[0], port: socket.remotePort });
    const fault = this.faults.strike(`${service} ${method} ${url}`);
    res.on('error', () => res.destroy());
    try {
      await send(req, res, await this.answer(service, req, new URL(url, this.origin[service])), fault);
    } catch (error) {
      // A fault of the registry itself must be seen in the test, not taken for one of the client's.
      process.exitCode = 1;
      console.error(`embedded registry: ${service} ${method} ${url}:`, error);
      res.destroy();
    }
  }

  private async answer(service: Service, req: http.IncomingMessage, url: URL): Promise<Answer> {
    if (service === 'token') return url.pathname === '/token' ? this.tokens.answer(req, url) : { status: 404 };
    if (service === 'cdn') return this.cdn(req, url);
    const [, repository = '', kind = '', rest = ''] =
      /^\/v2\/(.+)\/(manifests|blobs)\/(.*)$/.exec(decodeURIComponent(url.pathname)) ?? [];
    if (repository === '' && url.pathname !== '/v2/') return problem(404, 'NAME_UNKNOWN', 'no such endpoint');
    const writes = req.method !== 'GET' && req.method !== 'HEAD';
    if (!this.permits(req, repository, writes ? 'push' : 'pull')) return this.challenge(repository, writes);
    if (repository === '') return json(200, {});
    if (kind === 'manifests') return writes ? this.putManifest(req, repository, rest) : this.manifest(repository, rest);
    return writes ? this.upload(req, repository, rest, url) : this.blob(rest);
  }

  private permits(req: http.IncomingMessage, repository: string, action: string): boolean {
    const { authorization } = req.headers;
    switch (this.options.auth ?? 'none') {
      case 'none':
        return true;
      case 'basic':
        return typeof basicUser(authorization, this.options.users ?? {}) === 'string';
      case 'token':
        return this.tokens.permits(authorization, repository, action);
    }
  }

  private challenge(repository: string, writes: boolean): Answer {
    const scope = repository === '' ? '' : `,scope="repository:${repository}:${writes ? 'pull,push' : 'pull'}"`;
    const normal =
      this.options.auth === 'basic'
        ? 'Basic realm="embedded registry"'
        : `Bearer realm="${this.origin.token}/token",service="registry.test"${scope}`;
    const answer = problem(401, 'UNAUTHORIZED', 'authentication required');
    return {
      ...answer,
      headers: { ...answer.headers, 'www-authenticate': this.options.challenge?.(normal) ?? normal },
    };
  }

  private manifest(repository: string, reference: string): Answer {
    const entry = this.manifests.get(`${repository} ${reference}`) ?? this.elsewhere(reference);
    if (!entry) return problem(404, 'MANIFEST_UNKNOWN', 'manifest unknown');
    const { redirectManifests } = this.options;
    if (redirectManifests) return this.redirect(redirectManifests, entry.digest, entry.mediaType);
    const headers = { 'content-type': entry.mediaType, 'docker-content-digest': entry.digest };
    return { status: 200, headers, body: this.blobs.get(entry.digest)! };
  }

  private elsewhere(reference: string): ManifestEntry | undefined {
    if (!this.anyTag || !reference.includes(':')) return this.anyTag;
    return [...this.manifests.values()].find(({ digest }) => digest === reference);
  }

  private blob(digest: string): Answer {
    const content = this.blobs.get(digest);
    if (!content) return problem(404, 'BLOB_UNKNOWN', 'blob unknown to registry');
    const type = 'application/octet-stream';
    if (this.options.redirectBlobs) return this.redirect(this.options.redirectBlobs, digest, type);
    return this.serve(content, { 'content-type': type, 'docker-content-digest': digest });
  }

  private serve(body: Content, headers: http.OutgoingHttpHeaders): Answer {
    return { status: 200, headers, body, ranged: this.options.ranges !== false };
  }

  private redirect(status: number, digest: string, type: string): Answer {
    const query = new URLSearchParams({ type, signature: this.signature });
    return { status, headers: { location: `${this.origin.cdn}/blobs/${digest}?${query}` } };
  }

  /** As object stores do: two kinds of authentication in one request are a bad request. */
  private cdn(req: http.IncomingMessage, url: URL): Answer {
    if (req.headers.authorization !== undefined) return text(400, 'Only one auth mechanism allowed');
    const digest = url.pathname.replace('/blobs/', '');
    const type = url.searchParams.get('type') ?? '';
    const content = this.blobs.get(digest);
    if (url.searchParams.get('signature') !== this.signature) return text(403, 'the link is not signed');
    return content ? this.serve(content, { 'content-type': type }) : text(404, 'no such object');
  }

  private async putManifest(req: http.IncomingMessage, repository: string, reference: string): Promise<Answer> {
    const chunks: Buffer[] = [];
    for await (const chunk of req) chunks.push(chunk as Buffer);
    const tags = reference.includes(':') ? [] : [reference];
    const type = req.headers['content-type'] ?? '';
    const { digest } = this.addManifest(repository, tags, Buffer.concat(chunks), type);
    const location = `/v2/${repository}/manifests/${digest}`;
    return { status: 201, headers: { location, 'docker-content-digest': digest } };
  }

  /** POST, PATCH and PUT of distribution-spec, "Pushing a blob in chunks" and "monolithically". */
  private async upload(req: http.IncomingMessage, repository: string, rest: string, url: URL): Promise<Answer> {
    const [, id = ''] = /^uploads\/(.*)$/.exec(rest) ?? [];
    const mounted = url.searchParams.get('mount');
    if (req.method === 'POST' && mounted !== null && this.blobs.has(mounted)) return created(repository, mounted);
    const name = req.method === 'POST' ? randomBytes(12).toString('hex') : id;
    const path = req.method === 'POST' ? this.newUpload(name) : this.uploads.get(name);
    if (!path) return problem(404, 'BLOB_UPLOAD_UNKNOWN', 'no such upload');
    await pipeline(req, createWriteStream(path, { flags: 'a' }));
    const content = inFile(path);
    const digest = url.searchParams.get('digest');
    if (digest === null) return accepted(repository, name, content.size);
    const actual = await digestOfContent(content, digest.split(':')[0]);
    if (actual !== digest) return problem(400, 'DIGEST_INVALID', 'digest does not match');
    this.uploads.delete(name);
    this.blobs.set(digest, content);
    return created(repository, digest);
  }

  private newUpload(name: string): string {
    this.scratch ??= mkdtempSync(join(tmpdir(), 'md-registry-'));
    const path = join(this.scratch, name);
    this.uploads.set(name, path);
    return path;
  }
}

function created(repository: string, digest: string): Answer {
  const location = `/v2/${repository}/blobs/${digest}`;
  return { status: 201, headers: { location, 'docker-content-digest': digest } };
}

function accepted(repository: string, name: string, size: number): Answer {
  const location = `/v2/${repository}/blobs/uploads/${name}`;
  return { status: 202, headers: { location, range: `0-${Math.max(0, size - 1)}`, 'docker-upload-uuid': name } };
}

function text(status: number, body: string): Answer {
  return { status, headers: { 'content-type': 'text/plain' }, body: inMemory(body) };
}

/** An error body of distribution-spec, "Error Codes". */
function problem(status: number, code: string, message: string): Answer {
  return json(status, { errors: [{ code, message }] });
}
