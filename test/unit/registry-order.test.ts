/** The order of downloads, over links that a model plays: time goes on in steps, so that no machine is too slow. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import type { BlobSink } from '../../lib/image/source.js';
import { RegistryClient } from '../../lib/registry/client.js';
import { Connections } from '../../lib/registry/connections.js';
import { defaultOrderPolicy, Order, type Turn } from '../../lib/registry/order.js';
import { startRegistry } from '../support/registry.js';
import { afterwards } from '../support/run.js';

const MB = 1e6;
const { tick, small } = defaultOrderPolicy;

interface Link {
  /** Bytes in a millisecond, of all together and of each at most. */
  all: number;
  each?: number;
  /** Milliseconds until a connection that goes on again has come up to its speed. */
  ramp?: number;
  /** The part by which a rate is off at random, up and down. */
  noise?: number;
}

interface Load {
  size: number;
  left: number;
  turn: Turn;
  /** Milliseconds, of the beginning and of when it was last held. */
  ended?: number;
  free: number;
}

/** Downloads in their order; `step` plays one look. */
class Model {
  now = 0;
  received = 0;
  readonly loads: Load[] = [];
  readonly order = new Order(
    () => this.received,
    {},
    () => this.now,
  );
  #random = 1;

  constructor(
    private readonly link: Link,
    sizes: number[],
  ) {
    for (const size of sizes) this.begin(size);
  }

  begin(size: number): Load {
    const load: Load = { size, left: size, free: this.now, turn: undefined as unknown as Turn };
    load.turn = this.order.enter(() => load.left);
    this.loads.push(load);
    return load;
  }

  get running(): Load[] {
    return this.loads.filter(({ ended }) => ended === undefined);
  }

  step(stalled: Load[] = []): void {
    this.now += tick;
    const going = this.running.filter((load) => !load.turn.wait && !stalled.includes(load));
    for (const load of this.running) if (load.turn.wait) load.free = this.now;
    for (const load of going) this.#give(load, going.length);
    for (const load of going) {
      if (load.left > 0) continue;
      load.ended = this.now;
      load.turn.end();
    }
    this.order.look();
  }

  run(limit = 600_000): void {
    while (this.running.length > 0) {
      this.step();
      assert.ok(this.now < limit, `${this.running.length} have not ended`);
    }
  }

  #give(load: Load, among: number): void {
    const { all, each = all, ramp = 0, noise = 0 } = this.link;
    const speed = ramp === 0 ? 1 : Math.min(1, (this.now - load.free) / ramp);
    const bytes = Math.min(each * speed, all / among) * (1 + noise * (2 * this.#next() - 1)) * tick;
    const given = Math.min(load.left, bytes);
    load.left -= given;
    this.received += given;
  }

  /** The same on every run. */
  #next(): number {
    this.#random = (this.#random * 48271) % 0x7fffffff;
    return this.#random / 0x7fffffff;
  }
}

const sizes = [2, 34, 100, 44, 20, 14].map((it) => it * MB);
const total = sizes.reduce((a, b) => a + b);

for (const [what, link] of [
  ['steady', { all: 25_000 }],
  ['uneven', { all: 25_000, noise: 0.3 }],
  ['slow to begin with', { all: 25_000, ramp: 300 }],
] as const) {
  test(`where a ${what} link is what limits them, layers come one after the other, and no later all in all`, () => {
    const model = new Model(link, sizes);
    model.run();
    const ends = model.loads.map(({ ended }) => ended!);
    assert.deepEqual(
      ends,
      ends.toSorted((a, b) => a - b),
    );
    assert.ok(model.now < 1.2 * (total / link.all), `${model.now}`);
    // All at once, the largest would be the last.
    const upToLargest = sizes.slice(0, 3).reduce((a, b) => a + b);
    assert.ok(ends[2]! < 1.4 * (upToLargest / link.all), `${ends}`);
  });
}

