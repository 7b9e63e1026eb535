/** Large blobs in ranges over several connections, each of which the server makes slow. */

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RegistryOptions } from '../../lib/registry/client.js';
import { Connections } from '../../lib/registry/download/connections.js';
import { type Content, digestOf, inMemory } from '../support/content.js';
import type { Fault } from '../support/faults.js';
import { type Registry, registryFor } from '../support/registry.js';
import { Sink as AnySink, clientFor, fetchBlob } from '../support/registry-client.js';

const bytes = randomBytes(10_000_000);
const blob = { digest: digestOf(bytes), size: bytes.length };
/** As by default, for what takes two seconds and not minutes; and how busy the machine is decides nothing. */
const pieces = { after: 150, remaining: 300, lead: 400, busy: 2, gain: -10, size: 500_000, count: 6 };
const slow: Fault = { on: /blobs/, bytesPerSecond: 4_000_000 };
const limit = 4;

class Sink extends AnySink {
  constructor() {
    super(Buffer.alloc(0), blob.digest);
  }
}

async function serve(t: TestContext, faults: Fault[], content: Content = inMemory(bytes)): Promise<Registry> {
  const registry = await registryFor(t);
  await registry.addBlob(content, blob.digest);
  for (const fault of [...faults, slow]) registry.faults.add(fault);
  return registry;
}

function download(registry: Registry, sink: Sink, options: Partial<RegistryOptions> = {}) {
  const more = { repository: 'demo', connections: new Connections(limit), pieces, ...options };
  return fetchBlob(clientFor(registry, more), sink, blob);
}

/** Where each request began and ended; the first one has no range. */
function ranges(registry: Registry): { from: number; to: number }[] {
  return registry.requests.map(({ headers }) => {
    const [, from = '0', last = String(blob.size - 1)] = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? '') ?? [];
    return { from: Number(from), to: Number(last) + 1 };
  });
}

const parts = (registry: Registry) => ranges(registry).filter(({ from, to }) => from > 0 && to - from <= pieces.size);

/** Those that do not follow on another one: each began a series. */
const series = (registry: Registry) =>
  parts(registry).filter(({ from }) => !parts(registry).some(({ to }) => to === from));

test('a large blob whose connection is slow comes over several, as many as there may be', async (t) => {
  let now = 0;
  let most = 0;
  const counted: Content = {
    size: bytes.length,
    async *read(start, end) {
      now += 1;
      most = Math.max(most, now);
      let left = 1;
      try {
        for await (const chunk of inMemory(bytes).read(start, end)) {
          start += chunk.length;
          // Whoever has the last bytes may ask for the next ones.
          if (start === end) now -= left--;
          yield chunk;
        }
      } finally {
        now -= left;
      }
    },
  };
  const registry = await serve(t, [], counted);
  const sink = new Sink();
  await download(registry, sink);
  assert.equal(sink.restarts, 0);
  assert.ok(parts(registry).length > 5, JSON.stringify(ranges(registry)));
  // The one that was hung up is seen a moment longer by the server.
  assert.ok(most > 2 && most <= limit + 1, `${most} at the same time`);
});

test('parts are asked for where the first one came from, unless the link is refused or gone there', async (t) => {
  for (const status of [undefined, 403, 404, 410]) {
    const refusals = status === undefined ? 0 : 1;
    const registry = await registryFor(t, { redirectBlobs: 307 });
    await registry.addBlob(inMemory(bytes), blob.digest);
    registry.faults.add({ on: /^cdn/, after: 2, times: refusals, status: status ?? 403, body: 'expired' });
    registry.faults.add({ ...slow, on: /^cdn/ });
    await download(registry, new Sink());
    const [own, links] = [registry.lines('registry').length, registry.lines('cdn').length];
    assert.ok(links > 5, `${links} parts`);
    if (refusals === 0) assert.equal(own, 1);
    else assert.ok(own > 1 && own < links, `${own} of ${links} requests after HTTP ${status}`);
  }
});

test('of what comes in ranges every byte is asked for once', async (t) => {
  const registry = await serve(t, []);
  await download(registry, new Sink());
  const begun = Math.max(...series(registry).map(({ from }) => from));
  const inOrder = parts(registry)
    .filter(({ from }) => from >= begun)
    .sort((a, b) => a.from - b.from);
  for (const [i, { from }] of inOrder.slice(1).entries()) assert.equal(from, inOrder[i]!.to);
  assert.equal(inOrder.at(-1)?.to, blob.size);
});

