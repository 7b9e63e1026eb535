import assert from 'node:assert/strict';
import { test } from 'node:test';
import { passwordLogin } from '../../lib/registry/auth/auth.js';
import { filler } from '../support/content.js';
import { failure } from '../support/failure.js';
import { clientFor, fetchBlob, refused, repository, serve } from '../support/registry-client.js';

const credentials = async () => passwordLogin('me', 'secret');
const guessed = async () => passwordLogin('me', 'guess');
const refreshing = async () => ({ kind: 'refresh' as const, username: 'me', token: 'refresh-me' });

test('an open registry needs no authorization', async (t) => {
  assert.equal(await clientFor(await serve(t)).login(), null);
});

for (const status of [401, 403, 404]) {
  test(`a registry that answers ${status} without a challenge says so when it is asked for something`, async (t) => {
    const registry = await serve(t, { auth: 'token', users: { me: 'secret' }, private: [repository] });
    registry.faults.add({ on: /GET \/v2\/$/, status, body: '<html><title>Not here</title></html>' });
    const client = clientFor(registry, { credentials });
    assert.equal(await client.login(), null);
    await client.manifest('latest');
    await fetchBlob(client);
  });
}

test('a registry that needs no token is asked for the manifest at once', async (t) => {
  const registry = await serve(t);
  await clientFor(registry).manifest('latest');
  assert.deepEqual(registry.lines('registry'), [`GET /v2/${repository}/manifests/latest`]);
});

test('a token service is named by the refusal of the manifest as well', async (t) => {
  const registry = await serve(t, { auth: 'token' });
  const client = clientFor(registry);
  await client.manifest('latest');
  const manifest = `GET /v2/${repository}/manifests/latest`;
  assert.deepEqual(registry.lines('registry'), [manifest, manifest]);
  assert.match(client.authorization ?? '', /^Bearer /);
});

for (const status of [403, 404]) {
  test(`a registry that answers strangers with ${status} is asked for a login, once`, async (t) => {
    const registry = await serve(t, { auth: 'token', users: { me: 'secret' }, private: [repository] });
    // A failure of the registry says nothing about logins.
    registry.faults.add({ on: /manifests/, times: 1, status: 503 });
    registry.faults.add({ on: /manifests/, times: 1, status, body: '{}' });
    await clientFor(registry, { credentials }).manifest('latest');
    const [manifest, ping] = [`GET /v2/${repository}/manifests/latest`, 'GET /v2/'];
    assert.deepEqual(registry.lines('registry'), [manifest, manifest, ping, manifest]);
    const open = await serve(t);
    const client = clientFor(open);
    for (let i = 0; i < 2; i++) await refused(client.manifest('missing'), 66, /not found/);
    const missing = `GET /v2/${repository}/manifests/missing`;
    assert.deepEqual(open.lines('registry'), [missing, ping, missing]);
  });
}

test('a registry that answers several requests of a stranger with 404 is asked for one login', async (t) => {
  const registry = await serve(t, { auth: 'token', users: { me: 'secret' }, private: [repository] });
  registry.faults.add({ on: /blobs/, times: 1, status: 404, body: '{}' });
  // The second one is answered when the login is under way, the third one after it.
  registry.faults.add({ on: /blobs/, times: 1, status: 404, body: '{}', delay: 50 });
  registry.faults.add({ on: /blobs/, times: 1, status: 404, body: '{}', delay: 300 });
  registry.faults.add({ on: /GET \/v2\/$/, delay: 150 });
  const client = clientFor(registry, { credentials });
  await Promise.all([fetchBlob(client), fetchBlob(client), fetchBlob(client)]);
  assert.equal(registry.lines('registry').filter((line) => line === 'GET /v2/').length, 1);
  assert.equal(registry.lines('token').length, 1);
});

test('a document that has no authorization may come from a stage that asked nobody', async (t) => {
  const registry = await serve(t, { auth: 'token', users: { me: 'secret' }, private: [repository] });
  registry.faults.add({ on: /blobs/, times: 1, status: 404, body: '{}' });
  await fetchBlob(clientFor(registry, { authorization: null, credentials }));
});

test('a registry that refuses a manifest without a challenge is asked for one', async (t) => {
  const registry = await serve(t, { auth: 'token', users: { me: 'secret' }, private: [repository] });
  registry.faults.add({ on: /manifests/, times: 1, status: 401, body: '{}' });
  await clientFor(registry, { credentials }).manifest('latest');
});

