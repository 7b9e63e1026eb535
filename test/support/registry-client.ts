/** A client of the embedded registry, with an image and a blob to ask for. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import type { TestContext } from 'node:test';
import { Failure } from '../../lib/base/failure.js';
import type { BlobRequest, BlobSink, Source } from '../../lib/base/source.js';
import { RegistryClient, type RegistryOptions } from '../../lib/registry/client.js';
import { digestOf } from './content.js';
import { image, layer, put } from './image.js';
import { type Registry, registryFor, type RegistryOptions as ServerOptions } from './registry.js';

export const repository = 'library/demo';
export const bytes = randomBytes(300_000);
export const blob = { digest: digestOf(bytes), size: bytes.length };

export async function serve(t: TestContext, options: ServerOptions = {}): Promise<Registry> {
  const registry = await registryFor(t, options);
  await put(registry, repository, ['latest'], image({ layers: [layer([{ name: 'a', data: 'a' }])] }));
  await registry.addBlob(bytes);
  return registry;
}

export function clientFor(registry: Registry, options: Partial<RegistryOptions> = {}): RegistryClient {
  return clientAt(registry.origin.registry, options);
}

export function clientAt(origin: string, options: Partial<RegistryOptions> = {}): RegistryClient {
  const retry = { firstDelay: 1, maxDelay: 5 };
  return new RegistryClient({ registry: new URL(origin).host, repository, origin, retry, ...options });
}

/** Keeps what comes as it is, since a disk may be slow; may begin with something. */
export class Sink implements BlobSink {
  offset = 0;
  restarts = 0;
  private kept: Buffer[] = [];

  constructor(
    begun = Buffer.alloc(0),
    private readonly digest = blob.digest,
  ) {
    this.keep(begun);
  }

  write(chunk: Buffer): Promise<void> | undefined {
    this.keep(chunk);
    return undefined;
  }

  restart(): void {
    this.restarts += 1;
    this.offset = 0;
    this.kept = [];
  }

  isVerified(): boolean {
    return digestOf(Buffer.concat(this.kept)) === this.digest;
  }

  private keep(chunk: Buffer): void {
    this.kept.push(chunk);
    this.offset += chunk.length;
  }
}

/** Fetches the blob, of which `sink` may have a beginning, and sees that it is the right one. */
export async function fetchBlob(from: Source, sink = new Sink(), request: BlobRequest = blob): Promise<Sink> {
  await from.blob(request, sink);
  assert.ok(sink.isVerified());
  return sink;
}

export async function refused(promise: Promise<unknown>, status: number, why: RegExp): Promise<Failure> {
  const error: unknown = await promise.then(
    () => assert.fail('it was not refused'),
    (reason) => reason,
  );
  assert.ok(error instanceof Failure, String(error));
  assert.match(error.message, why);
  assert.equal(error.status, status, error.message);
  return error;
}

export const blobRequests = (registry: Registry) => registry.requests.filter(({ url }) => url.includes(blob.digest));