test('no more is asked for than there is room for, however slowly it is written', async (t) => {
  const registry = await serve(t, []);
  const ahead: { offset: number; asked: number }[] = [];
  class SlowSink extends Sink {
    override write(chunk: Buffer): Promise<void> | undefined {
      ahead.push({ offset: this.offset, asked: registry.requests.length });
      super.write(chunk);
      return registry.requests.length > 1 ? sleep(20) : undefined;
    }
  }
  await download(registry, new SlowSink());
  const asked = ranges(registry);
  const begun = Math.max(...series(registry).map(({ from }) => from));
  for (const it of ahead.filter(({ offset }) => offset >= begun))
    assert.ok(Math.max(...asked.slice(1, it.asked).map(({ to }) => to)) - it.offset <= pieces.count * pieces.size);
  assert.ok(parts(registry).length > 5);
});

test('what is passed on does not change any more, so that it may be written later', async (t) => {
  const registry = await serve(t, []);
  // This one looks at what it has kept only at the end.
  const { restarts } = await download(registry, new Sink());
  assert.ok(parts(registry).length > pieces.count, 'memory was used again');
  assert.equal(restarts, 0);
});

test('a blob has one connection where no other is left over', async (t) => {
  const registry = await serve(t, []);
  await download(registry, new Sink(), { connections: new Connections(1) });
  assert.equal(registry.requests.length, 1);
});

test('what has helped one blob helps the next one as well', async (t) => {
  const registry = await serve(t, []);
  const connections = new Connections(limit);
  for (let i = 0; i < 2; i++) {
    registry.requests.length = 0;
    await download(registry, new Sink(), { connections });
    assert.ok(parts(registry).length > 1);
    assert.equal(connections.taken, 0);
  }
});

