/** Many pulls under random faults: each ends well or with a documented status, and never with a wrong tree or store. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Failure } from '../../lib/base/failure.js';
import { hostPlatform } from '../../lib/image/manifest/platform.js';
import { resolveImage } from '../../lib/image/manifest/resolve.js';
import { Store } from '../../lib/image/store/store.js';
import type { Layer } from '../../lib/pipe/document.js';
import { makeProgress } from '../../lib/pipe/progress.js';
import { LayerFetch } from '../../lib/pull/fetch-layers.js';
import { RegistryClient } from '../../lib/registry/client.js';
import { Connections } from '../../lib/registry/download/connections.js';
import { defaultLimits } from '../../lib/unpack/tree/limits.js';
import { unpackFiles } from '../../lib/unpack/unpack.js';
import type { Fault } from '../support/faults.js';
import { image, index, layer, put } from '../support/image.js';
import { Random } from '../support/random.js';
import { type Registry, registryFor } from '../support/registry.js';
import { scratch } from '../support/run.js';

const rounds = 200;
const lanes = 10;
const repository = 'library/demo';
const documented = new Set([65, 66, 69, 75, 76, 77]);

function randomFault(random: Random): Fault {
  const on = random.pick([/^registry/, /^token/, /^cdn/, /manifests/, /blobs/]);
  const effects: Partial<Fault>[] = [
    { cutAfter: random.below(60_000) },
    { hangUp: true },
    { stallAfter: random.below(60_000) },
    { corruptAt: random.below(500) },
    { extraBytes: 1 + random.below(100) },
    { status: random.pick([400, 401, 403, 404, 418, 429, 500, 502, 503]) },
    { status: 429, headers: { 'retry-after': String(random.below(2)) } },
    { range: random.pick(['ignored', 'wrong-start', 'wrong-total', 'refused'] as const) },
    { status: 302, headers: { location: '/v2/' } },
    { status: 200, body: '<html></html>' },
  ];
  return { on, times: 1 + random.below(2), after: random.below(3), ...random.pick(effects) };
}

/** A command ends at the first failure, and with it whatever is under way. Here that has to be waited for. */
class AwaitedStore extends Store {
  readonly underWay: Promise<unknown>[] = [];

  override fetch(...args: Parameters<Store['fetch']>): ReturnType<Store['fetch']> {
    const fetched = super.fetch(...args);
    this.underWay.push(fetched);
    return fetched;
  }
}

function wrongBlobs(home: string): string[] {
  const directory = join(home, 'oci/blobs/sha256');
  if (!existsSync(directory)) return [];
  const hash = (name: string) =>
    createHash('sha256')
      .update(readFileSync(join(directory, name)))
      .digest('hex');
  return readdirSync(directory).filter((name) => hash(name) !== name);
}

const files = [1, 2, 3].map((n) => ({ name: `file${n}`, data: randomBytes(150_000 * n) }));
const layers = files.map((file) => layer([file]));

/** Whether a range ends before its layer does: what resumes a layer asks for all that is left. */
function isPart(range: string | undefined): boolean {
  const [, last] = /-(\d+)$/.exec(range ?? '') ?? [];
  return last !== undefined && layers.every(({ bytes }) => bytes.length !== Number(last) + 1);
}

/** Pulls into the store at `home`, and unpacks what was announced. */
async function pullOnce(registry: Registry, home: string): Promise<void> {
  const tree = join(home, 'tree');
  await unpackFiles(each(await fetchOnce(registry, home)), tree, { force: false, limits: defaultLimits, progress });
  for (const { name, data } of files) assert.ok(readFileSync(join(tree, name)).equals(data), `${tree}: ${name}`);
  assert.deepEqual(
    readdirSync(tree).sort(),
    files.map(({ name }) => name),
  );
  rmSync(tree, { recursive: true });
}

const progress = makeProgress('none', '');

async function* each<T>(values: T[]): AsyncGenerator<T> {
  yield* values;
}

/** Fetches into the store at `home`; returns the layers that were announced. */
async function fetchOnce(registry: Registry, home: string): Promise<Layer[]> {
  const store = new AwaitedStore(home);
  const source = new RegistryClient({
    registry: registry.host,
    repository,
    origin: registry.origin.registry,
    retry: { retries: 2, firstDelay: 1, maxDelay: 3, maxRetryAfter: 1 },
    timeouts: { connect: 2, headers: 1, idle: 1 },
    connections: new Connections(6),
    pieces: { after: 50, remaining: 100, lead: 100, busy: 2, gain: -10, size: 30_000, count: 6 },
  });
  try {
    const request = { image: 'demo', reference: 'latest', wanted: hostPlatform(), strict: false, store };
    const found = await resolveImage(source, request);
    const announced: Layer[] = [];
    const layers = new LayerFetch({ ...found, source, store, jobs: 3, progress });
    await layers.end(found.config, (layer) => announced.push(layer));
    await store.tag({ image: 'demo', ...found });
    return announced;
  } finally {
    await Promise.allSettled(store.underWay);
  }
}

async function oneRound(registry: Registry, seed: number, home: string): Promise<void> {
  const random = new Random(seed + 1);
  for (let i = random.below(4); i >= 0; i--) registry.faults.add(randomFault(random));
  // So slow that large layers come in ranges.
  registry.faults.add({ on: /^cdn .*blobs/, bytesPerSecond: 500_000 });
  try {
    await pullOnce(registry, home);
  } catch (error) {
    assert.ok(error instanceof Failure && documented.has(error.status), `round ${seed}: ${String(error)}`);
  }
  assert.deepEqual(wrongBlobs(home), [], `round ${seed}`);
  registry.faults.clear();
  await pullOnce(registry, home);
  assert.deepEqual(wrongBlobs(home), [], `after round ${seed}`);
  assert.deepEqual(readdirSync(join(home, 'partial')), [], `after round ${seed}`);
}

test(`${rounds} pulls under random faults leave no wrong tree and no wrong blob, and the next pull succeeds`, async (t) => {
  const directory = scratch(t);
  // Most of the time goes into waiting for what stalls. Each lane has a registry, and so faults, of its own.
  const lane = async (first: number) => {
    const registry = await registryFor(t, { auth: 'token', redirectBlobs: 307 });
    await put(registry, repository, ['latest'], index([image({ layers })]));
    for (let seed = first; seed < rounds; seed += lanes) await oneRound(registry, seed, join(directory, String(seed)));
    ranges += registry.requests.filter(({ headers }) => isPart(headers.range)).length;
  };
  let ranges = 0;
  await Promise.all(Array.from({ length: lanes }, (_, i) => lane(i)));
  assert.ok(ranges > rounds / 2, `${ranges} ranges`);
});
