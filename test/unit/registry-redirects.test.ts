import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { passwordLogin } from '../../lib/registry/auth/auth.js';
import { mediaTypes } from '../support/image.js';
import { blob, clientAt, clientFor, fetchBlob, refused, repository, Sink, serve } from '../support/registry-client.js';
import { listening } from '../support/server.js';

for (const status of [301, 302, 303, 307, 308]) {
  test(`a ${status} to another origin is followed without the token`, async (t) => {
    const registry = await serve(t, { auth: 'token', redirectBlobs: status, redirectManifests: status });
    // That origin redirects to itself at first.
    registry.faults.add({ on: /^cdn/, times: 1, status, headers: { location: '' } });
    const client = clientFor(registry);
    assert.equal((await client.manifest('latest')).contentType, mediaTypes.oci.manifest);
    await fetchBlob(client);
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
  await clientFor(registry).manifest('elsewhere');
});

test('a redirect that is not ASCII is followed byte by byte, in whatever encoding it is', async (t) => {
  const registry = await serve(t);
  for (const [encoding, path] of [
    ['utf8', '%C3%A9'],
    ['latin1', '%E9'],
  ] as const) {
    const location = Buffer.from(`${registry.origin.token}/é?é`, encoding).toString('latin1');
    registry.faults.add({ on: /manifests/, status: 302, headers: { location }, times: 1 });
    await refused(clientFor(registry).manifest('latest'), 66, /not found/);
    assert.equal(registry.lines('token').at(-1), `GET /${path}?${path}`);
    registry.faults.clear();
  }
});

test('a circle of redirects is left', async (t) => {
  const registry = await serve(t);
  registry.faults.add({ on: /manifests/, status: 302, headers: { location: `/v2/${repository}/manifests/latest` } });
  await refused(clientFor(registry).manifest('latest'), 76, /more than 10 redirects/);
});

test('the body of a redirect is not read to its end, which may never come', { timeout: 20_000 }, async (t) => {
  const server = createServer((req, res) => {
    if (req.url!.endsWith('there')) res.end('{}');
    else res.writeHead(302, { location: 'there' }).write(Buffer.alloc(200_000));
  });
  await clientAt(`http://${await listening(t, server)}`).manifest('latest');
});

test('a redirect to another kind of URL is refused', async (t) => {
  const registry = await serve(t);
  registry.faults.add({ on: /manifests/, status: 302, headers: { location: 'file:///etc/passwd' } });
  await refused(clientFor(registry).manifest('latest'), 76, /redirects to a file: URL/);
});

test('a host that a redirect leads to may not ask for credentials', async (t) => {
  const stranger = createServer((_req, res) => {
    res.writeHead(401, { 'www-authenticate': 'Basic realm="give"' }).end();
  });
  const registry = await serve(t);
  const origin = `http://${await listening(t, stranger)}`;
  let asked = 0;
  const credentials = async () => {
    asked += 1;
    return passwordLogin('me', 'secret');
  };
  // The second may be a registry, of which a token for everybody would be wanted.
  for (const path of ['/', `/v2/${repository}/manifests/latest`]) {
    registry.faults.clear();
    registry.faults.add({ on: /manifests/, status: 307, headers: { location: origin + path } });
    const { message } = await refused(
      clientFor(registry, { credentials }).manifest('latest'),
      77,
      /denied: HTTP 401; 127.0.0.1:[0-9]+ does not take the link that http/,
    );
    assert.doesNotMatch(message, /login/);
  }
  assert.equal(asked, 0);
});

test('a registry that points to another one is pulled from as anybody may, without the login for the first', async (t) => {
  const other = await serve(t, { auth: 'token', users: { me: 'secret' } });
  const front = createServer((req, res) => {
    const location = other.origin.registry + req.url!.replace('/v2/short/', `/v2/${repository}/`);
    res.writeHead(307, { location }).end();
  });
  const credentials = async () => assert.fail('credentials were asked for');
  const origin = `http://${await listening(t, front)}`;
  const client = clientFor(other, { repository: 'short', origin, credentials });
  assert.equal(await client.login(), null);
  await client.manifest('latest');
  other.tokens.expireAll();
  for (let i = 0; i < 2; i++) {
    await fetchBlob(client);
  }
  const asked = `GET /token?service=registry.test&scope=repository%3A${encodeURIComponent(repository)}%3Apull`;
  assert.deepEqual(other.lines('token'), [asked, asked]);
});

test('a signed link that has expired on the way is asked for anew, once', async (t) => {
  const registry = await serve(t, { auth: 'token', redirectBlobs: 307 });
  const client = clientFor(registry);
  for (const status of [400, 401, 403, 410]) {
    registry.faults.add({ on: /^cdn/, times: 1, status, body: 'expired' });
    await fetchBlob(client);
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
  const client = clientFor(registry);
  await client.blob(blob, new Sink());
  const link = registry.lines('cdn')[0]?.replace('GET ', '') ?? '';
  const signature = new URLSearchParams(link.slice(link.indexOf('?'))).get('signature') ?? '';
  assert.notEqual(signature, '');
  registry.faults.add({ on: /^cdn/, status: 404, body: JSON.stringify({ message: `no such object: ${signature}` }) });
  const { message } = await refused(client.blob(blob, new Sink()), 66, /not found: HTTP 404 \(no such object: /);
  assert.ok(!message.includes(signature), message);
});