for (const [what, link] of [
  ['limited', { all: 25_000, each: 6_250 }],
  ['unevenly limited', { all: 25_000, each: 6_250, noise: 0.3 }],
  ['limited, and slow to begin with', { all: 25_000, each: 6_250, ramp: 300 }],
  ['limited to half of the link', { all: 25_000, each: 12_500 }],
] as const) {
  test(`where each connection is ${what}, enough of them go on to fill the link`, () => {
    const together = new Model(link, sizes);
    for (const load of together.loads) load.turn.hold = () => {};
    together.run();
    const model = new Model(link, sizes);
    model.run();
    assert.ok(model.now < 1.25 * together.now, `${model.now}, and ${together.now} without an order`);
  });
}

test('what is small waits for nobody', () => {
  const model = new Model({ all: 1000 }, [50 * MB, small - 1, small - 1, small + 1]);
  assert.deepEqual(
    model.loads.map(({ turn }) => turn.wait !== undefined),
    [false, false, false, true],
  );
});

test('where the first one gets nothing, the others soon go on', () => {
  const model = new Model({ all: 10_000 }, [50 * MB, 50 * MB, 50 * MB]);
  for (let i = 0; i < 30; i++) model.step();
  const [first, ...others] = model.loads;
  for (let i = 0; i < 40; i++) model.step([first!]);
  assert.ok(others.reduce((sum, { size, left }) => sum + size - left, 0) > 10 * MB);
});

test('a download that is held for long is read from now and then, for the sake of its server', () => {
  const model = new Model({ all: 1000 }, [100 * MB, 100 * MB]);
  const last = model.loads[1]!;
  const freed: number[] = [];
  while (model.now < 60_000) {
    model.step();
    if (!last.turn.wait) freed.push(model.now);
  }
  const gaps = freed.map((at, i) => at - (freed[i - 1] ?? 0));
  assert.ok(Math.max(...gaps) < 20_000, `${gaps}`);
});

test('who comes later is behind the others, and who ends or fails lets the next one go on', () => {
  const model = new Model({ all: 10_000 }, [20 * MB, 20 * MB]);
  for (let i = 0; i < 20; i++) model.step();
  const [first, second] = model.loads.map(({ turn }) => turn);
  const third = model.begin(20 * MB).turn;
  assert.ok(third.wait);
  first!.end();
  assert.equal(second!.wait, undefined);
  second!.end();
  assert.equal(third.wait, undefined);
});

class Sink implements BlobSink {
  offset = 0;
  readonly #hash = createHash('sha256');

  constructor(private readonly onBytes: () => void) {}

  write(chunk: Buffer): undefined {
    this.#hash.update(chunk);
    this.offset += chunk.length;
    this.onBytes();
  }

  restart(): void {
    throw new Error('nothing is to come twice');
  }

  isVerified(): boolean {
    return true;
  }

  get digest(): string {
    return `sha256:${this.#hash.digest('hex')}`;
  }
}

test('a blob that is held does not end before the one in front, and comes whole', async (t) => {
  const registry = await startRegistry();
  afterwards(t, () => registry.close());
  // More than the kernel holds for who does not read.
  const blobs = await Promise.all([4 * MB, 24 * MB].map((size) => registry.addBlob(randomBytes(size))));
  registry.faults.add({ on: new RegExp(blobs[0]!.digest), bytesPerSecond: 8 * MB });
  const client = new RegistryClient({
    registry: registry.host,
    repository: 'demo',
    origin: registry.origin.registry,
    // No look at how things are ever comes.
    connections: new Connections(2, { tick: 2 ** 31 - 1 }),
  });
  afterwards(t, () => client.close());
  let before = 0;
  const first = new Sink(() => {});
  const second = new Sink(() => {
    if (first.offset < blobs[0]!.size) before = second.offset;
  });
  await Promise.all([client.blob(blobs[0]!, first), client.blob(blobs[1]!, second)]);
  assert.ok(before < blobs[1]!.size / 2, `${before}`);
  assert.deepEqual([first.digest, second.digest], [blobs[0]!.digest, blobs[1]!.digest]);
});
