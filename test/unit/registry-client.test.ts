import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { documentLimit } from '../../lib/base/oci.js';
import { filler } from '../support/content.js';
import { blob, bytes, clientAt, clientFor, fetchBlob, refused, Sink, serve } from '../support/registry-client.js';
import { listening } from '../support/server.js';

const gzip = { 'content-encoding': 'gzip' };

test('nothing may be compressed for the transfer', async (t) => {
  const registry = await serve(t, { auth: 'token', redirectBlobs: 307 });
  const client = clientFor(registry);
  await client.manifest('latest');
  await client.blob(blob, new Sink());
  assert.ok(registry.requests.every(({ headers }) => headers['accept-encoding'] === 'identity'));
});

test('documents that a proxy has compressed all the same are read', async (t) => {
  const registry = await serve(t, { auth: 'token' });
  const { bytes } = await clientFor(registry).manifest('latest');
  registry.faults.add({ on: /manifests/, after: 1, times: 1, status: 200, body: gzipSync(bytes), headers: gzip });
  const token = JSON.stringify({ token: 'unknown' });
  const xgzip = { 'content-encoding': 'X-Gzip' };
  registry.faults.add({ on: /token GET/, times: 1, status: 200, body: gzipSync(token), headers: xgzip });
  const problem = JSON.stringify({ errors: [{ code: 'MANIFEST_UNKNOWN', message: 'no such tag' }] });
  registry.faults.add({ on: /manifests/, status: 404, after: 1, body: gzipSync(problem), headers: gzip });
  const client = clientFor(registry);
  assert.deepEqual((await client.manifest('latest')).bytes, bytes);
  await refused(client.manifest('latest'), 66, /MANIFEST_UNKNOWN: no such tag/);
});

test('so is a blob of the size of a document, however much of it is there', async (t) => {
  const registry = await serve(t);
  for (const there of [0, 1000]) {
    for (const length of [{}, { 'content-length': undefined }]) {
      registry.faults.add({
        on: /blobs/,
        times: 1,
        status: 200,
        body: gzipSync(bytes),
        headers: { ...gzip, ...length },
      });
      await fetchBlob(clientFor(registry), new Sink(bytes.subarray(0, there)));
    }
  }
  registry.faults.add({ on: /blobs/, status: 200, body: gzipSync('x'), headers: gzip });
  await refused(clientFor(registry).blob(blob, new Sink()), 65, /offers 1 bytes, not 300000/);
});

test('what is compressed in another way, damaged or too large is told, and not taken for another content', async (t) => {
  const registry = await serve(t);
  const wrong = /comes compressed \(Content-Encoding: br\), and the request was for what is not; does a proxy stand/;
  const brotli = { 'content-encoding': 'br' };
  registry.faults.add({ on: /manifests/, times: 1, status: 200, body: 'x', headers: brotli });
  await refused(clientFor(registry).manifest('latest'), 76, wrong);
  registry.faults.add({ on: /blobs/, times: 1, status: 200, body: 'x', headers: brotli });
  await refused(clientFor(registry).blob(blob, new Sink()), 76, wrong);
  registry.faults.add({ on: /blobs/, status: 200, body: gzipSync('x'), headers: gzip });
  const large = { digest: blob.digest, size: documentLimit + 1 };
  await refused(clientFor(registry).blob(large, new Sink()), 76, /comes compressed \(Content-Encoding: gzip\)/);
  registry.faults.add({ on: /manifests/, times: 1, status: 200, body: '{}', headers: gzip });
  await refused(clientFor(registry).manifest('latest'), 76, /is no gzip data or damaged; does a proxy/);
  const bomb = gzipSync(Buffer.alloc(documentLimit + 1));
  registry.faults.add({ on: /manifests/, status: 200, body: bomb, headers: gzip });
  await refused(clientFor(registry).manifest('latest'), 76, /longer than 4194304 bytes/);
});

test('a coding that does not compress changes nothing', async (t) => {
  const registry = await serve(t);
  for (const coding of ['UTF-8', 'aws-chunked', 'identity', '']) {
    registry.faults.clear();
    registry.faults.add({ on: /./, headers: { 'content-encoding': coding, 'content-length': undefined } });
    const client = clientFor(registry);
    await client.manifest('latest');
    await fetchBlob(client);
  }
});

test('a blob that an object store calls compressed comes as it is', async (t) => {
  const registry = await serve(t);
  registry.faults.add({ on: /blobs/, headers: { 'content-encoding': 'gzip' } });
  await fetchBlob(clientFor(registry));
});

test('a part that nobody has asked for is called that', async (t) => {
  const registry = await serve(t);
  registry.faults.add({ on: /blobs/, status: 206, body: 'x', headers: { 'content-range': 'bytes 5-5/10' } });
  const client = clientFor(registry, { retry: { retries: 0 } });
  await refused(client.blob(blob, new Sink()), 76, /answers a request for all with HTTP 206/);
});

test('a manifest may be as long as its limit, and a longer one is cut off', async (t) => {
  const registry = await serve(t);
  registry.faults.add({ on: /manifests/, body: filler(documentLimit), status: 200, times: 1 });
  assert.equal((await clientFor(registry).manifest('latest')).bytes.length, documentLimit);
  registry.faults.add({ on: /manifests/, body: filler(documentLimit + 1), status: 200 });
  await refused(clientFor(registry).manifest('latest'), 76, /longer than 4194304 bytes/);
});

test("a missing manifest is told in the registry's words", async (t) => {
  const registry = await serve(t);
  await refused(
    clientFor(registry).manifest('nope'),
    66,
    /manifest of 127.0.0.1:[0-9]+\/library\/demo:nope: .*not found: HTTP 404 \(MANIFEST_UNKNOWN: manifest unknown\); check the name, and the tag, which is latest unless given$/,
  );
  const harbors = JSON.stringify({ errors: [{ code: 'NOT_FOUND', message: 'artifact demo:nope not found' }] });
  registry.faults.add({ on: /manifests/, times: 1, status: 404, body: harbors });
  await refused(clientFor(registry).manifest('nope'), 66, /demo:nope not found\); check the name, and the tag/);
  const body = JSON.stringify({ errors: [{ code: 'GONE', message: 'x'.repeat(1000) }] });
  registry.faults.add({ on: /manifests/, status: 410, body });
  await refused(clientFor(registry).manifest('nope'), 66, /not found: HTTP 410 \(GONE: x{191}\.\.\.\)$/);
});

test('what is no registry is asked whether it is one', async (t) => {
  const registry = await serve(t);
  registry.faults.add({ on: /./, status: 404, body: '<html><title>404 Not Found</title></html>' });
  const client = clientFor(registry);
  assert.equal(await client.login(), null);
  const why = /not found: HTTP 404; is this a registry, or something in front of it\?$/;
  await refused(client.manifest('latest'), 66, why);
  registry.faults.clear();
  const { message } = await refused(client.manifest('nope'), 66, /MANIFEST_UNKNOWN/);
  assert.doesNotMatch(message, /is this a registry/);
});

test('requests to one origin share a connection, those after a redirect as well', async (t) => {
  let connections = 0;
  const server = createServer((req, res) => {
    if (req.url!.endsWith('latest')) res.writeHead(302, { location: 'there' });
    res.end('{}');
  });
  server.on('connection', () => {
    connections += 1;
  });
  const client = clientAt(`http://${await listening(t, server)}`);
  await client.login();
  for (let i = 0; i < 3; i++) await client.manifest('latest');
  assert.equal(connections, 1);
});
