/** What a pull shows: traces, progress and warnings, and never a secret. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { hostArchitecture, image, layer, put } from '../support/image.js';
import { repository, world } from '../support/pull.js';
import type { RegistryOptions } from '../support/registry.js';
import { jsonLines } from '../support/run.js';
import { TestTerminal } from '../support/terminal.js';

test('-x shows every exchange and no secret', async (t) => {
  const { run, registry } = await world(t, { auth: 'token', redirectBlobs: 307 });
  const traced = await run('(md-token -x "$1" | md-manifest -x | md-fetch-layer -x) 2>&1 >/dev/null');
  const requests = traced.stdout.match(/^> \[[0-9]+\] [A-Z]+ .* HTTP\/1\.1$/gm) ?? [];
  assert.equal(requests.length, registry.requests.length);
  assert.match(traced.stdout, /^> \[[0-9]+\] authorization: Bearer \*\*\*$/m);
  for (const { headers, url } of registry.requests) {
    const secrets = [headers.authorization?.replace('Bearer ', ''), /signature=([^&]+)/.exec(url)?.[1]];
    for (const secret of secrets) assert.ok(!secret || !traced.stdout.includes(secret), secret);
  }
});

test('-x shows no token, cookie or login that a registry sends', async (t) => {
  const { run, registry } = await world(t);
  const document = jsonLines((await run('md-token "$1"')).stdout)[0];
  const headers = {
    'x-echo': 'Bearer c2VjcmV0LXRva2Vu',
    'set-cookie': 'session=b3RoZXI',
    link: '</v2/>; rel="up", <http://me:b3RoZXI@host/v2/?next=b3RoZXI>; rel="next"',
  };
  registry.faults.add({ on: /manifests/, headers });
  const line = JSON.stringify({ ...document, authorization: 'Bearer c2VjcmV0LXRva2Vu' });
  const { stderr } = await run(`printf '%s\\n' '${line}' | md-manifest -x`);
  assert.match(stderr, /^< \[[0-9]+\] x-echo: Bearer \*\*\*$/m);
  assert.match(stderr, /^< \[[0-9]+\] set-cookie: \*\*\*$/m);
  assert.match(stderr, /^< \[[0-9]+\] link: .*, <http:\/\/\*\*\*@host\/v2\/\?next=\*\*\*$/m);
  assert.doesNotMatch(stderr, /c2VjcmV0LXRva2Vu|b3RoZXI/);
});

test('-x shows no password, signature or fragment of a redirect', async (t) => {
  const { run, registry } = await world(t);
  const path = `${registry.host}/v2/${repository}/manifests/latest?c2VjcmV0#c2VjcmV0`;
  for (const url of [`http://me:c2VjcmV0@${path}`, `//me:c2VjcmV0@${path}`]) {
    registry.faults.clear();
    registry.faults.add({ on: /manifests/, times: 1, status: 307, headers: { location: url } });
    registry.faults.add({ on: /manifests.latest/, times: 1, headers: { 'x-echo': 'latest?c2VjcmV0' } });
    const { stderr } = await run('md-token "$1" | md-manifest -x');
    assert.match(stderr, /^< \[[0-9]+\] location: .*\/\/\*\*\*@.*\/latest\?\*\*\*/m);
    assert.match(stderr, /^< \[[0-9]+\] x-echo: latest\?\*\*\*$/m);
    assert.doesNotMatch(stderr, /c2VjcmV0/);
  }
  registry.faults.clear();
  registry.faults.add({ on: /manifests/, times: 1, status: 307, headers: { location: 'latest#c2VjcmV0' } });
  const { stderr } = await run('md-token "$1" | md-manifest -x');
  assert.match(stderr, /^< \[[0-9]+\] location: latest#\*\*\*$/m);
});

test('--progress json tells of each layer on stderr', async (t) => {
  const { run } = await world(t);
  const { stderr } = await run('md-token "$1" | md-manifest | md-fetch-layer --progress json');
  const done = jsonLines(stderr).filter((line) => (line.progress as { done: boolean }).done);
  assert.equal(done.length, 3);
});

