import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { digestOf } from '../support/content.js';
import { type Registry, registryFor } from '../support/registry.js';
import { afterwards, killAfterwards, needs, needsRoot, scratch, shell } from '../support/run.js';
import { tarball } from '../support/tar.js';
import { describeTree } from '../support/tree.js';

async function pullToken(registry: Registry, repository: string, headers: Record<string, string> = {}) {
  const query = new URLSearchParams({ service: 'registry.test', scope: `repository:${repository}:pull` });
  const response = await fetch(`${registry.origin.token}/token?${query}`, { headers });
  return { status: response.status, body: (await response.json()) as { token: string; expires_in: number } };
}

test('a registry with tokens challenges, and opens to the token that its service hands out until that expires', async (t) => {
  const registry = await registryFor(t, { auth: 'token' });
  await registry.addManifest('demo', ['latest'], '{}', 'application/json');
  const url = `${registry.origin.registry}/v2/demo/manifests/latest`;
  const closed = await fetch(url);
  assert.equal(closed.status, 401);
  const challenge = `Bearer realm="${registry.origin.token}/token",service="registry.test",scope="repository:demo:pull"`;
  assert.equal(closed.headers.get('www-authenticate'), challenge);
  const { body } = await pullToken(registry, 'demo');
  const headers = { authorization: `Bearer ${body.token}` };
  assert.equal((await fetch(url, { headers })).status, 200);
  registry.tokens.expireAll();
  assert.equal((await fetch(url, { headers })).status, 401);
});

test('a private repository opens only to the token of a user', async (t) => {
  const registry = await registryFor(t, { auth: 'token', users: { ann: 'secret' }, private: ['demo'] });
  await registry.addManifest('demo', ['latest'], '{}', 'application/json');
  const url = `${registry.origin.registry}/v2/demo/manifests/latest`;
  const status = async (credentials: Record<string, string>) => {
    const { body } = await pullToken(registry, 'demo', credentials);
    return (await fetch(url, { headers: { authorization: `Bearer ${body.token}` } })).status;
  };
  const basic = (text: string) => ({ authorization: `Basic ${Buffer.from(text).toString('base64')}` });
  assert.equal(await status({}), 401);
  assert.equal(await status(basic('ann:secret')), 200);
  assert.equal((await pullToken(registry, 'demo', basic('ann:wrong'))).status, 401);
});

test('a refresh token buys an access token by POST', async (t) => {
  const registry = await registryFor(t, { auth: 'token', users: { ann: 'secret' } });
  registry.tokens.refreshTokens.set('r1', 'ann');
  const form = {
    grant_type: 'refresh_token',
    refresh_token: 'r1',
    service: 'registry.test',
    scope: 'repository:a:pull',
  };
  const post = (fields: Record<string, string>) =>
    fetch(`${registry.origin.token}/token`, { method: 'POST', body: new URLSearchParams(fields) });
  const { access_token } = (await (await post(form)).json()) as { access_token: string };
  assert.ok(registry.tokens.permits(`Bearer ${access_token}`, 'a', 'pull'));
  assert.equal((await post({ ...form, refresh_token: 'other' })).status, 401);
});

test('the CDN serves a signed link, and refuses credentials and a link of another registry', async (t) => {
  const registry = await registryFor(t, { redirectBlobs: 307 });
  const { digest } = await registry.addBlob('content');
  const url = `${registry.origin.registry}/v2/demo/blobs/${digest}`;
  const redirect = await fetch(url, { redirect: 'manual' });
  assert.equal(redirect.status, 307);
  const link = redirect.headers.get('location')!;
  assert.equal(await (await fetch(link)).text(), 'content');
  assert.equal((await fetch(link, { headers: { authorization: 'Bearer x' } })).status, 400);
  const other = await registryFor(t, { redirectBlobs: 307 });
  await other.addBlob('content');
  assert.equal((await fetch(link.replace(registry.origin.cdn, other.origin.cdn))).status, 403);
});