test('a connection that helps is given back when a new download needs it', async (t) => {
  const registry = await serve(t, []);
  const connections = new Connections(limit);
  let isGivenBack = false;
  class Watching extends Sink {
    #isScarce = false;

    override write(chunk: Buffer): Promise<void> | undefined {
      const { taken } = connections;
      // At the end all are given back.
      if (this.#isScarce && taken <= limit && this.offset < 7_000_000) isGivenBack = true;
      if (!this.#isScarce && taken === limit) {
        this.#isScarce = true;
        connections.take();
      }
      return super.write(chunk);
    }
  }
  await download(registry, new Watching(), { connections });
  assert.ok(isGivenBack);
});

test('a registry that sends all where a part was asked for is asked for no more parts', async (t) => {
  const registry = await serve(t, [{ ...slow, range: 'ignored' }]);
  const sink = new Sink();
  sink.write(bytes.subarray(0, 1000));
  await download(registry, sink);
  assert.deepEqual([registry.requests.length, sink.restarts], [1, 1]);
});

const refusals: [string, Partial<Fault>][] = [
  ['answers with the whole', { range: 'ignored' }],
  ['answers with another range', { range: 'wrong-start' }],
  ['answers with a range of something larger', { range: 'wrong-total' }],
  ['refuses ranges', { range: 'refused' }],
  ['wants no second connection', { status: 429, headers: { 'retry-after': '3600' } }],
  ['is overloaded', { status: 503, headers: { 'retry-after': '3600' } }],
  ['denies ranges', { status: 403 }],
  // By then the download's own connection has reached the piece.
  ['denies ranges late', { status: 403, delay: 2 * pieces.lead }],
  ['answers with a range of something else', { headers: { etag: '"other"' } }],
];
describe('the blob comes as if no ranges had been tried, and no more are asked for', { concurrency: 4 }, () => {
  for (const [what, fault] of refusals) {
    test(`from a registry that ${what}`, async (t) => {
      const own: Fault = { ...slow, times: 1, headers: { etag: '"this"' } };
      const registry = await serve(t, [own, { on: /blobs/, ...fault }]);
      const sink = new Sink();
      const connections = new Connections(limit);
      await download(registry, sink, { connections });
      assert.equal(sink.restarts, 0);
      assert.deepEqual([registry.requests.length, parts(registry).length], [2, 1]);
      assert.equal(connections.takeSpare(), false);
    });
  }
});

/** The boolean says whether the registry is asked for further ranges after that. */
const troubles: [string, Fault[], boolean][] = [
  ['one that is cut', [{ ...slow, after: 5, times: 1, cutAfter: 150_000 }], true],
  ['many that are cut', [{ ...slow, after: 4, times: 8, cutAfter: 150_000 }], true],
  ['one that stalls', [{ ...slow, after: 4, times: 1, stallAfter: 100_000 }], true],
  ['one that is answered too long', [{ ...slow, after: 5, times: 1, extraBytes: 10 }], false],
  ['one that is answered with the whole', [{ ...slow, after: 5, times: 1, range: 'ignored' }], false],
  [
    'some that come too soon for the registry',
    [{ on: /blobs/, after: 4, times: 6, status: 429, headers: { 'retry-after': '1' } }],
    false,
  ],
  [
    'some for which it wants an hour to pass',
    [{ on: /blobs/, after: 8, times: 4, status: 429, headers: { 'retry-after': '3600' } }],
    false,
  ],
  ['one that fails', [{ on: /blobs/, after: 4, times: 1, status: 500 }], true],
  ['one that is hung up on', [{ on: /blobs/, after: 5, times: 1, hangUp: true }], true],
];
describe('among the ranges of a blob there may be', { concurrency: 4 }, () => {
  for (const [what, faults, mayGoOn] of troubles) {
    test(what, async (t) => {
      const registry = await serve(t, faults);
      const sink = new Sink();
      const connections = new Connections(limit);
      await download(registry, sink, {
        connections,
        timeouts: { connect: 5, headers: 5, idle: 1 },
        retry: { firstDelay: 1, maxDelay: 5, maxRetryAfter: 1 },
      });
      assert.equal(sink.restarts, 0);
      assert.ok(parts(registry).length > 1);
      assert.equal(connections.takeSpare(), mayGoOn);
    });
  }
});

test('the rest of a range whose connection broke is asked for, not all of it', async (t) => {
  const registry = await serve(t, [{ ...slow, after: 5, times: 1, cutAfter: 150_000 }]);
  await download(registry, new Sink());
  const cut = ranges(registry)[5]!;
  assert.ok(ranges(registry).some(({ from, to }) => from === cut.from + 150_000 && to === cut.to));
});

test('a registry that sends wrong bytes in ranges is asked for the whole', async (t) => {
  const registry = await serve(t, [{ ...slow, after: 5, times: 1, corruptAt: 10 }]);
  const sink = new Sink();
  await download(registry, sink);
  assert.equal(sink.restarts, 1);
  assert.equal(ranges(registry).at(-1)?.from, 0);
});

test('a disk that fails ends it', async (t) => {
  const registry = await serve(t, []);
  class FullSink extends Sink {
    override write(chunk: Buffer): Promise<void> | undefined {
      if (parts(registry).length > 4) throw new Error('full');
      return super.write(chunk);
    }
  }
  await assert.rejects(download(registry, new FullSink()), /^Error: full$/);
});

for (const [what, policy] of [
  ['the link is fast already', { fast: -1 }],
  ['this process has no time for more', { busy: -1 }],
  ['it is nearly there', { remaining: 100_000 }],
] as const) {
  test(`a blob has one connection where ${what}`, async (t) => {
    const registry = await serve(t, []);
    await download(registry, new Sink(), { pieces: { ...pieces, ...policy } });
    assert.equal(registry.requests.length, 1);
  });
}

test('what this process had to do before does not count', async (t) => {
  t.mock.method(performance, 'eventLoopUtilization', (since?: object) => ({
    idle: 0,
    active: 0,
    utilization: since ? 0 : 1,
  }));
  const registry = await serve(t, []);
  await download(registry, new Sink(), { pieces: { ...pieces, busy: 0.5 } });
  assert.ok(parts(registry).length > 0);
});

test('a connection that brings less than the others lose is not kept', async (t) => {
  const registry = await serve(t, []);
  await download(registry, new Sink(), { pieces: { ...pieces, gain: 10 } });
  // The first one goes on to the end, and trials become rare.
  assert.ok(registry.requests.length > 1 && registry.requests.length < 5, JSON.stringify(ranges(registry)));
  assert.equal(series(registry).length, parts(registry).length);
});

test('a link is full when more connections brought no more', () => {
  const connections = new Connections(4);
  connections.take();
  assert.equal(connections.areEnough(100), false);
  connections.noteRate(1, 100);
  assert.equal(connections.areEnough(100), false);
  connections.noteRate(3, 105);
  assert.equal(connections.areEnough(100), true);
  assert.equal(connections.areEnough(50), false);
});