test('on a terminal each layer has a bar with its speed and the time that is left', async (t) => {
  const { run, registry, home } = await world(t);
  const random = layer([{ name: 'random', data: randomBytes(600_000) }], { compression: 'none' });
  await put(registry, repository, ['latest'], image({ layers: [random] }));
  writeFileSync(join(home, 'document'), (await run('md-token "$1" | md-manifest')).stdout);
  registry.faults.add({ on: /blobs/, bytesPerSecond: 500_000 });
  const script = 'md-fetch-layer <"$MD_HOME/document" >/dev/null; echo "status $?"';
  const terminal = new TestTerminal(t, { argv: ['sh', '-c', script], env: { MD_HOME: home }, columns: 120 });
  const short = random.descriptor.digest.slice(7, 19);
  await terminal.see(new RegExp(`fetch ${short} \\[=+ +\\] [0-9.]+ kB/60[0-9.]+ kB [0-9.]+ .?B/s [0-9]+ s`));
  await terminal.see(new RegExp(`fetch ${short} 60[0-9.]+ kB in [0-9.]+ s`));
  await terminal.see('status 0');
});

test('on a terminal a failure is told to people alone', async (t) => {
  const terminal = new TestTerminal(t, { argv: ['sh', '-c', 'md-token ""; echo "status $?"'] });
  await terminal.see('status 64');
  assert.doesNotMatch(terminal.screen, /"error"/);
});

test('on a terminal that does not know its width no line is cut', async (t) => {
  const { registry, home } = await world(t);
  const script = `md-fetch-layer "${registry.image(repository)}" >/dev/null; echo "status $?"`;
  const terminal = new TestTerminal(t, { argv: ['sh', '-c', script], env: { MD_HOME: home }, columns: 0 });
  await terminal.see(/fetch [0-9a-f]{12} [0-9.]+ k?B in [0-9.]+ s\W/);
  await terminal.see('status 0');
});

test('on a terminal that cannot move its cursor there is no bar', async (t) => {
  const { registry, home } = await world(t);
  const script = `md-fetch-layer "${registry.image(repository)}" >/dev/null; echo "status $?"`;
  const terminal = new TestTerminal(t, { argv: ['sh', '-c', script], env: { MD_HOME: home, TERM: 'dumb' } });
  await terminal.see('status 0');
  assert.equal(terminal.screen.trim(), 'status 0');
});