test('an image is not called missing while the registry fails to say how to log in', async (t) => {
  const registry = await serve(t, { auth: 'token', users: { me: 'secret' }, private: [repository] });
  registry.faults.add({ on: /manifests/, status: 404, body: '{}' });
  registry.faults.add({ on: /GET \/v2\/$/, status: 503 });
  const client = clientFor(registry, { credentials, retry: { retries: 1, firstDelay: 1 } });
  for (let i = 0; i < 2; i++) await refused(client.manifest('latest'), 69, /HTTP 503/);
  assert.equal(registry.lines('registry').filter((line) => line === 'GET /v2/').length, 4);
});

test('where nothing says how to log in, nobody is sent to do so', async (t) => {
  const registry = await serve(t, { auth: 'token', users: { me: 'secret' }, private: [repository] });
  registry.faults.add({ on: /GET /, status: 401, body: '' });
  const client = clientFor(registry, { credentials });
  assert.equal(await client.login(), null);
  await assert.rejects(client.manifest('latest'), failure(77, /HTTP 401; the repository .*no WWW-Authenticate/));
});

for (const status of [405, 500]) {
  test(`a registry that answers ${status} in place of a challenge is asked for nothing more`, async (t) => {
    const registry = await serve(t);
    registry.faults.add({ on: /GET \/v2\/$/, status });
    const failed = clientFor(registry, { retry: { retries: 0 } }).login();
    await refused(failed, { 405: 76, 500: 69 }[status]!, new RegExp(`authorization for .*HTTP ${status}`));
  });
}

for (const tokenField of ['token', 'access_token'] as const) {
  test(`a token in the field ${tokenField} is taken, without expiry too`, async (t) => {
    const registry = await serve(t, { auth: 'token', tokenField, sayExpiry: false });
    const client = clientFor(registry);
    const authorization = await client.login();
    assert.match(authorization ?? '', /^Bearer /);
    await clientFor(registry, { authorization }).manifest('latest');
    assert.deepEqual(registry.lines('token'), [
      'GET /token?service=registry.test&scope=repository%3Alibrary%2Fdemo%3Apull',
    ]);
  });
}

test('a token that is empty in one field is taken from the other', async (t) => {
  const registry = await serve(t, { auth: 'token' });
  registry.faults.add({ on: /^token/, status: 200, body: '{"token":"","access_token":"abc"}' });
  assert.equal(await clientFor(registry).login(), 'Bearer abc');
});

test('the challenge is found behind others, in one header and in several', async (t) => {
  for (const challenge of [
    (normal: string) => `Negotiate, Digest realm="x", ${normal}`,
    (normal: string) => ['Negotiate', 'Basic realm="x"', normal],
  ]) {
    const registry = await serve(t, { auth: 'token', challenge });
    const client = clientFor(registry);
    assert.match((await client.login()) ?? '', /^Bearer /);
    await client.manifest('latest');
  }
});

test('a registry may challenge under whichever form of its name it is asked', async (t) => {
  const registry = await serve(t, { auth: 'token', hostname: 'localhost' });
  const origin = registry.origin.registry.replace('localhost', 'LOCALHOST');
  const client = clientFor(registry, { origin });
  assert.match((await client.login()) ?? '', /^Bearer /);
  await client.manifest('latest');
});

