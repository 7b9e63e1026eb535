/** Mirrors of a registry. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { filler } from '../support/content.js';
import { put } from '../support/image.js';
import { heldPort } from '../support/ports.js';
import { dockerConfig, repository, succeeded, world } from '../support/pull.js';
import { registryFor } from '../support/registry.js';
import { md } from '../support/run.js';

test('a mirror is asked first, and the registry not at all', async (t) => {
  const { run, registry } = await world(t);
  const script = `md-token --mirror ${registry.host} docker.io/library/demo | md-manifest | md-fetch-layer`;
  const [document] = succeeded(await run(script));
  assert.equal(document?.image, 'docker.io/library/demo:latest');
});

test('a mirror may have images of the registry below a path', async (t) => {
  const { run, registry, built } = await world(t);
  await put(registry, `proxy/hub/${repository}`, ['latest'], built);
  const before = registry.requests.length;
  for (const mirror of [`${registry.host}/proxy/hub`, `http://${registry.host}/proxy/hub/`]) {
    succeeded(await run(`md-token --mirror ${mirror} docker.io/library/demo | md-manifest | md-fetch-layer`));
  }
  const paths = registry.requests.slice(before).map(({ url }) => url);
  assert.ok(paths.some((path) => path.endsWith('/manifests/latest')));
  assert.ok(paths.every((path) => path === '/v2/' || path.startsWith(`/v2/proxy/hub/${repository}/`)));
});

for (const [what, fault] of [
  ['is down', { status: 503 }],
  ['has no such image', { status: 404 }],
  ['sends the wrong bytes', { status: 200, body: filler(100) }],
  ['sends a web page', { status: 200, body: '<html></html>', headers: { 'content-type': 'text/html' } }],
  ['sends JSON that is no manifest', { status: 200, body: '{"errors":[]}' }],
  ['sends half a manifest', { status: 200, body: '{"schemaVersion":2,"layers":[{}]}' }],
  ['sends JSON that is no object', { status: 200, body: '[{"manifests":[]}]' }],
  ['wants a login', { status: 401 }],
] as const) {
  test(`behind a mirror that ${what} is the registry`, async (t) => {
    const { run } = await world(t);
    const mirror = await registryFor(t);
    mirror.faults.add({ on: /manifests|blobs/, ...fault });
    const result = await run(`md-token --retries 0 --mirror ${mirror.host} "$1" | md-manifest | md-fetch-layer`);
    assert.equal(succeeded(result).length, 4);
    assert.match(result.stderr, /mirror .*; going on to the next/);
    assert.ok(mirror.requests.length > 0);
  });
}

test('-x shows each exchange once, with a mirror as well', async () => {
  // Nothing listens there.
  const { stderr } = await md('md-token', ['-x', '--retries', '0', '--mirror', 'localhost:1', 'localhost:2/x']);
  const tried = [...stderr.matchAll(/^\* connecting to (\S+): /gm)].map(([, origin]) => origin);
  assert.deepEqual(tried, ['http://localhost:1', 'http://localhost:2']);
});

test('a mirror gets its own login, and never the one for the registry', async (t) => {
  const { run, registry, home } = await world(t, { auth: 'basic', users: { me: 'pass word' } });
  const mirror = await registryFor(t, { auth: 'basic', users: { other: 'secret' } });
  const login = `echo 'pass word' | md-token -u me --password-stdin "$1"`;
  const config = (logins: [string, string][]) => {
    const auths = logins.map(([host, user]) => [host, { auth: Buffer.from(user).toString('base64') }]);
    return dockerConfig(home, { auths: Object.fromEntries(auths) });
  };
  const sent = () => mirror.requests.splice(0).map(({ headers }) => headers.authorization);
  const own: [string, string] = [registry.host, 'me:pass word'];
  for (const [script, env] of [
    [`${login} --mirror ${mirror.host} | md-manifest`, {}],
    [`${login} | md-manifest --mirror ${mirror.host}`, {}],
    [`md-token --mirror ${mirror.host} "$1" | md-manifest`, config([own])],
  ] as const) {
    succeeded(await run(script, env));
    const all = sent();
    assert.ok(all.length > 0 && all.every((it) => it === undefined), script);
  }
  await run(`md-token --mirror ${mirror.host} "$1" | md-manifest`, config([own, [mirror.host, 'other:secret']]));
  assert.ok(sent().includes(`Basic ${Buffer.from('other:secret').toString('base64')}`));
});

test('a mirror that is down is tried once, and the registry as often as ever', async (t) => {
  const { run } = await world(t);
  const down = `127.0.0.1:${await heldPort(t)}`;
  const attempts = async (flags: string, name: string) =>
    (await run(`md-token -x --retries 1 ${flags} ${name}`)).stderr.match(/connecting to .*/g)?.length;
  assert.equal(await attempts(`--mirror ${down}`, '"$1"'), 1);
  assert.equal(await attempts('', `${down}/x/y`), 2);
});

for (const [what, fault, flags] of [
  ['asks to come back later', { status: 429, headers: { 'retry-after': '20' } }, ''],
  ['does not answer', { silent: true }, '--header-timeout 1'],
] as const) {
  test(`a mirror that ${what} is not waited for, since the registry is at hand`, async (t) => {
    const { run } = await world(t);
    const mirror = await registryFor(t);
    mirror.faults.add({ on: /manifests|blobs/, ...fault });
    succeeded(await run(`md-token ${flags} --mirror ${mirror.host} "$1" | md-manifest | md-fetch-layer`));
    const { length } = mirror.requests.filter(({ url }) => url.includes('/manifests/'));
    assert.equal(length, 1);
  });
}