for (const [what, to, line] of [
  ['a warning', '>/dev/null', /: it is for linux\/\S+, not linux\/\S+\r\n/],
  ['the document', '', /\{"image":.*\}\r\n/],
  ['a layer', '', /\{"layer":.*\}\r\n/],
] as const) {
  test(`on a terminal no bar is drawn over ${what}`, async (t) => {
    const { registry, home } = await world(t);
    const layers = ['a', 'b'].map((name, i) =>
      layer([{ name, data: randomBytes(600_000 + i * 600_000) }], { compression: 'none' }),
    );
    const other = image({ layers, architecture: hostArchitecture === 's390x' ? 'amd64' : 's390x' });
    await put(registry, repository, ['other'], other);
    registry.faults.add({ on: new RegExp(other.config.descriptor.digest), delay: 300 });
    registry.faults.add({ on: /blobs/, bytesPerSecond: 500_000 });
    const script = `md-fetch-layer "${registry.image(repository)}:other" ${to}; echo "status $?"`;
    const terminal = new TestTerminal(t, { argv: ['sh', '-c', script], env: { MD_HOME: home }, columns: 120 });
    await terminal.see('fetch ');
    await terminal.see(line);
    const end = await terminal.see('status 0');
    // Rows below the line; ESC [ N A goes up by N.
    let row = 0;
    for (const [, up, down] of end.input.slice(0, end.index).matchAll(/\[([0-9]+)A|(\n)/g)) {
      row += down ? 1 : -Number(up);
      assert.ok(row >= 0, JSON.stringify(end.input));
    }
  });
}

test('the quota of pulls is told when it is near its end, and not before', async (t) => {
  const { run, registry } = await world(t);
  const script = 'md-token "$1" | md-manifest';
  for (const [remaining, told] of [
    ['3', /^md-manifest: 127\.0\.0\.1:[0-9]+\/library\/demo: 3 of 100 pulls are left; a login may give more\n$/],
    ['50', /^$/],
  ] as const) {
    registry.faults.clear();
    const headers = { 'ratelimit-limit': '100;w=21600', 'ratelimit-remaining': `${remaining};w=21600` };
    registry.faults.add({ on: /manifests\/latest/, headers });
    assert.match((await run(script)).stderr, told);
  }
});

test('what a registry has to say to people is told once, and what others put into the same header is not', async (t) => {
  const { run, registry } = await world(t, { redirectBlobs: 307 });
  const said = ['299 - "old image: \\"demo\\"", 110 cache "stale"', '299 - "a second", 299 - ""'];
  registry.faults.add({ on: /^registry/, headers: { warning: said } });
  registry.faults.add({ on: /^cdn/, headers: { warning: '299 - "from elsewhere"' } });
  const { stderr, status } = await run('md-fetch-layer "$1"');
  assert.equal(status, 0, stderr);
  const lines = ['old image: "demo"', 'a second'].map((text) => `the registry says: ${text}`);
  assert.deepEqual(
    stderr.trim().split('\n'),
    lines.map((line) => `md-fetch-layer: ${registry.host}/library/demo: ${line}`),
  );
});

test('a registry that has more to say than is allowed, quotes a password or clears the screen, is not told to the letter', async (t) => {
  const { run, registry } = await world(t, { auth: 'basic', users: { me: 'pass word' } });
  const warning = `299 - "${'x'.repeat(4097)}", 299 - "hello pass word, \u009b2J"`;
  registry.faults.add({ on: /manifests/, headers: { warning } });
  const { stderr, status } = await run('printf "pass word" | md-token -u me --password-stdin "$1" | md-manifest');
  assert.equal(status, 0, stderr);
  assert.match(stderr, /^md-manifest: \S+: the registry says: hello \*\*\*, \\x9b2J$/m);
  assert.doesNotMatch(stderr, /xx|pass word/);
});

test('no secret is in the store, the tree, its document, a trace, or an error with its cause', async (t) => {
  const options: RegistryOptions = { auth: 'token', users: { me: 'pass word' }, private: [repository] };
  const { run, registry, home } = await world(t, { ...options, redirectBlobs: 307 });
  const script = (tree: string) => `printf 'pass word' | md-token -x -u me --password-stdin "$1" | md-manifest -x |
    md-fetch-layer -x --progress json | md-unpack -x "${tree}"`;
  const pulled = await run(script(join(home, 'tree')), { MD_DEBUG: '1' });
  assert.equal(pulled.status, 0, pulled.stderr);
  registry.faults.add({ on: /blobs/, status: 403, body: '' });
  const env = { MD_DEBUG: '1', MD_HOME: join(home, 'second') };
  const failed = await run(script(join(home, 'other')), env);
  assert.equal(failed.status, 77, failed.stderr);
  assert.match(failed.stderr, /^ +at /m, 'with the stack');
  const sent = registry.requests.flatMap(({ headers, url }) => [
    headers.authorization?.replace(/^\w+ /, ''),
    /signature=([^&]+)/.exec(url)?.[1],
  ]);
  const secrets = ['pass word', ...new Set(sent.filter((it) => it !== undefined))];
  assert.ok(secrets.length > 4);
  const kept = readdirSync(home, { recursive: true, withFileTypes: true })
    .filter((it) => it.isFile())
    .map((it) => readFileSync(join(it.parentPath, it.name), 'latin1'));
  assert.ok(kept.length > 5);
  for (const text of [pulled.stdout, pulled.stderr, failed.stdout, failed.stderr, ...kept]) {
    for (const secret of secrets) assert.ok(!text.includes(secret), secret);
  }
});

test('short warnings do not fill the screen of whoever waits for an image', async (t) => {
  const { run, registry } = await world(t);
  const warning = Array.from({ length: 500 }, (_, i) => `299 - "${i}"`).join(', ');
  registry.faults.add({ on: /manifests/, headers: { warning } });
  const { stderr, status } = await run('md-fetch-layer "$1"');
  assert.equal(status, 0, stderr);
  assert.match(stderr, /: the registry says: 0\n/);
  assert.ok(stderr.length < 8192, `${stderr.length} characters`);
});
