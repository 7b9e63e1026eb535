import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { digestOf } from '../support/content.js';
import { blob, blobRequests, bytes, clientFor, fetchBlob, refused, Sink, serve } from '../support/registry-client.js';
import { needs, scratch } from '../support/run.js';
import { listening } from '../support/server.js';
import { makeCa } from '../support/tls.js';

/** To ask for the whole where a range is not to be had is no retry: a beginning would be in the way of all pulls. */
const once = { retry: { retries: 0 } };

test('a blob comes in one request, and one that is empty or there already in none', async (t) => {
  const registry = await serve(t);
  const client = clientFor(registry);
  const sink = await fetchBlob(client);
  assert.equal(blobRequests(registry)[0]?.headers.range, undefined);
  await client.blob({ digest: digestOf(''), size: 0 }, new Sink());
  await client.blob(blob, sink);
  assert.equal(sink.restarts, 0);
  assert.equal(registry.requests.length, 1);
});

test('a blob that was begun is continued with a closed range', async (t) => {
  const registry = await serve(t);
  await fetchBlob(clientFor(registry), new Sink(bytes.subarray(0, 1000)));
  assert.deepEqual(
    blobRequests(registry).map(({ headers }) => headers.range),
    ['bytes=1000-299999'],
  );
});

for (const [where, options, on, times] of [
  ['', {}, /blobs/, 1],
  // A link that is refused is asked for once more.
  [' of what it redirects to', { redirectBlobs: 307 }, /^cdn/, 2],
] as const) {
  test(`after HTTP 400${where} to a request for a range the whole is asked for`, async (t) => {
    const registry = await serve(t, options);
    const bad = { status: 400, body: '<Error><Code>InvalidArgument</Code></Error>' };
    registry.faults.add({ on, times, ...bad });
    await fetchBlob(clientFor(registry, once), new Sink(bytes.subarray(0, 1000)));
    assert.equal(blobRequests(registry).at(-1)?.headers.range, undefined);
  });
}

test('HTTP 400 to a request for the whole is final', async (t) => {
  const registry = await serve(t);
  registry.faults.add({ on: /blobs/, status: 400 });
  await refused(clientFor(registry).blob(blob, new Sink()), 76, /HTTP 400/);
  assert.equal(registry.requests.length, 1);
  const begun = new Sink(bytes.subarray(0, 1000));
  await refused(clientFor(registry).blob(blob, begun), 76, /HTTP 400/);
  assert.equal(registry.requests.length, 3);
  assert.equal(begun.offset, 1000, 'a later pull goes on from there');
});

test('a range that comes compressed is not taken for the rest of the blob', async (t) => {
  const registry = await serve(t);
  // A proxy that compresses does not know the length when it begins.
  const headers = { 'content-encoding': 'gzip', 'content-length': undefined };
  registry.faults.add({ on: /blobs/, times: 1, headers });
  await fetchBlob(clientFor(registry), new Sink(bytes.subarray(0, 1000)));
  assert.deepEqual(
    blobRequests(registry).map(({ headers }) => headers.range),
    ['bytes=1000-299999', undefined],
  );
});

test('a range is the rest of the blob where only its storage calls it gzip', async (t) => {
  const registry = await serve(t);
  registry.faults.add({ on: /blobs/, headers: { 'content-encoding': 'gzip' } });
  await fetchBlob(clientFor(registry), new Sink(bytes.subarray(0, 1000)));
  assert.equal(registry.requests.length, 1);
});

test('the unit of a range is one in capitals as well', async (t) => {
  const registry = await serve(t);
  registry.faults.add({ on: /blobs/, headers: { 'content-range': 'Bytes 100000-299999/300000' } });
  await fetchBlob(clientFor(registry), new Sink(bytes.subarray(0, 100_000)));
  assert.equal(blobRequests(registry).length, 1);
});

test('a connection that breaks is taken up where it broke, at a new signed URL', async (t) => {
  const registry = await serve(t, { redirectBlobs: 307 });
  registry.faults.add({ on: /^cdn/, times: 6, cutAfter: 40_000 });
  await fetchBlob(clientFor(registry, { retry: { firstDelay: 1, maxDelay: 2, retries: 1 } }));
  const asked = registry.requests.filter(({ service }) => service === 'registry').length;
  assert.equal(asked, 7);
});

