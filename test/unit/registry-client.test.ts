import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { type TestContext, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import type { BlobSink } from '../../lib/pipe/blob-sink.js';
import { Failure } from '../../lib/pipe/failure.js';
import { documentLimit } from '../../lib/pipe/oci.js';
import { RegistryClient, type RegistryOptions } from '../../lib/registry/client.js';
import { Guard } from '../../lib/registry/http/guard.js';
import { digestOf, filler } from '../support/content.js';
import { image, layer, mediaTypes, put } from '../support/image.js';
import { type Registry, registryFor, type RegistryOptions as ServerOptions } from '../support/registry.js';
import { afterwards, killAfterwards, needs, scratch } from '../support/run.js';
import { makeCa } from '../support/tls.js';

const repository = 'library/demo';
const bytes = randomBytes(300_000);
const blob = { digest: digestOf(bytes), size: bytes.length };

async function serve(t: TestContext, options: ServerOptions = {}): Promise<Registry> {
  const registry = await registryFor(t, options);
  await put(registry, repository, ['latest'], image({ layers: [layer([{ name: 'a', data: 'a' }])] }));
  await registry.addBlob(bytes);
  return registry;
}

function clientFor(t: TestContext, registry: Registry, options: Partial<RegistryOptions> = {}): RegistryClient {
  const client = new RegistryClient({
    registry: registry.host,
    repository,
    origin: registry.origin.registry,
    retry: { firstDelay: 1, maxDelay: 5 },
    ...options,
  });
  afterwards(t, () => client.close());
  return client;
}

/** Holds what came; may begin with something. */
class Sink implements BlobSink {
  constructor(
    public data: Buffer = Buffer.alloc(0),
    public restarts = 0,
  ) {}

  get offset(): number {
    return this.data.length;
  }

  write(chunk: Buffer): Promise<void> | undefined {
    this.data = Buffer.concat([this.data, chunk]);
    return undefined;
  }

  restart(): void {
    this.restarts += 1;
    this.data = Buffer.alloc(0);
  }

  isVerified(): boolean {
    return digestOf(this.data) === blob.digest;
  }
}

async function refused(promise: Promise<unknown>, status: number, why: RegExp): Promise<Failure> {
  let failure: Failure | undefined;
  await assert.rejects(promise, (error) => {
    assert.ok(error instanceof Failure, String(error));
    assert.match(error.message, why);
    assert.equal(error.status, status, error.message);
    failure = error;
    return true;
  });
  return failure!;
}

const blobRequests = (registry: Registry) => registry.requests.filter(({ url }) => url.includes(blob.digest));

test('an open registry needs no authorization', async (t) => {
  assert.equal(await clientFor(t, await serve(t)).login(), null);
});

test('a registry that answers 404 when it is asked how it wants to be asked says so when it is asked for something', async (t) => {
  const registry = await serve(t, { auth: 'token', users: { me: 'secret' }, private: [repository] });
  registry.faults.add({ on: /GET \/v2\/$/, status: 404, body: '<html><title>404 Not Found</title></html>' });
  const credentials = async () => ({ kind: 'password' as const, username: 'me', password: 'secret' });
  const client = clientFor(t, registry, { credentials });
  assert.equal(await client.login(), null);
  await client.manifest('latest');
  const sink = new Sink();
  await client.blob(blob, sink);
  assert.ok(sink.isVerified());
});

for (const status of [403, 405, 500]) {
  test(`a registry that answers ${status} when it is asked how it wants to be asked is asked for nothing more`, async (t) => {
    const registry = await serve(t);
    registry.faults.add({ on: /GET \/v2\/$/, status });
    const failed = clientFor(t, registry, { retry: { retries: 0 } }).login();
    await refused(failed, { 403: 77, 405: 76, 500: 69 }[status]!, new RegExp(`logging in for .*HTTP ${status}`));
  });
}

for (const tokenField of ['token', 'access_token'] as const) {
  test(`a token in the field ${tokenField} is taken, without expiry too`, async (t) => {
    const registry = await serve(t, { auth: 'token', tokenField, sayExpiry: false });
    const client = clientFor(t, registry);
    const authorization = await client.login();
    assert.match(authorization ?? '', /^Bearer /);
    await clientFor(t, registry, { authorization }).manifest('latest');
    assert.deepEqual(registry.lines('token'), [
      'GET /token?service=registry.test&scope=repository%3Alibrary%2Fdemo%3Apull',
    ]);
  });
}

test('a token that is empty in one field is taken from the other', async (t) => {
  const registry = await serve(t, { auth: 'token' });
  registry.faults.add({ on: /^token/, status: 200, body: '{"token":"","access_token":"abc"}' });
  assert.equal(await clientFor(t, registry).login(), 'Bearer abc');
});

test('the challenge is found behind others, in one header and in several', async (t) => {
  for (const challenge of [
    (normal: string) => `Negotiate, Digest realm="x", ${normal}`,
    (normal: string) => ['Negotiate', 'Basic realm="x"', normal],
  ]) {
    const registry = await serve(t, { auth: 'token', challenge });
    const client = clientFor(t, registry);
    assert.match((await client.login()) ?? '', /^Bearer /);
    await client.manifest('latest');
  }
});

test('a registry may challenge under whichever form of its name it is asked', async (t) => {
  const registry = await serve(t, { auth: 'token', hostname: 'localhost' });
  const origin = registry.origin.registry.replace('localhost', 'LOCALHOST');
  const client = clientFor(t, registry, { origin });
  assert.match((await client.login()) ?? '', /^Bearer /);
  await client.manifest('latest');
});

test('a challenge that asks for more than pulling gets a token for pulling', async (t) => {
  const challenge = (normal: string) => normal.replace(/scope="[^"]*"/, 'scope="repository:other:push,pull"');
  const registry = await serve(t, { auth: 'token', challenge });
  await clientFor(t, registry).manifest('latest');
  assert.match(registry.lines('token')[0]!, /scope=repository%3Alibrary%2Fdemo%3Apull$/);
});

test('a scope of a form that only the registry knows is asked for as it is', async (t) => {
  const challenge = (normal: string) => normal.replace(/(?:,scope="[^"]*")?$/, ',scope="aws"');
  const registry = await serve(t, { auth: 'token', challenge });
  await clientFor(t, registry).login();
  assert.deepEqual(registry.lines('token'), ['GET /token?service=registry.test&scope=aws']);
});

test('basic authentication uses the credentials', async (t) => {
  const registry = await serve(t, { auth: 'basic', users: { me: 'secret' } });
  const credentials = async () => ({ kind: 'password' as const, username: 'me', password: 'secret' });
  const client = clientFor(t, registry, { credentials });
  assert.equal(await client.login(), `Basic ${Buffer.from('me:secret').toString('base64')}`);
  await client.manifest('latest');
});

test('basic authentication without credentials is denied when something is asked for, with what would help', async (t) => {
  const registry = await serve(t, { auth: 'basic', users: { me: 'secret' } });
  const client = clientFor(t, registry);
  assert.equal(await client.login(), null);
  await refused(client.manifest('latest'), 77, /wants a user name.*docker login or pass --username/);
});

test('what is public comes from a registry that wants a password from who asks how to ask', async (t) => {
  const registry = await serve(t);
  registry.faults.add({ on: /GET \/v2\/$/, status: 401, headers: { 'www-authenticate': 'Basic realm="x"' } });
  const client = clientFor(t, registry);
  assert.equal(await client.login(), null);
  await client.manifest('latest');
});

test('a private repository is pulled with credentials, and denied without', async (t) => {
  const registry = await serve(t, { auth: 'token', users: { me: 'secret' }, private: [repository] });
  await refused(clientFor(t, registry).manifest('latest'), 77, /denied.*does not exist or needs a login/);
  const credentials = async () => ({ kind: 'password' as const, username: 'me', password: 'secret' });
  await clientFor(t, registry, { credentials }).manifest('latest');
});

test('a token that a login has for the registry itself is used as it is', async (t) => {
  const registry = await serve(t, { auth: 'token', users: { me: 'secret' }, private: [repository] });
  const password = async () => ({ kind: 'password' as const, username: 'me', password: 'secret' });
  const token = (await clientFor(t, registry, { credentials: password }).login())!.replace('Bearer ', '');
  const bearer = async () => ({ kind: 'bearer' as const, token });
  await clientFor(t, registry, { credentials: bearer }).manifest('latest');
  assert.equal(registry.lines('token').length, 1);
});

test('a wrong password is denied in the words of the token service', async (t) => {
  const registry = await serve(t, { auth: 'token', users: { me: 'secret' } });
  const credentials = async () => ({ kind: 'password' as const, username: 'me', password: 'guess' });
  const { message } = await refused(
    clientFor(t, registry, { credentials }).login(),
    77,
    /incorrect username or password\); the login is not accepted: log in again/,
  );
  assert.doesNotMatch(message, /guess/);
});

test('a registry that refuses a login is not said to need one', async (t) => {
  const registry = await serve(t, { auth: 'basic', users: { me: 'secret' } });
  const credentials = async () => ({ kind: 'password' as const, username: 'me', password: 'guess' });
  const client = clientFor(t, registry, { credentials });
  await refused(client.manifest('latest'), 77, /denied: HTTP 401 .*; the login is not accepted/);
  registry.faults.add({ on: /manifests/, status: 403 });
  const known = clientFor(t, registry, { authorization: `Basic ${Buffer.from('me:secret').toString('base64')}` });
  await refused(known.manifest('latest'), 77, /denied: HTTP 403; the repository does not exist or needs a login/);
});

test('what a server quotes of the credentials is not shown', async (t) => {
  const registry = await serve(t, { auth: 'token', users: { me: 'secret-password' } });
  const authorization = (await clientFor(t, registry).login()) ?? '';
  const secrets = [authorization.slice(7), Buffer.from('me:secret-password').toString('base64'), 'secret-password'];
  const words = JSON.stringify({ errors: [{ code: 'DENIED', message: ['not', ...secrets, 'refresh-me'].join(' ') }] });
  registry.faults.add({ on: /./, status: 403, body: words });
  for (const [client, hidden] of [
    [clientFor(t, registry, { authorization }), secrets.slice(0, 1)],
    [clientFor(t, registry, { authorization: `Basic ${secrets[1]}` }), secrets.slice(1)],
  ] as const) {
    const { message } = await refused(client.manifest('latest'), 77, /denied: HTTP 403 \(DENIED: not /);
    for (const secret of hidden) assert.ok(!message.includes(secret), message);
  }
  registry.faults.clear();
  registry.faults.add({ on: /^token/, status: 403, body: words });
  const credentials = async () => ({ kind: 'refresh' as const, username: 'me', token: 'refresh-me' });
  const client = clientFor(t, registry, { credentials });
  const { message } = await refused(client.manifest('latest'), 77, /denied: HTTP 403 \(DENIED: not /);
  assert.doesNotMatch(message, /refresh-me/);
});

test('a refresh token is exchanged by POST', async (t) => {
  const registry = await serve(t, { auth: 'token', users: { me: 'secret' }, private: [repository] });
  registry.tokens.refreshTokens.set('refresh-me', 'me');
  const credentials = async () => ({ kind: 'refresh' as const, username: '', token: 'refresh-me' });
  await clientFor(t, registry, { credentials }).manifest('latest');
  assert.deepEqual(registry.lines('token'), ['POST /token']);
});

test('a refresh token does not follow a redirect', async (t) => {
  const registry = await serve(t, { auth: 'token', users: { me: 'secret' } });
  registry.faults.add({ on: /^token POST/, status: 307, headers: { location: `${registry.origin.cdn}/token` } });
  const credentials = async () => ({ kind: 'refresh' as const, username: '', token: 'refresh-me' });
  await refused(clientFor(t, registry, { credentials }).login(), 76, /HTTP 307/);
  assert.deepEqual(registry.lines('cdn'), []);
});

test('a token service that knows no POST gets the refresh token by GET', async (t) => {
  const registry = await serve(t, { auth: 'token', post: false, users: { me: 'refresh-me' }, private: [repository] });
  const credentials = async () => ({ kind: 'refresh' as const, username: 'me', token: 'refresh-me' });
  await clientFor(t, registry, { credentials }).manifest('latest');
  assert.deepEqual(
    registry.lines('token').map((line) => line.slice(0, 4)),
    ['POST', 'GET '],
  );
});

for (const status of [400, 401, 404]) {
  test(`a token service that answers POST with ${status} gets the refresh token by GET`, async (t) => {
    const registry = await serve(t, { auth: 'token', users: { me: 'refresh-me' }, private: [repository] });
    registry.faults.add({ on: /^token POST/, status, body: '{"errors":[{"code":"UNSUPPORTED"}]}' });
    const credentials = async () => ({ kind: 'refresh' as const, username: 'me', token: 'refresh-me' });
    await clientFor(t, registry, { credentials }).manifest('latest');
  });
}

test('a token that expires in mid-pull is renewed once for all that need it', async (t) => {
  const registry = await serve(t, { auth: 'token' });
  const client = clientFor(t, registry);
  await client.manifest('latest');
  registry.tokens.expireAll();
  // The refusal of one comes when the others have the new token already.
  registry.faults.add({ on: /manifests/, times: 1, delay: 300 });
  await Promise.all([1, 2, 3, 4].map(() => client.manifest('latest')));
  assert.equal(registry.lines('token').length, 2);
});

for (const [what, options, seconds] of [
  ['as long as the service says', { lifetime: 300 }, 300],
  ['for a minute when the service does not say', { sayExpiry: false }, 60],
  ['for a minute when the service says what is no time', { sayExpiry: -1 }, 60],
] as const) {
  test(`a token is used ${what}, and renewed before it is refused`, async (t) => {
    const registry = await serve(t, { auth: 'token', ...options });
    let now = 0;
    const client = clientFor(t, registry, { clock: () => now });
    const manifests = () => Promise.all([1, 2, 3].map(() => client.manifest('latest')));
    await client.manifest('latest');
    now = seconds * 1000 * 0.85;
    await manifests();
    assert.equal(registry.lines('token').length, 1);
    now = seconds * 1000 * 0.95;
    registry.tokens.expireAll();
    const before = registry.lines('registry').length;
    await manifests();
    assert.equal(registry.lines('token').length, 2);
    assert.equal(registry.lines('registry').length - before, 3, 'no request was refused');
  });
}

test('a token that is refused for ever is not renewed for ever', async (t) => {
  const registry = await serve(t, { auth: 'token', private: [repository] });
  await refused(clientFor(t, registry).manifest('latest'), 77, /denied/);
  assert.equal(registry.lines('token').length, 1);
});

for (const [what, fault, status, why] of [
  ['401', { status: 401, body: '{}' }, 77, /denied: HTTP 401/],
  ['nonsense', { status: 200, body: 'hello' }, 76, /answer is not JSON/],
  ['JSON without a token', { status: 200, body: '{"token":""}' }, 76, /no usable token/],
  ['a token of the wrong type', { status: 200, body: '{"token":42}' }, 76, /no usable token/],
  ['a token with a line break', { status: 200, body: '{"token":"a\\r\\nX-Evil: 1"}' }, 76, /no usable token/],
  ['an endless body', { status: 200, body: filler(2 << 20, 32) }, 76, /longer than 1048576 bytes/],
  ['HTTP 500', { status: 500, body: '' }, 69, /HTTP 500/],
] as const) {
  test(`a token service that answers ${what} ends with status ${status}`, async (t) => {
    const registry = await serve(t, { auth: 'token' });
    registry.faults.add({ on: /^token/, ...fault });
    await refused(clientFor(t, registry).login(), status, why);
  });
}

for (const realm of ['http://', 'ftp://x/token', 'token', 'file:///etc/passwd']) {
  test(`a challenge with the realm ${realm} is a breach of the protocol`, async (t) => {
    const registry = await serve(t, { auth: 'token', challenge: () => `Bearer realm="${realm}",service="x"` });
    await refused(clientFor(t, registry).login(), 76, /token service|private network/);
  });
}

test('a challenge that names no token service is called that', async (t) => {
  const registry = await serve(t, { auth: 'token', challenge: () => 'Bearer service="x"' });
  await refused(clientFor(t, registry).login(), 76, /its challenge names no token service/);
});

test('an unknown way to authenticate is named', async (t) => {
  const registry = await serve(t, { auth: 'token', challenge: () => 'Negotiate' });
  await refused(clientFor(t, registry).login(), 76, /by negotiate, not Bearer or Basic/);
});

for (const status of [301, 302, 303, 307, 308]) {
  test(`a ${status} to another origin is followed without the token`, async (t) => {
    const registry = await serve(t, { auth: 'token', redirectBlobs: status, redirectManifests: status });
    // That origin redirects to itself at first.
    registry.faults.add({ on: /^cdn/, times: 1, status, headers: { location: '' } });
    const client = clientFor(t, registry);
    assert.equal((await client.manifest('latest')).contentType, mediaTypes.oci.manifest);
    const sink = new Sink();
    await client.blob(blob, sink);
    assert.ok(sink.isVerified());
    const cdn = registry.requests.filter(({ service }) => service === 'cdn');
    assert.deepEqual(
      cdn.map(({ headers }) => headers.authorization),
      [undefined, undefined, undefined],
    );
  });
}

test('a redirect inside the origin keeps the token, and may be relative', async (t) => {
  const registry = await serve(t, { auth: 'token' });
  registry.faults.add({
    on: /^registry GET .*manifests\/elsewhere/,
    status: 302,
    headers: { location: 'latest' },
  });
  await clientFor(t, registry).manifest('elsewhere');
});

test('a circle of redirects is left', async (t) => {
  const registry = await serve(t);
  registry.faults.add({ on: /manifests/, status: 302, headers: { location: `/v2/${repository}/manifests/latest` } });
  await refused(clientFor(t, registry).manifest('latest'), 76, /more than 10 redirects/);
});

test('a redirect to another kind of URL is refused', async (t) => {
  const registry = await serve(t);
  registry.faults.add({ on: /manifests/, status: 302, headers: { location: 'file:///etc/passwd' } });
  await refused(clientFor(t, registry).manifest('latest'), 76, /redirects to a file: URL/);
});

test('a host that a redirect leads to may not ask for credentials', async (t) => {
  const stranger = createServer((_req, res) => {
    res.writeHead(401, { 'www-authenticate': 'Basic realm="give"' }).end();
  }).listen(0, '127.0.0.1');
  await new Promise((listening) => stranger.once('listening', listening));
  afterwards(t, () => stranger.close());
  const registry = await serve(t);
  const location = `http://127.0.0.1:${(stranger.address() as AddressInfo).port}/`;
  registry.faults.add({ on: /manifests/, status: 307, headers: { location } });
  let asked = 0;
  const credentials = async () => {
    asked += 1;
    return { kind: 'password' as const, username: 'me', password: 'secret' };
  };
  const { message } = await refused(
    clientFor(t, registry, { credentials }).manifest('latest'),
    77,
    /denied: HTTP 401; 127.0.0.1:[0-9]+ does not take the link that http/,
  );
  assert.doesNotMatch(message, /login/);
  assert.equal(asked, 0);
});

test('a registry that points to another one is pulled from as anybody may, without the login for the first', async (t) => {
  const other = await serve(t, { auth: 'token', users: { me: 'secret' } });
  const front = createServer((req, res) => {
    const location = other.origin.registry + req.url!.replace('/v2/short/', `/v2/${repository}/`);
    res.writeHead(307, { location }).end();
  }).listen(0, '127.0.0.1');
  await once(front, 'listening');
  afterwards(t, () => front.close());
  const credentials = async () => assert.fail('credentials were asked for');
  const origin = `http://127.0.0.1:${(front.address() as AddressInfo).port}`;
  const client = clientFor(t, other, { repository: 'short', origin, credentials });
  assert.equal(await client.login(), null);
  await client.manifest('latest');
  other.tokens.expireAll();
  for (let i = 0; i < 2; i++) {
    const sink = new Sink();
    await client.blob(blob, sink);
    assert.ok(sink.isVerified());
  }
  const asked = `GET /token?service=registry.test&scope=repository%3A${encodeURIComponent(repository)}%3Apull`;
  assert.deepEqual(other.lines('token'), [asked, asked]);
});

test('a signed link that has expired on the way is asked for anew, once', async (t) => {
  const registry = await serve(t, { auth: 'token', redirectBlobs: 307 });
  const client = clientFor(t, registry);
  for (const status of [400, 401, 403]) {
    registry.faults.add({ on: /^cdn/, times: 1, status, body: 'expired' });
    const sink = new Sink();
    await client.blob(blob, sink);
    assert.ok(sink.isVerified());
    registry.faults.clear();
  }
  const body = '<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>';
  registry.faults.add({ on: /^cdn/, status: 403, body });
  const before = registry.lines('cdn').length;
  const { message } = await refused(client.blob(blob, new Sink()), 77, /denied: HTTP 403 \(Request has expired\)/);
  assert.ok(message.includes(`${new URL(registry.origin.cdn).host} does not take the link`), message);
  assert.doesNotMatch(message, /login|signature=[^*]/);
  assert.equal(registry.lines('cdn').length - before, 2);
});

test('what a server quotes of a signed link is not shown', async (t) => {
  const registry = await serve(t, { redirectBlobs: 307 });
  const client = clientFor(t, registry);
  await client.blob(blob, new Sink());
  const link = registry.lines('cdn')[0]?.replace('GET ', '') ?? '';
  const signature = new URLSearchParams(link.slice(link.indexOf('?'))).get('signature') ?? '';
  assert.notEqual(signature, '');
  registry.faults.add({ on: /^cdn/, status: 404, body: JSON.stringify({ message: `no such object: ${signature}` }) });
  const { message } = await refused(client.blob(blob, new Sink()), 69, /not found: HTTP 404 \(no such object: /);
  assert.ok(!message.includes(signature), message);
});

test('nothing is asked to be compressed in transfer', async (t) => {
  const registry = await serve(t, { auth: 'token', redirectBlobs: 307 });
  const client = clientFor(t, registry);
  await client.manifest('latest');
  await client.blob(blob, new Sink());
  assert.ok(registry.requests.every(({ headers }) => headers['accept-encoding'] === undefined));
});

test('what is compressed all the same is told, and not taken for another content', async (t) => {
  const registry = await serve(t);
  const gzip = { 'content-encoding': 'gzip' };
  const wrong = /comes compressed \(Content-Encoding: gzip\).*; does a proxy stand between/;
  registry.faults.add({ on: /manifests/, status: 200, body: gzipSync('{}'), headers: gzip });
  await refused(clientFor(t, registry).manifest('latest'), 76, wrong);
  registry.faults.add({ on: /blobs/, times: 1, status: 200, body: gzipSync('x'), headers: gzip });
  await refused(clientFor(t, registry).blob(blob, new Sink()), 76, wrong);
  const chunked = { ...gzip, 'content-length': undefined };
  registry.faults.add({ on: /blobs/, times: 1, status: 200, body: gzipSync('x'), headers: chunked });
  await refused(clientFor(t, registry).blob(blob, new Sink()), 76, wrong);
});

test('a blob that an object store calls compressed comes as it is', async (t) => {
  const registry = await serve(t);
  registry.faults.add({ on: /blobs/, headers: { 'content-encoding': 'gzip' } });
  const sink = new Sink();
  await clientFor(t, registry).blob(blob, sink);
  assert.ok(sink.isVerified());
});

test('a part that nobody has asked for is called that', async (t) => {
  const registry = await serve(t);
  registry.faults.add({ on: /blobs/, status: 206, body: 'x', headers: { 'content-range': 'bytes 5-5/10' } });
  const client = clientFor(t, registry, { retry: { retries: 0 } });
  await refused(client.blob(blob, new Sink()), 76, /answers a request for all with HTTP 206/);
});

test('a manifest may be as long as its limit, and a longer one is cut off', async (t) => {
  const registry = await serve(t);
  registry.faults.add({ on: /manifests/, body: filler(documentLimit), status: 200, times: 1 });
  assert.equal((await clientFor(t, registry).manifest('latest')).bytes.length, documentLimit);
  registry.faults.add({ on: /manifests/, body: filler(documentLimit + 1), status: 200 });
  await refused(clientFor(t, registry).manifest('latest'), 76, /longer than 4194304 bytes/);
});

test("a missing manifest is told in the registry's words", async (t) => {
  const registry = await serve(t);
  await refused(
    clientFor(t, registry).manifest('nope'),
    69,
    /manifest nope of 127.0.0.1:[0-9]+\/library\/demo: .*not found: HTTP 404 \(MANIFEST_UNKNOWN: manifest unknown\); check its name, and its tag, which is latest where none is given$/,
  );
  const body = JSON.stringify({ errors: [{ code: 'GONE', message: 'x'.repeat(1000) }] });
  registry.faults.add({ on: /manifests/, status: 410, body });
  await refused(clientFor(t, registry).manifest('nope'), 69, /not found: HTTP 410 \(GONE: x{191}\.\.\.\)$/);
});

test('what is no registry is asked whether it is one', async (t) => {
  const registry = await serve(t);
  registry.faults.add({ on: /./, status: 404, body: '<html><title>404 Not Found</title></html>' });
  const client = clientFor(t, registry);
  assert.equal(await client.login(), null);
  const why = /not found: HTTP 404; is this a registry, or something in front of it\?$/;
  await refused(client.manifest('latest'), 69, why);
  registry.faults.clear();
  const { message } = await refused(client.manifest('nope'), 69, /MANIFEST_UNKNOWN/);
  assert.doesNotMatch(message, /is this a registry/);
});

test('a blob comes in one request, and one that is empty or there already in none', async (t) => {
  const registry = await serve(t);
  const client = clientFor(t, registry);
  const sink = new Sink();
  await client.blob(blob, sink);
  assert.ok(sink.isVerified());
  assert.equal(blobRequests(registry)[0]?.headers.range, undefined);
  await client.blob({ digest: digestOf(''), size: 0 }, new Sink());
  await client.blob(blob, sink);
  assert.equal(sink.restarts, 0);
  assert.equal(registry.requests.length, 1);
});

test('a blob that was begun is continued with a closed range', async (t) => {
  const registry = await serve(t);
  const sink = new Sink(bytes.subarray(0, 1000));
  await clientFor(t, registry).blob(blob, sink);
  assert.ok(sink.isVerified());
  assert.deepEqual(
    blobRequests(registry).map(({ headers }) => headers.range),
    ['bytes=1000-299999'],
  );
});

test('the unit of a range is one in capitals as well', async (t) => {
  const registry = await serve(t);
  registry.faults.add({ on: /blobs/, headers: { 'content-range': 'Bytes 100000-299999/300000' } });
  const sink = new Sink(bytes.subarray(0, 100_000));
  await clientFor(t, registry).blob(blob, sink);
  assert.ok(sink.isVerified());
  assert.equal(blobRequests(registry).length, 1);
});

test('a connection that breaks is taken up where it broke, at a new signed URL', async (t) => {
  const registry = await serve(t, { redirectBlobs: 307 });
  registry.faults.add({ on: /^cdn/, times: 6, cutAfter: 40_000 });
  const sink = new Sink();
  await clientFor(t, registry, { retry: { firstDelay: 1, maxDelay: 2, retries: 1 } }).blob(blob, sink);
  assert.ok(sink.isVerified());
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
    await refused(clientFor(t, registry, options).blob(blob, new Sink()), 69, /connection|cut short/);
    assert.equal(blobRequests(registry).length, 3);
  });
}

test('a server that starts again at each cut makes no progress for ever', async (t) => {
  const registry = await serve(t, { ranges: false });
  registry.faults.add({ on: /blobs/, cutAfter: 100_000 });
  await refused(
    clientFor(t, registry, { retry: { firstDelay: 1, maxDelay: 2, retries: 2 } }).blob(blob, new Sink()),
    69,
    /connection|cut short/,
  );
  assert.ok(blobRequests(registry).length <= 4);
});

for (const range of ['ignored', 'wrong-start', 'wrong-total', 'refused'] as const) {
  test(`a range that is ${range} is not taken for the right one`, async (t) => {
    const registry = await serve(t);
    registry.faults.add({ on: /blobs/, range });
    const sink = new Sink(bytes.subarray(0, 1000));
    await clientFor(t, registry).blob(blob, sink);
    assert.ok(sink.isVerified());
    assert.equal(sink.restarts, 1);
  });
}

test('a beginning that is longer than the blob is dropped', async (t) => {
  const registry = await serve(t);
  const sink = new Sink(Buffer.concat([bytes, bytes]));
  await clientFor(t, registry).blob(blob, sink);
  assert.ok(sink.isVerified());
});

test('a blob of another length than its descriptor says is refused at once', async (t) => {
  const registry = await serve(t);
  await refused(
    clientFor(t, registry).blob({ ...blob, size: 299_999 }, new Sink()),
    65,
    /offers 300000 bytes, not 299999/,
  );
  registry.faults.add({ on: /blobs/, extraBytes: 10 });
  await refused(clientFor(t, registry).blob(blob, new Sink()), 65, /more bytes came than the 300000/);
});

test('a foreign layer that the registry does not have comes from its URL, without credentials', async (t) => {
  const registry = await serve(t, { auth: 'token' });
  const headers: unknown[] = [];
  const elsewhere = createServer((req, res) => {
    headers.push(req.headers.authorization);
    res.end(bytes);
  }).listen(0, '127.0.0.1');
  await new Promise((listening) => elsewhere.once('listening', listening));
  afterwards(t, () => {
    elsewhere.closeAllConnections();
    elsewhere.close();
  });
  registry.faults.add({ on: /blobs/, status: 404 });
  const urls = ['file:///etc/passwd', `http://127.0.0.1:${(elsewhere.address() as AddressInfo).port}/layer`];
  const sink = new Sink();
  await clientFor(t, registry).blob({ ...blob, urls }, sink);
  assert.ok(sink.isVerified());
  assert.deepEqual(headers, [undefined]);
  await refused(
    clientFor(t, registry).blob({ ...blob, urls: urls.slice(0, 1) }, new Sink()),
    69,
    /not found: HTTP 404/,
  );
  registry.faults.clear();
  registry.faults.add({ on: /blobs/, status: 403 });
  await refused(clientFor(t, registry).blob({ ...blob, urls }, new Sink()), 77, /denied: HTTP 403/);
  assert.equal(headers.length, 1, 'who is denied a layer does not get it elsewhere');
});

test('a foreign layer of a registry with TLS is not looked for without', { skip: needs('openssl') }, async (t) => {
  const [registry, elsewhere] = [await serve(t, { tls: makeCa(scratch(t)).issue() }), await serve(t)];
  registry.faults.add({ on: /blobs/, status: 404 });
  const urls = [`${elsewhere.origin.registry}/v2/x/blobs/${blob.digest}`];
  const client = clientFor(t, registry, { insecure: [registry.host] });
  await refused(client.blob({ ...blob, urls }, new Sink()), 69, /not found: HTTP 404/);
  assert.deepEqual(elsewhere.requests, []);
});

test('each URL of a foreign layer is tried in turn, and the failure names them all', async (t) => {
  const asked: string[] = [];
  const elsewhere = createServer((req, res) => {
    asked.push(`${req.url} ${req.headers.authorization}`);
    if (req.url === '/wrong') res.end(Buffer.alloc(blob.size));
    else if (req.url === '/layer') res.end(bytes);
    else res.writeHead(req.url === '/denied' ? 403 : 404).end();
  }).listen(0, '127.0.0.1');
  await new Promise((listening) => elsewhere.once('listening', listening));
  afterwards(t, () => elsewhere.close());
  const registry = await serve(t, { auth: 'token' });
  registry.faults.add({ on: /blobs/, status: 404 });
  const origin = `http://127.0.0.1:${(elsewhere.address() as AddressInfo).port}`;
  const bad = ['missing', 'denied', 'wrong'].map((name) => `${origin}/${name}`);
  const sink = new Sink();
  const client = clientFor(t, registry);
  await client.blob({ ...blob, urls: [...bad, `${origin}/layer`] }, sink);
  assert.ok(sink.isVerified());
  const all = ['/missing', '/denied', '/wrong'].map((path) => `${path} undefined`);
  assert.deepEqual(asked, [...all, '/layer undefined']);
  const { message } = await refused(client.blob({ ...blob, urls: bad }, new Sink()), 65, /not found: HTTP 404/);
  for (const part of [`${origin}/missing: `, `${origin}/denied: `, `${origin}/wrong: digest mismatch`]) {
    assert.ok(message.includes(part), message);
  }
  asked.length = 0;
  const many = Array.from({ length: 20 }, (_, i) => `${origin}/${i}`);
  await refused(client.blob({ ...blob, urls: many }, new Sink()), 69, /not found: HTTP 404/);
  assert.equal(asked.length, 16, 'as many as honest layers never have');
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
  }).listen(0, '127.0.0.1');
  await new Promise((listening) => elsewhere.once('listening', listening));
  afterwards(t, () => elsewhere.close());
  const registry = await serve(t);
  registry.faults.add({ on: /blobs/, status: 404 });
  const urls = [`http://127.0.0.1:${(elsewhere.address() as AddressInfo).port}/layer`];
  const sink = new Sink();
  const client = clientFor(t, registry, { retry: { retries: 0 } });
  await refused(client.blob({ ...blob, urls }, sink), 69, /connection|cut short/);
  assert.equal(sink.offset, 1000);
  const spoilt = new Sink(Buffer.alloc(1000));
  await client.blob({ ...blob, urls }, spoilt);
  assert.ok(spoilt.isVerified());
  assert.equal(asked, 3);
  asked = 0;
  const both = new Sink();
  await client.blob({ ...blob, urls: [...urls, `${urls[0]}-as-well`] }, both);
  assert.ok(both.isVerified());
  assert.equal(both.restarts, 0, 'what one place has sent before it broke off is not asked for at the next one');
});

test('a stalled transfer is taken up again', async (t) => {
  const registry = await serve(t);
  registry.faults.add({ on: /blobs/, times: 1, stallAfter: 50_000 });
  const sink = new Sink();
  await clientFor(t, registry, { timeouts: { connect: 5, headers: 5, idle: 1 } }).blob(blob, sink);
  assert.ok(sink.isVerified());
});

const trickling = { timeouts: { connect: 5, headers: 5, idle: 1 }, minSpeed: 1000 };

test('a transfer that trickles is taken up again where it was', { timeout: 20_000 }, async (t) => {
  const registry = await serve(t);
  registry.faults.add({ on: /blobs/, times: 1, bytesPerSecond: 200 });
  const sink = new Sink();
  await clientFor(t, registry, trickling).blob(blob, sink);
  assert.ok(sink.isVerified());
  const [, again] = blobRequests(registry);
  assert.match(again?.headers.range ?? '', /^bytes=[1-9][0-9]{1,2}-299999$/);
});

for (const [what, fault] of [
  ['trickles', { bytesPerSecond: 200 }],
  ['breaks off after a few bytes', { cutAfter: 900 }],
] as const) {
  test(`a registry that ${what} each time is given up, though some bytes come each time`, {
    timeout: 20_000,
  }, async (t) => {
    const registry = await serve(t);
    registry.faults.add({ on: /blobs/, ...fault });
    const options = { ...trickling, retry: { firstDelay: 1, maxDelay: 2, retries: 2 } };
    const why =
      what === 'trickles'
        ? /: the transfer stalled: [0-9]+ bytes in 1 s, fewer than --min-speed asks for$/
        : /cut short|connection was closed/;
    await refused(clientFor(t, registry, options).blob(blob, new Sink()), 69, why);
    assert.equal(blobRequests(registry).length, 3);
  });
}

test('a manifest that trickles is given up, and with 0 as least speed nothing is', { timeout: 20_000 }, async (t) => {
  const registry = await serve(t);
  registry.faults.add({ on: /manifests/, bytesPerSecond: 200 });
  const retry = { retries: 0 };
  const failed = clientFor(t, registry, { ...trickling, retry }).manifest('latest');
  await refused(failed, 69, /the transfer stalled/);
  await clientFor(t, registry, { ...trickling, minSpeed: 0, retry }).manifest('latest');
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
  const sink = new SlowSink();
  await clientFor(t, registry, { ...trickling, retry: { retries: 0 } }).blob(blob, sink);
  assert.ok(sink.isVerified());
});

test('a registry that never answers is given up', async (t) => {
  const registry = await serve(t);
  registry.faults.add({ on: /manifests/, silent: true });
  const options = { timeouts: { connect: 5, headers: 1, idle: 1 }, retry: { retries: 0 } };
  await refused(clientFor(t, registry, options).manifest('latest'), 69, /no answer in time/);
});

test('429 and 503 are waited out when that is short', async (t) => {
  const registry = await serve(t);
  registry.faults.add({ on: /manifests/, times: 1, status: 429, headers: { 'retry-after': '0' } });
  registry.faults.add({ on: /manifests/, times: 1, status: 503, headers: { 'retry-after': '0' } });
  registry.faults.add({ on: /manifests/, times: 1, status: 502 });
  registry.faults.add({ on: /manifests/, times: 1, status: 408 });
  await clientFor(t, registry).manifest('latest');
  assert.equal(registry.requests.length, 5);
});

test('503 that does not say until when ends with status 69', async (t) => {
  const registry = await serve(t);
  registry.faults.add({ on: /manifests/, status: 503 });
  await refused(clientFor(t, registry).manifest('latest'), 69, /: HTTP 503$/);
});

test('a date to wait for is taken by the clock of the registry that names it', async (t) => {
  const registry = await serve(t);
  const date = (seconds: number) => new Date(Date.now() + seconds * 1000).toUTCString();
  const headers = { date: date(7200), 'retry-after': date(7200) };
  registry.faults.add({ on: /manifests/, times: 1, status: 429, headers });
  await clientFor(t, registry).manifest('latest');
});

test('429 with a long wait ends with status 75, the time and the quota', async (t) => {
  const registry = await serve(t);
  const date = new Date(Date.now() + 3_600_000).toUTCString();
  const headers = { 'retry-after': date, 'ratelimit-limit': '100;w=21600', 'ratelimit-remaining': '0;w=21600' };
  registry.faults.add({ on: /manifests/, status: 429, headers });
  const failure = await refused(clientFor(t, registry).manifest('latest'), 75, /too many requests.*try again in 3[56]/);
  assert.ok(Number(failure.details.retryAfter) > 3500);
  assert.deepEqual(failure.details.quota, { limit: 100, remaining: 0, window: 21600 });
  assert.equal(registry.requests.length, 1);
});

test('what cannot be reached is told with the reason', async (t) => {
  const registry = await serve(t);
  const origin = registry.origin.registry;
  await registry.close();
  const options = { registry: 'there', repository, origin, retry: { retries: 0 } };
  await refused(new RegistryClient(options).manifest('latest'), 69, /connection refused \(ECONNREFUSED\)/);
  const nowhere = { ...options, origin: 'https://nowhere.invalid' };
  await refused(new RegistryClient(nowhere).manifest('latest'), 69, /no such host|name server/);
});

for (const [code, why, times] of [
  ['ENOTFOUND', /no such host/, 1],
  ['EAI_AGAIN', /the name server does not answer/, 3],
] as const) {
  test(`a name is looked up as often as it makes sense where that ends in ${code}`, async (t) => {
    const dns = process.getBuiltinModule('node:dns');
    const lookup = t.mock.method(dns, 'lookup', (_name: string, _options: object, done: (error: Error) => void) => {
      done(Object.assign(new Error(code), { code }));
    });
    const origin = 'http://nowhere.test';
    const guard = new Guard(new URL(origin));
    const retry = { retries: 2, firstDelay: 1, maxDelay: 2 };
    const client = new RegistryClient({ registry: 'x', repository, origin, guard, retry });
    await refused(client.manifest('latest'), 69, why);
    assert.equal(lookup.mock.callCount(), times);
  });
}

/** A server that takes no connection for a moment: its queue is full, and the kernel drops what more comes. */
async function startBusyServer(t: TestContext): Promise<number> {
  const script = `
    const server = require('node:http').createServer((_req, res) => res.end('{}'));
    server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => console.log(server.address().port));
    process.once('SIGUSR2', () => {
      console.log('busy');
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 800);
    });`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  killAfterwards(t, child);
  const port = Number(await once(child.stdout, 'data'));
  child.kill('SIGUSR2');
  await once(child.stdout, 'data');
  const [first, second] = [1, 2, 3, 4].map(() => {
    const socket = connect(port, '127.0.0.1').on('error', () => {});
    afterwards(t, () => socket.destroy());
    return socket;
  });
  await Promise.all([once(first!, 'connect'), once(second!, 'connect')]);
  return port;
}

test('a connection that is slow to come up is waited for, where the host has other addresses that do not answer', async (t) => {
  const dns = process.getBuiltinModule('node:dns');
  t.mock.method(dns, 'lookup', (_name: string, _options: object, done: (error: null, found: object[]) => void) => {
    done(null, [
      { address: '127.0.0.1', family: 4 },
      { address: '100::1', family: 6 },
    ]);
  });
  const origin = `http://slow.test:${await startBusyServer(t)}`;
  const guard = new Guard(new URL(origin));
  const client = new RegistryClient({ registry: 'x', repository, origin, guard, retry: { retries: 0 } });
  afterwards(t, () => client.close());
  assert.equal(await client.login(), null);
});

for (const [what, bytes, why] of [
  ['no HTTP', 'SSH-2.0-OpenSSH_9.2\r\n', /what answers there speaks no HTTP; does it speak https\?$/],
  [
    'a length below 0',
    'HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n',
    /malformed HTTP: Invalid .* in Content-Length$/,
  ],
  [
    'a length of letters',
    'HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n',
    /malformed HTTP: Invalid .* in Content-Length$/,
  ],
] as const) {
  test(`what answers with ${what} is told so`, async (t) => {
    const { createServer: createTcpServer } = await import('node:net');
    const server = createTcpServer((socket) => socket.end(bytes)).listen(0, '127.0.0.1');
    await once(server, 'listening');
    afterwards(t, () => server.close());
    const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const client = new RegistryClient({ registry: 'x', repository, origin, retry: { retries: 0 } });
    await refused(client.manifest('latest'), 76, why);
  });
}

for (const body of [
  'Client sent an HTTP request to an HTTPS server.\n',
  '<html>\r\n<head><title>400 The plain HTTP request was sent to HTTPS port</title></head>\r\n</html>',
]) {
  test(`a registry that says ${body.slice(0, 30)} is told to speak TLS`, async (t) => {
    const registry = await serve(t);
    registry.faults.add({ on: /./, status: 400, body });
    await refused(clientFor(t, registry).login(), 76, /HTTP 400 \(.*HTTPS .*\); it speaks TLS: pass --ca-file/);
  });
}

test('interim answers are passed over, and not for ever', async (t) => {
  let interim = 3;
  const server = createServer(async (_req, res) => {
    for (let i = 0; i < interim && !res.destroyed; i++) {
      res.writeEarlyHints({ link: '</x>' });
      await new Promise((next) => setTimeout(next, 10));
    }
    res.end('{}');
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  afterwards(t, () => server.close());
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const client = new RegistryClient({ registry: 'x', repository, origin, retry: { retries: 0 } });
  afterwards(t, () => client.close());
  await client.manifest('latest');
  interim = 1000;
  await refused(client.manifest('latest'), 76, /announces an answer again and again/);
});

test('headers without end are told', async (t) => {
  const registry = await serve(t);
  registry.faults.add({ on: /manifests/, status: 200, headers: { 'x-long': 'x'.repeat(100_000) } });
  await refused(clientFor(t, registry).manifest('latest'), 76, /the response headers are too long$/);
});

test('requests to one origin share a connection', async (t) => {
  let connections = 0;
  const server = createServer((_req, res) => res.end('{}')).listen(0, '127.0.0.1');
  server.on('connection', () => {
    connections += 1;
  });
  await new Promise((listening) => server.once('listening', listening));
  afterwards(t, () => server.close());
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const client = new RegistryClient({ registry: 'x', repository, origin });
  afterwards(t, () => client.close());
  await client.login();
  for (let i = 0; i < 3; i++) await client.manifest('latest');
  assert.equal(connections, 1);
});
