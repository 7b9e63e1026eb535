import assert from 'node:assert/strict';
import { test } from 'node:test';
import { blob, blobRequests, clientFor, fetchBlob, refused, Sink, serve } from '../support/registry-client.js';

for (const [where, speed] of [
  ['', {}],
  [', where any pace will do as well', { minSpeed: 0 }],
] as const) {
  test(`a stalled transfer is taken up again${where}`, { timeout: 60_000 }, async (t) => {
    const registry = await serve(t);
    registry.faults.add({ on: /blobs/, times: 1, stallAfter: 50_000 });
    await fetchBlob(clientFor(registry, { ...speed, timeouts: { connect: 5, headers: 5, idle: 1 } }));
  });
}

const trickling = { timeouts: { connect: 5, headers: 5, idle: 1 }, minSpeed: 1000 };

test('a transfer that trickles is taken up again where it was', { timeout: 60_000 }, async (t) => {
  const registry = await serve(t);
  registry.faults.add({ on: /blobs/, times: 1, bytesPerSecond: 200 });
  await fetchBlob(clientFor(registry, trickling));
  const [, again] = blobRequests(registry);
  assert.match(again?.headers.range ?? '', /^bytes=[1-9][0-9]{1,2}-299999$/);
});

for (const [what, fault] of [
  ['trickles', { bytesPerSecond: 200 }],
  ['breaks off after a few bytes', { cutAfter: 900 }],
] as const) {
  test(`a registry that ${what} each time is given up, though some bytes come each time`, {
    timeout: 60_000,
  }, async (t) => {
    const registry = await serve(t);
    registry.faults.add({ on: /blobs/, ...fault });
    const options = { ...trickling, retry: { firstDelay: 1, maxDelay: 2, retries: 2 } };
    const why =
      what === 'trickles'
        ? /: the transfer stalled: [0-9]+ bytes in 1 s, fewer than --min-speed asks for, and 2 retries did not help$/
        : /cut short|connection was closed/;
    await refused(clientFor(registry, options).blob(blob, new Sink()), 69, why);
    assert.equal(blobRequests(registry).length, 3);
  });
}

test('a manifest that trickles is given up, and with 0 as least speed nothing is', { timeout: 60_000 }, async (t) => {
  const registry = await serve(t);
  registry.faults.add({ on: /manifests/, bytesPerSecond: 200 });
  const retry = { retries: 0 };
  const failed = clientFor(registry, { ...trickling, retry }).manifest('latest');
  await refused(failed, 69, /the transfer stalled/);
  await clientFor(registry, { ...trickling, minSpeed: 0, retry }).manifest('latest');
});

test('a disk that is slow is not taken for a transfer that is', async (t) => {
  const registry = await serve(t);
  class SlowSink extends Sink {
    override write(chunk: Buffer): Promise<void> | undefined {
      const isFirst = this.offset === 0;
      super.write(chunk);
      return isFirst ? new Promise((resolve) => setTimeout(resolve, 2200)) : undefined;
    }
  }
  await fetchBlob(clientFor(registry, { ...trickling, retry: { retries: 0 } }), new SlowSink());
});

test('a registry that never answers is given up', async (t) => {
  const registry = await serve(t);
  registry.faults.add({ on: /manifests/, silent: true });
  const options = { timeouts: { connect: 5, headers: 1, idle: 1 }, retry: { retries: 0 } };
  await refused(clientFor(registry, options).manifest('latest'), 69, /no answer in time/);
});

test('429 and 503 are waited out when that is short', async (t) => {
  const registry = await serve(t);
  registry.faults.add({ on: /manifests/, times: 1, status: 429, headers: { 'retry-after': '0' } });
  registry.faults.add({ on: /manifests/, times: 1, status: 503, headers: { 'retry-after': '0' } });
  registry.faults.add({ on: /manifests/, times: 1, status: 502 });
  registry.faults.add({ on: /manifests/, times: 1, status: 408 });
  await clientFor(registry).manifest('latest');
  assert.equal(registry.requests.length, 5);
});

test('503 that does not say until when ends with status 69', async (t) => {
  const registry = await serve(t);
  registry.faults.add({ on: /manifests/, status: 503 });
  await refused(clientFor(registry).manifest('latest'), 69, /: HTTP 503, and 4 retries did not help$/);
});

test('a date to wait for is taken by the clock of the registry that names it', async (t) => {
  const registry = await serve(t);
  const date = (seconds: number) => new Date(Date.now() + seconds * 1000).toUTCString();
  const headers = { date: date(7200), 'retry-after': date(7200) };
  registry.faults.add({ on: /manifests/, times: 1, status: 429, headers });
  await clientFor(registry).manifest('latest');
});

test('429 with a long wait ends with status 75, the time and the quota', async (t) => {
  const registry = await serve(t);
  const date = new Date(Date.now() + 3_600_000).toUTCString();
  const headers = { 'retry-after': date, 'ratelimit-limit': '100;w=21600', 'ratelimit-remaining': '0;w=21600' };
  registry.faults.add({ on: /manifests/, status: 429, headers });
  const failure = await refused(clientFor(registry).manifest('latest'), 75, /too many requests.*try again in 3[56]/);
  assert.ok(Number(failure.details.retryAfter) > 3500);
  assert.deepEqual(failure.details.quota, { limit: 100, remaining: 0, window: 21600 });
  assert.equal(registry.requests.length, 1);
});