for (const [where, speed] of [
  ['', {}],
  [', where any pace will do as well', { minSpeed: 0 }],
] as const) {
  test(`a connection that breaks without any progress is given up${where}`, async (t) => {
    const registry = await serve(t);
    registry.faults.add({ on: /blobs/, times: 20, cutAfter: 0 });
    const options = { ...speed, retry: { firstDelay: 1, maxDelay: 2, retries: 2 } };
    await refused(clientFor(registry, options).blob(blob, new Sink()), 69, /connection|cut short/);
    assert.equal(blobRequests(registry).length, 3);
  });
}

test('a server that starts again at each cut makes no progress for ever, however far it comes', async (t) => {
  const registry = await serve(t, { ranges: false });
  for (let i = 0; i < 5; i++)
    for (const cutAfter of [150_000, 50_000]) registry.faults.add({ on: /blobs/, times: 1, cutAfter });
  await refused(
    clientFor(registry, { retry: { firstDelay: 1, maxDelay: 2, retries: 2 } }).blob(blob, new Sink()),
    69,
    /connection|cut short/,
  );
  assert.ok(blobRequests(registry).length <= 4);
});

for (const range of ['ignored', 'wrong-start', 'wrong-total', 'refused'] as const) {
  test(`a range that is ${range} is not taken for the right one`, async (t) => {
    const registry = await serve(t);
    registry.faults.add({ on: /blobs/, range });
    const sink = await fetchBlob(clientFor(registry, once), new Sink(bytes.subarray(0, 1000)));
    assert.equal(sink.restarts, 1);
  });
}

test('a beginning that is longer than the blob is dropped', async (t) => {
  const registry = await serve(t);
  await fetchBlob(clientFor(registry), new Sink(Buffer.concat([bytes, bytes])));
});