test('a range is served as asked, and wrongly when a fault says so', async (t) => {
  const registry = await registryFor(t);
  const { digest } = await registry.addBlob('0123456789');
  const get = async (range: string) => {
    const response = await fetch(`${registry.origin.registry}/v2/demo/blobs/${digest}`, { headers: { range } });
    return [response.status, response.headers.get('content-range'), await response.text()];
  };
  assert.deepEqual(await get('bytes=2-4'), [206, 'bytes 2-4/10', '234']);
  assert.deepEqual(await get('bytes=10-'), [416, 'bytes */10', '']);
  for (const range of ['ignored', 'wrong-start', 'wrong-total', 'refused'] as const) {
    registry.faults.add({ on: /blobs/, times: 1, range });
  }
  assert.deepEqual(await get('bytes=2-4'), [200, null, '0123456789']);
  assert.deepEqual(await get('bytes=2-4'), [206, 'bytes 3-4/10', '234']);
  assert.deepEqual(await get('bytes=2-4'), [206, 'bytes 2-4/11', '234']);
  assert.deepEqual(await get('bytes=2-4'), [416, 'bytes */10', '']);
  assert.deepEqual(await get('bytes=2-4'), [206, 'bytes 2-4/10', '234']);
});

test('a run that takes too long is killed with its children', async () => {
  const result = await shell('sleep 60 & wait', [], { timeout: 200 });
  assert.deepEqual([result.timedOut, result.signal], [true, 'SIGKILL']);
});

test('the tar writer makes what GNU tar reads back', { skip: needs('tar', 'getfattr') || needsRoot }, async (t) => {
  const directory = scratch(t);
  const long = `d/${'n'.repeat(200)}`;
  const archive = tarball([
    { name: 'd/', type: 'directory', mode: 0o1750, uid: 3_000_000_000, gid: 7, mtime: 1_600_000_000.25 },
    { name: long, data: 'long', mode: 0o4755, mtime: 12.5, xattrs: { 'user.note': Buffer.from([0, 10, 255]) } },
    { name: 'd/link', type: 'symlink', linkname: '../../x', mtime: 5 },
    { name: 'd/hard', type: 'link', linkname: long },
    { name: 'null', type: 'char', major: 1, minor: 3, mode: 0o666 },
  ]);
  writeFileSync(join(directory, 'a.tar'), archive);
  const root = join(directory, 'root');
  const flags = ['--xattrs', '--xattrs-include=*', '--numeric-owner', '-p', '-C', root];
  const result = await shell('mkdir "$1" && shift && tar -xf "$@"', [root, join(directory, 'a.tar'), ...flags]);
  assert.equal(result.status, 0, result.stderr);
  const tree = describeTree(root);
  assert.deepEqual(tree.get('d'), {
    type: 'directory',
    mode: '1750',
    owner: '3000000000:7',
    mtime: '1600000000.250000000',
  });
  assert.deepEqual(tree.get(long), {
    type: 'file',
    mode: '4755',
    owner: '0:0',
    mtime: '12.500000000',
    links: `2: d/hard ${long}`,
    content: `4 ${digestOf('long')}`,
    xattrs: 'user.note=0x000aff',
  });
  assert.equal(tree.get('d/link')?.target, '../../x');
  assert.equal(tree.get('null')?.device, '1:3');
});

test('what a test cleans up afterwards ends in reverse, also behind a failure', async () => {
  const order: string[] = [];
  const hooks: (() => Promise<void>)[] = [];
  const t = { after: (hook: () => Promise<void>) => hooks.push(hook) } as unknown as TestContext;
  afterwards(t, () => order.push('made first'));
  afterwards(t, () => {
    order.push('made second');
    throw new Error('not empty');
  });
  const child = spawn('sleep', ['1000']);
  killAfterwards(t, child);
  assert.equal(hooks.length, 1);
  await assert.rejects(hooks[0]!(), /not empty/);
  assert.deepEqual(order, ['made second', 'made first']);
  assert.equal(child.signalCode, 'SIGKILL');
});