test('a challenge that asks for more than pulling gets a token for pulling', async (t) => {
  const scope = 'scope="repository:library/demo:push,pull registry:catalog:*"';
  const registry = await serve(t, { auth: 'token', challenge: (normal) => normal.replace(/scope="[^"]*"/, scope) });
  await clientFor(registry).manifest('latest');
  assert.deepEqual(registry.lines('token'), [
    'GET /token?service=registry.test&scope=repository%3Alibrary%2Fdemo%3Apull',
  ]);
});

/** The scope that a registry asks for in front of another one, where the repository has another name. */
const elsewhere = (normal: string) =>
  normal.replace(/scope="[^"]*"/, 'scope="repository:hub.test:5000/demo:pull,push repository:base:pull"');

test('a token is for each repository that the challenge names, since the registry may know it by another name', async (t) => {
  const registry = await serve(t, { auth: 'token', challenge: elsewhere });
  await clientFor(registry).manifest('latest');
  const [line = ''] = registry.lines('token');
  assert.deepEqual(new URL(line.slice('GET '.length), registry.origin.token).searchParams.getAll('scope'), [
    'repository:hub.test:5000/demo:pull',
    'repository:base:pull',
    'repository:library/demo:pull',
  ]);
});

test('a scope of a form that only the registry knows is asked for as it is', async (t) => {
  const challenge = (normal: string) => normal.replace(/(?:,scope="[^"]*")?$/, ',scope="aws"');
  const registry = await serve(t, { auth: 'token', challenge });
  await clientFor(registry).login();
  assert.deepEqual(registry.lines('token'), ['GET /token?service=registry.test&scope=aws']);
});

test('a repository that a registry names where none was asked for is made up', async (t) => {
  const challenge = (normal: string) => `${normal},scope="repository:user/image:pull"`;
  const registry = await serve(t, { auth: 'token', challenge });
  await clientFor(registry).login();
  assert.deepEqual(registry.lines('token'), [
    'GET /token?service=registry.test&scope=repository%3Alibrary%2Fdemo%3Apull',
  ]);
});

test('several scopes are as many parameters', async (t) => {
  const challenge = (normal: string) => normal.replace(/(?:,scope="[^"]*")?$/, ',scope="aws  more"');
  const registry = await serve(t, { auth: 'token', challenge });
  await clientFor(registry).login();
  assert.deepEqual(registry.lines('token'), ['GET /token?service=registry.test&scope=aws&scope=more']);
});

test('basic authentication uses the credentials', async (t) => {
  const registry = await serve(t, { auth: 'basic', users: { me: 'secret' } });
  const client = clientFor(registry, { credentials });
  assert.equal(await client.login(), `Basic ${Buffer.from('me:secret').toString('base64')}`);
  await client.manifest('latest');
});

test('basic authentication without credentials is denied when something is asked for, with what would help', async (t) => {
  const registry = await serve(t, { auth: 'basic', users: { me: 'secret' } });
  const client = clientFor(registry);
  assert.equal(await client.login(), null);
  await refused(
    client.manifest('latest'),
    77,
    /wants a user name.*docker login, or pass --username and --password-stdin/,
  );
});

test('what is public comes from a registry that wants a password from who asks how to ask', async (t) => {
  const registry = await serve(t);
  registry.faults.add({ on: /GET \/v2\/$/, status: 401, headers: { 'www-authenticate': 'Basic realm="x"' } });
  const token = { kind: 'refresh', username: '', token: 'abcdefgh' } as const;
  for (const login of [undefined, token]) {
    const client = clientFor(registry, { credentials: async () => login });
    assert.equal(await client.login(), null);
    await client.manifest('latest');
  }
});

test('a private repository is pulled with credentials, and denied without', async (t) => {
  const registry = await serve(t, { auth: 'token', users: { me: 'secret' }, private: [repository] });
  await refused(clientFor(registry).manifest('latest'), 77, /denied.*does not exist or needs a login/);
  await clientFor(registry, { credentials }).manifest('latest');
});

test('a token that a login has for the registry itself is used as it is', async (t) => {
  const registry = await serve(t, { auth: 'token', users: { me: 'secret' }, private: [repository] });
  const token = (await clientFor(registry, { credentials }).login())!.replace('Bearer ', '');
  const bearer = async () => ({ kind: 'bearer' as const, token });
  await clientFor(registry, { credentials: bearer }).manifest('latest');
  assert.equal(registry.lines('token').length, 1);
});

test('a wrong password is denied in the words of the token service', async (t) => {
  const registry = await serve(t, { auth: 'token', users: { me: 'secret' } });
  const { message } = await refused(
    clientFor(registry, { credentials: guessed }).login(),
    77,
    /incorrect username or password\); the login is not accepted \(-x tells where it is from\): log in again/,
  );
  assert.doesNotMatch(message, /guess/);
});

test('a registry that refuses a login is not said to need one', async (t) => {
  const registry = await serve(t, { auth: 'basic', users: { me: 'secret' } });
  const client = clientFor(registry, { credentials: guessed });
  await refused(client.manifest('latest'), 77, /denied: HTTP 401 .*; the login is not accepted/);
  registry.faults.add({ on: /manifests/, status: 403 });
  const known = clientFor(registry, { authorization: `Basic ${Buffer.from('me:secret').toString('base64')}` });
  await refused(
    known.manifest('latest'),
    77,
    /denied: HTTP 403; the repository does not exist, or the login .* not good/,
  );
});

test('a login that a token was given for, and that may not pull, is not asked for', async (t) => {
  const registry = await serve(t, { auth: 'token', users: { me: 'secret' } });
  const client = clientFor(registry, { credentials });
  registry.faults.add({ on: /^registry .*manifests/, after: 1, status: 403 });
  const unfit = /denied: HTTP 403; the repository does not exist, or the login \(-x tells .*\) is not good for it/;
  await refused(client.manifest('latest'), 77, unfit);
  registry.faults.add({ on: /^token/, status: 403, body: '{"errors":[{"code":"DENIED","message":"denied"}]}' });
  const ghcr = clientFor(registry, { credentials });
  await refused(ghcr.login(), 77, /denied: HTTP 403 \(DENIED: denied\); the repository does not exist, or the login/);
  registry.faults.clear();
  registry.faults.add({ on: /^registry .*manifests/, after: 1, status: 403 });
  await refused(clientFor(registry).manifest('latest'), 77, /does not exist or needs a login/);
});

test('what a server quotes of the credentials is not shown', async (t) => {
  const registry = await serve(t, { auth: 'token', users: { me: 'secret-password' } });
  const authorization = (await clientFor(registry).login()) ?? '';
  const secrets = [authorization.slice(7), Buffer.from('me:secret-password').toString('base64'), 'secret-password'];
  const words = JSON.stringify({ errors: [{ code: 'DENIED', message: ['not', ...secrets, 'refresh-me'].join(' ') }] });
  registry.faults.add({ on: /./, status: 403, body: words });
  for (const [client, hidden] of [
    [clientFor(registry, { authorization }), secrets.slice(0, 1)],
    [clientFor(registry, { authorization: `Basic ${secrets[1]}` }), secrets.slice(1)],
  ] as const) {
    const { message } = await refused(client.manifest('latest'), 77, /denied: HTTP 403 \(DENIED: not /);
    for (const secret of hidden) assert.ok(!message.includes(secret), message);
  }
  registry.faults.clear();
  registry.faults.add({ on: /^token/, status: 403, body: words });
  const client = clientFor(registry, { credentials: refreshing });
  const { message } = await refused(client.manifest('latest'), 77, /denied: HTTP 403 \(DENIED: not /);
  assert.doesNotMatch(message, /refresh-me/);
});

test('a refresh token is exchanged by POST', async (t) => {
  const registry = await serve(t, { auth: 'token', users: { me: 'secret' }, private: [repository] });
  registry.tokens.refreshTokens.set('refresh-me', 'me');
  await clientFor(registry, { credentials: refreshing }).manifest('latest');
  assert.deepEqual(registry.lines('token'), ['POST /token']);
});

test('a refresh token gets the scopes of several repositories as one list', async (t) => {
  const registry = await serve(t, { auth: 'token', challenge: elsewhere });
  registry.tokens.refreshTokens.set('refresh-me', 'me');
  await clientFor(registry, { credentials: refreshing }).manifest('latest');
  assert.deepEqual(registry.lines('token'), ['POST /token']);
});

test('a refresh token does not follow a redirect', async (t) => {
  const registry = await serve(t, { auth: 'token', users: { me: 'secret' } });
  registry.faults.add({ on: /^token POST/, status: 307, headers: { location: `${registry.origin.cdn}/token` } });
  await refused(clientFor(registry, { credentials: refreshing }).login(), 76, /HTTP 307/);
  assert.deepEqual(registry.lines('cdn'), []);
});

for (const status of [400, 401, 404, 405]) {
  test(`a token service that answers POST with ${status} gets the refresh token by GET`, async (t) => {
    const registry = await serve(t, { auth: 'token', users: { me: 'refresh-me' }, private: [repository] });
    registry.faults.add({ on: /^token POST/, status, body: '{"errors":[{"code":"UNSUPPORTED"}]}' });
    await clientFor(registry, { credentials: refreshing }).manifest('latest');
    assert.deepEqual(
      registry.lines('token').map((line) => line.slice(0, 4)),
      ['POST', 'GET '],
    );
  });
}

test('a token that expires in mid-pull is renewed once for all that need it', async (t) => {
  const registry = await serve(t, { auth: 'token' });
  const client = clientFor(registry);
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
  ['for a minute when the service says what is not a time', { sayExpiry: -1 }, 60],
] as const) {
  test(`a token is used ${what}, and renewed before it is refused`, async (t) => {
    const registry = await serve(t, { auth: 'token', ...options });
    let now = 0;
    t.mock.method(process, 'uptime', () => now);
    const client = clientFor(registry);
    const manifests = () => Promise.all([1, 2, 3].map(() => client.manifest('latest')));
    await client.manifest('latest');
    now = seconds * 0.85;
    await manifests();
    assert.equal(registry.lines('token').length, 1);
    now = seconds * 0.95;
    registry.tokens.expireAll();
    const before = registry.lines('registry').length;
    await manifests();
    assert.equal(registry.lines('token').length, 2);
    assert.equal(registry.lines('registry').length - before, 3, 'no request was refused');
  });
}

test('a token that cannot be renewed in time is used until it is refused', async (t) => {
  const registry = await serve(t, { auth: 'token', lifetime: 300 });
  let now = 0;
  t.mock.method(process, 'uptime', () => now);
  const client = clientFor(registry, { retry: { retries: 0 } });
  await client.manifest('latest');
  registry.faults.add({ on: /^token/, status: 503, times: 2, body: '' });
  now = 295;
  await Promise.all([client.manifest('latest'), client.manifest('latest')]);
  assert.equal(registry.lines('token').length, 2, 'one request for both');
  registry.tokens.expireAll();
  await refused(client.manifest('latest'), 69, /HTTP 503/);
  await client.manifest('latest');
  assert.equal(registry.lines('token').length, 4);
});

test('a token that is refused for ever is not renewed for ever', async (t) => {
  const registry = await serve(t, { auth: 'token', private: [repository] });
  await refused(clientFor(registry).manifest('latest'), 77, /denied/);
  assert.equal(registry.lines('token').length, 1);
});

for (const [what, fault, status, why] of [
  ['401', { status: 401, body: '{}' }, 77, /denied: HTTP 401/],
  ['nonsense', { status: 200, body: 'hello' }, 76, /answer is not JSON/],
  ['JSON without a token', { status: 200, body: '{"token":""}' }, 76, /no usable token/],
  ['a token of the wrong type', { status: 200, body: '{"token":42}' }, 76, /no usable token/],
  ['a token with a line break', { status: 200, body: '{"token":"a\\r\\nX-Evil: 1"}' }, 76, /no usable token/],
  ['a token with a space', { status: 200, body: '{"token":"a b"}' }, 76, /no usable token/],
  ['an endless body', { status: 200, body: filler(2 << 20, 32) }, 76, /longer than 1048576 bytes/],
  ['HTTP 500', { status: 500, body: '' }, 69, /HTTP 500/],
] as const) {
  test(`a token service that answers ${what} ends with status ${status}`, async (t) => {
    const registry = await serve(t, { auth: 'token' });
    registry.faults.add({ on: /^token/, ...fault });
    await refused(clientFor(registry).login(), status, why);
  });
}

test('a token may have any characters that can be seen', async (t) => {
  const registry = await serve(t, { auth: 'token' });
  registry.faults.add({ on: /^token/, status: 200, body: '{"token":"perm:a|b=="}' });
  assert.equal(await clientFor(registry).login(), 'Bearer perm:a|b==');
});

for (const realm of ['http://', 'ftp://x/token', 'token', 'file:///etc/passwd']) {
  test(`a challenge with the realm ${realm} is a breach of the protocol`, async (t) => {
    const registry = await serve(t, { auth: 'token', challenge: () => `Bearer realm="${realm}",service="x"` });
    await refused(clientFor(registry).login(), 76, /token service|private network/);
  });
}

test('a challenge that names no token service is called that', async (t) => {
  const registry = await serve(t, { auth: 'token', challenge: () => 'Bearer service="x"' });
  await refused(clientFor(registry).login(), 76, /its challenge names no token service/);
});

test('an unknown way to authenticate is named', async (t) => {
  const registry = await serve(t, { auth: 'token', challenge: () => 'Negotiate' });
  await refused(clientFor(registry).login(), 76, /by negotiate, not Bearer or Basic/);
});