test('nothing more comes while the disk is writing', async (t) => {
  const registry = await serve(t);
  class BusySink extends Sink {
    #isWriting = false;

    override async write(chunk: Buffer): Promise<void> {
      assert.ok(!this.#isWriting);
      this.#isWriting = true;
      super.write(chunk);
      await sleep(5);
      this.#isWriting = false;
    }
  }
  await fetchBlob(clientFor(registry), new BusySink());
});

test('a blob of another length than its descriptor says is refused at once', async (t) => {
  const registry = await serve(t);
  const client = clientFor(registry);
  const { message } = await refused(
    client.blob({ ...blob, size: 299_999 }, new Sink()),
    65,
    /offers 300000 bytes, not 299999/,
  );
  assert.equal(message.split(blob.digest).length, 2, `its digest is there once: ${message}`);
  registry.faults.add({ on: /blobs/, extraBytes: 10 });
  await refused(client.blob(blob, new Sink()), 65, /more bytes came than the 300000/);
});

test('a foreign layer that the registry does not have comes from its URL, without credentials', async (t) => {
  const registry = await serve(t, { auth: 'token' });
  const headers: unknown[] = [];
  const elsewhere = createServer((req, res) => {
    headers.push(req.headers.authorization);
    res.end(bytes);
  });
  registry.faults.add({ on: /blobs/, status: 404 });
  const urls = ['file:///etc/passwd', `http://${await listening(t, elsewhere)}/layer`];
  await fetchBlob(clientFor(registry), new Sink(), { ...blob, urls });
  assert.deepEqual(headers, [undefined]);
  await refused(clientFor(registry).blob({ ...blob, urls: urls.slice(0, 1) }, new Sink()), 66, /not found: HTTP 404/);
  registry.faults.clear();
  registry.faults.add({ on: /blobs/, status: 403 });
  await refused(clientFor(registry).blob({ ...blob, urls }, new Sink()), 77, /denied: HTTP 403/);
  assert.equal(headers.length, 1, 'who is denied a layer does not get it elsewhere');
});

test('a foreign layer of a registry with TLS is not looked for without', { skip: needs('openssl') }, async (t) => {
  const [registry, elsewhere] = [await serve(t, { tls: makeCa(scratch(t)).issue() }), await serve(t)];
  registry.faults.add({ on: /blobs/, status: 404 });
  const urls = [`${elsewhere.origin.registry}/v2/x/blobs/${blob.digest}`];
  const client = clientFor(registry, { insecure: [registry.host] });
  await refused(client.blob({ ...blob, urls }, new Sink()), 66, /not found: HTTP 404/);
  assert.deepEqual(elsewhere.requests, []);
});

test('each URL of a foreign layer is tried in turn, and the failure names them all', async (t) => {
  const asked: string[] = [];
  const elsewhere = createServer((req, res) => {
    asked.push(`${req.url} ${req.headers.authorization}`);
    if (req.url === '/wrong') res.end(Buffer.alloc(blob.size));
    else if (req.url === '/layer') res.end(bytes);
    else res.writeHead(req.url === '/denied' ? 403 : 404).end();
  });
  const registry = await serve(t, { auth: 'token' });
  registry.faults.add({ on: /blobs/, status: 404 });
  const origin = `http://${await listening(t, elsewhere)}`;
  const bad = ['missing', 'denied', 'wrong'].map((name) => `${origin}/${name}`);
  const client = clientFor(registry);
  await fetchBlob(client, new Sink(), { ...blob, urls: [...bad, `${origin}/layer`] });
  const all = ['/missing', '/denied', '/wrong'].map((path) => `${path} undefined`);
  assert.deepEqual(asked, [...all, '/layer undefined']);
  const { message } = await refused(client.blob({ ...blob, urls: bad }, new Sink()), 65, /not found: HTTP 404/);
  for (const part of [`${origin}/missing: `, `${origin}/denied: `, `${origin}/wrong: digest mismatch`]) {
    assert.ok(message.includes(part), message);
  }
  asked.length = 0;
  const many = Array.from({ length: 20 }, (_, i) => `${origin}/${i}`);
  await refused(client.blob({ ...blob, urls: many }, new Sink()), 66, /not found: HTTP 404/);
  assert.equal(asked.length, 16, 'as many as honest layers never have');
});

test('of a foreign layer that one place may give later it is said to try again later, wherever that place stands', async (t) => {
  const elsewhere = createServer((req, res) => {
    if (req.url === '/busy') res.writeHead(429, { 'retry-after': '7' }).end();
    else res.writeHead(req.url === '/down' ? 500 : 404).end();
  });
  const registry = await serve(t);
  registry.faults.add({ on: /blobs/, status: 404 });
  const origin = `http://${await listening(t, elsewhere)}`;
  const client = clientFor(registry, { retry: { retries: 0 } });
  const from = (...names: string[]) =>
    client.blob({ ...blob, urls: names.map((name) => `${origin}/${name}`) }, new Sink());
  await refused(from('down', 'missing'), 69, /HTTP 500; .*missing: not found/);
  const { details } = await refused(from('down', 'busy', 'missing'), 75, /too many requests/);
  assert.equal(details?.retryAfter, 7);
});

test('of a foreign layer that broke off the beginning is kept, and a wrong beginning is not', async (t) => {
  let asked = 0;
  const elsewhere = createServer((req, res) => {
    asked += 1;
    const [, from = '0'] = /bytes=([0-9]+)-/.exec(req.headers.range ?? '') ?? [];
    const rest = bytes.subarray(Number(from));
    res.writeHead(req.headers.range ? 206 : 200, {
      'content-length': rest.length,
      'content-range': `bytes ${from}-${blob.size - 1}/${blob.size}`,
    });
    if (asked === 1) res.write(rest.subarray(0, 1000), () => setTimeout(() => res.destroy(), 20));
    else res.end(rest);
  });
  const registry = await serve(t);
  registry.faults.add({ on: /blobs/, status: 404 });
  const urls = [`http://${await listening(t, elsewhere)}/layer`];
  const sink = new Sink();
  const client = clientFor(registry, { retry: { retries: 0 } });
  await refused(client.blob({ ...blob, urls }, sink), 69, /connection|cut short/);
  assert.equal(sink.offset, 1000);
  await fetchBlob(client, new Sink(Buffer.alloc(1000)), { ...blob, urls });
  assert.equal(asked, 3);
  asked = 0;
  const both = await fetchBlob(client, new Sink(), { ...blob, urls: [...urls, `${urls[0]}-as-well`] });
  assert.equal(both.restarts, 0, 'what one place has sent before it broke off is not asked for at the next one');
});
