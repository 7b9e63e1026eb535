/** `md-token | md-manifest | md-fetch-layer` as processes, against the embedded registry. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { filler } from '../support/content.js';
import { attestation, type BuiltImage, hostArchitecture, image, index, layer, put } from '../support/image.js';
import { startProxy } from '../support/proxy.js';
import { type Registry, type RegistryOptions, registryFor, startRegistry } from '../support/registry.js';
import { afterwards, cleanEnv, jsonLines, md, needs, needsRoot, type Result, scratch, shell } from '../support/run.js';
import { TestTerminal } from '../support/terminal.js';
import { makeCa } from '../support/tls.js';

const repository = 'library/demo';
const pull = 'md-token "$1" | md-manifest | md-fetch-layer';

interface World {
  registry: Registry;
  built: BuiltImage;
  home: string;
  image: string;
  run(script?: string, env?: Record<string, string>): Promise<Result>;
}

async function world(t: TestContext, options: RegistryOptions = {}): Promise<World> {
  const registry = await registryFor(t, options);
  const layers = ['a', 'b', 'c'].map((name) => layer([{ name, data: name.repeat(100_000) }]));
  const built = image({ layers, run: { Cmd: ['/bin/sh'], Env: ['A=1'] } });
  await put(
    registry,
    repository,
    ['latest'],
    index([image({ layers, architecture: 's390x' }), built, attestation(built)]),
  );
  const home = scratch(t);
  const name = `${registry.host}/${repository}`;
  const run = (script = pull, env = {}) => shell(script, [name], { env: { MD_HOME: home, ...env } });
  return { registry, built, home, image: name, run };
}

function succeeded({ status, stdout, stderr }: Result): Record<string, unknown>[] {
  assert.equal(status, 0, stderr);
  return jsonLines(stdout);
}

function errorOf({ stdout }: Result): { command: string; code: number; message: string; [key: string]: unknown } {
  return jsonLines(stdout).at(-1)?.error as ReturnType<typeof errorOf>;
}

test('each stage adds its fields and passes on those that it does not know', async (t) => {
  const { run, built, registry, image: name } = await world(t, { auth: 'token' });
  const lines = succeeded(
    await run(`md-token "$1" | jq -c '. + {mine: 1}' | md-manifest | jq -c '. + {also: 2}' | md-fetch-layer`),
  );
  const [document = {}, ...rest] = lines;
  assert.deepEqual(
    { ...document, manifest: undefined, config: undefined },
    {
      image: `${name}:latest`,
      registry: registry.host,
      repository,
      reference: 'latest',
      mine: 1,
      platform: built.platform,
      digest: built.descriptor.digest,
      mediaType: built.descriptor.mediaType,
      manifest: undefined,
      config: undefined,
      also: 2,
    },
  );
  assert.deepEqual((document.config as { config: object }).config, { Cmd: ['/bin/sh'], Env: ['A=1'] });
  const layers = rest.map((line) => line.layer as Record<string, unknown>);
  assert.deepEqual(
    layers.map((it) => it.index),
    [0, 1, 2],
  );
  assert.deepEqual(
    layers.map((it) => it.digest),
    built.layers.map((it) => it.descriptor.digest),
  );
  assert.deepEqual(
    layers.map((it) => it.diffID),
    built.layers.map((it) => it.diffID),
  );
  for (const [i, it] of layers.entries()) assert.deepEqual(readFileSync(String(it.path)), built.layers[i]!.bytes);
});

test('nothing is written to stderr when nothing is wrong and it is no terminal', async (t) => {
  const { run } = await world(t, { auth: 'token' });
  assert.equal((await run()).stderr, '');
});

test('the authorization does not go below md-fetch-layer', async (t) => {
  const { run } = await world(t, { auth: 'token' });
  const [token] = succeeded(await run('md-token "$1"'));
  const secret = String(token?.authorization).replace('Bearer ', '');
  const { stdout } = await run();
  assert.ok(secret.length > 10 && !stdout.includes(secret) && !stdout.includes('authorization'));
});

test('layers are announced in order, each as soon as it and those before it are there', async (t) => {
  const { registry, built, home, image: name } = await world(t);
  const [, second] = built.layers;
  registry.faults.add({ on: new RegExp(second!.descriptor.digest), delay: 1500 });
  const pipe = spawn('sh', ['-c', pull, 'sh', name], { env: { ...cleanEnv(), MD_HOME: home } });
  let text = '';
  let seenEarly = -1;
  pipe.stdout.on('data', (chunk) => {
    text += chunk;
    const lines = text.split('\n').length - 1;
    if (seenEarly < 0 && lines >= 2)
      setTimeout(() => {
        seenEarly = text.split('\n').length - 1;
      }, 200);
  });
  await once(pipe, 'close');
  assert.equal(seenEarly, 2, 'the first layer was announced before the second one had come, the third not before it');
  assert.equal(jsonLines(text).length, 4);
});

test('a second pull asks for nothing but the tag', async (t) => {
  const { run, registry } = await world(t);
  const first = succeeded(await run());
  const before = registry.requests.length;
  assert.deepEqual(succeeded(await run()), first);
  assert.deepEqual(
    registry.requests.slice(before).map(({ method, url }) => `${method} ${url}`),
    ['GET /v2/', `GET /v2/${repository}/manifests/latest`],
  );
});

test('the same layer twice is fetched once and announced twice', async (t) => {
  const { run, registry } = await world(t);
  const one = layer([{ name: 'x', data: 'x' }]);
  await put(registry, repository, ['latest'], image({ layers: [one, one] }));
  const lines = succeeded(await run());
  assert.deepEqual(
    lines.slice(1).map((line) => (line.layer as { index: number }).index),
    [0, 1],
  );
  assert.equal(registry.lines('registry').filter((line) => line.includes(one.descriptor.digest)).length, 1);
});

const indexOf = (home: string) =>
  JSON.parse(readFileSync(join(home, 'oci/index.json'), 'utf8')).manifests as { digest: string }[];

test('a document that was made on another machine is fetched all the same, and enters the index whole', async (t) => {
  const { run, built, home } = await world(t, { auth: 'token' });
  const document = (await run('md-token "$1" | md-manifest')).stdout;
  const other = scratch(t);
  succeeded(await shell('md-fetch-layer', [], { stdin: document, env: { MD_HOME: other } }));
  assert.deepEqual(
    indexOf(other).map(({ digest }) => digest),
    [built.descriptor.digest],
  );
  for (const { digest } of [built.descriptor, built.config.descriptor])
    assert.ok(readFileSync(join(other, 'oci/blobs', digest.replace(':', '/'))).length > 0);
  assert.deepEqual(indexOf(home), []);
});

test('an image of which somebody took layers out on the way does not enter the index', async (t) => {
  const { run, home } = await world(t);
  const some = `jq -c '.manifest.layers |= .[:1] | .config.rootfs.diff_ids |= .[:1]'`;
  assert.equal(succeeded(await run(`md-token "$1" | md-manifest | ${some} | md-fetch-layer`)).length, 2);
  assert.deepEqual(indexOf(home), []);
});

test('an image without layers is an image', async (t) => {
  const { run, registry } = await world(t);
  await put(registry, repository, ['latest'], image({ layers: [] }));
  assert.equal(succeeded(await run()).length, 1);
  // As programs in Go write it.
  const [manifest, config] = [{ layers: null }, { rootfs: { type: 'layers' } }];
  await put(registry, repository, ['latest'], image({ layers: [], manifest, config }));
  assert.equal(succeeded(await run(`${pull} | md-unpack "$MD_HOME/rootfs"`)).length, 1);
});

test('--platform chooses, and an image pinned by digest is what was pinned', async (t) => {
  const { run, built } = await world(t);
  const [other] = succeeded(await run('md-token "$1" | md-manifest --platform linux/s390x'));
  assert.deepEqual(other?.platform, { os: 'linux', architecture: 's390x' });
  const [pinned] = succeeded(await run(`md-token "$1:nonsense@${built.descriptor.digest}" | md-manifest`));
  assert.equal(pinned?.digest, built.descriptor.digest);
});

test('redirects to a CDN are followed without the token', async (t) => {
  const { run, registry } = await world(t, { auth: 'token', redirectBlobs: 307 });
  succeeded(await run());
  const cdn = registry.requests.filter(({ service }) => service === 'cdn');
  assert.ok(cdn.length >= 3 && cdn.every(({ headers }) => headers.authorization === undefined));
});

test('a transfer that is cut is taken up again', async (t) => {
  const { run, registry, built } = await world(t);
  registry.faults.add({ on: new RegExp(built.layers[0]!.descriptor.digest), times: 1, cutAfter: 50 });
  succeeded(await run());
});

test('--username and --password-stdin log in, and the password goes no further than the fetching', async (t) => {
  const options: RegistryOptions = { auth: 'token', users: { me: 'pass word' }, private: [repository] };
  const { run, registry } = await world(t, options);
  const denied = await run();
  assert.equal(denied.status, 77);
  assert.match(
    denied.stderr,
    /^md-manifest: manifest latest of .*: denied: HTTP 401 .*docker login or pass --username\n$/,
  );
  const login = `printf 'pass word\\r\\n' | md-token --username me --password-stdin "$1"`;
  const document = (await run(login)).stdout;
  registry.tokens.expireAll();
  const fetched = await shell('md-manifest | md-fetch-layer', [], { stdin: document, env: { MD_HOME: scratch(t) } });
  succeeded(fetched);
  assert.doesNotMatch(fetched.stdout, /pass word/);
});

test("docker's login is used", async (t) => {
  const { run, registry, home } = await world(t, { auth: 'basic', users: { me: 'secret' } });
  const auth = Buffer.from('me:secret').toString('base64');
  mkdirSync(join(home, 'docker'));
  writeFileSync(join(home, 'docker/config.json'), JSON.stringify({ auths: { [registry.host]: { auth } } }));
  const result = await run(pull, { DOCKER_CONFIG: join(home, 'docker') });
  succeeded(result);
  assert.doesNotMatch(result.stdout, new RegExp(auth));
});

test('a login that is nowhere is looked for once', async (t) => {
  const { run, home } = await world(t, { auth: 'basic', users: { me: 'secret' }, private: [repository] });
  mkdirSync(join(home, 'docker'));
  writeFileSync(join(home, 'docker/config.json'), JSON.stringify({ credsStore: 'of-nobody' }));
  const { status, stderr } = await run('md-manifest "$1"', { DOCKER_CONFIG: join(home, 'docker') });
  assert.equal(status, 77, stderr);
  // Not installed, or EACCES, where PATH has a directory that this user may not enter.
  assert.match(stderr, /^.*docker-credential-of-nobody: .*\n.*wants a user name and a password; .*\n$/);
});

test("podman's directories for the logins of others are passed over without a word, and an own file is not", {
  skip: needsRoot || needs('unshare', 'setpriv'),
}, async (t) => {
  const { run, registry, home } = await world(t, { auth: 'basic', users: { me: 'secret' } });
  chmodSync(home, 0o755);
  const auth = Buffer.from('me:secret').toString('base64');
  mkdirSync(join(home, 'config/containers'), { recursive: true });
  // The last one that is asked has the login.
  writeFileSync(join(home, 'config/containers/auth.json'), JSON.stringify({ auths: { [registry.host]: { auth } } }));
  // As root's podman leaves it, and seen by nobody but this test.
  const script = `unshare --mount sh -c '
    mount -t tmpfs none /run && mkdir -p /run/containers/65534 /run/own/containers && chmod 700 /run/containers
    touch /run/own/containers/auth.json && chmod 600 /run/own/containers/auth.json
    exec setpriv --reuid=65534 --regid=65534 --clear-groups md-token "$1"' sh "$1"`;
  const env = { XDG_CONFIG_HOME: join(home, 'config') };
  for (const more of [{}, { XDG_RUNTIME_DIR: '/run/containers' }]) {
    const { status, stderr } = await run(script, { ...env, ...more });
    assert.equal(stderr, '');
    assert.equal(status, 0);
  }
  const { status, stderr } = await run(script, { ...env, XDG_RUNTIME_DIR: '/run/own' });
  assert.equal(stderr, 'md-token: /run/own/containers/auth.json: permission denied (EACCES); going on without\n');
  assert.equal(status, 0);
});

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

test('a registry that has more to say than is allowed, or quotes a password, is not told to the letter', async (t) => {
  const { run, registry } = await world(t, { auth: 'basic', users: { me: 'pass word' } });
  const warning = `299 - "${'x'.repeat(4097)}", 299 - "hello pass word, \u00a7"`;
  registry.faults.add({ on: /manifests/, headers: { warning } });
  const { stderr, status } = await run('printf "pass word" | md-token -u me --password-stdin "$1" | md-manifest');
  assert.equal(status, 0, stderr);
  assert.match(stderr, /^md-manifest: \S+: the registry says: hello \*\*\*, /m);
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

const noOpenssl = needs('openssl');

test('a registry with a private CA needs --ca-file, in the first stage only', { skip: noOpenssl }, async (t) => {
  const ca = makeCa(scratch(t));
  const { run, registry } = await world(t, { auth: 'token', redirectBlobs: 307, tls: ca.issue() });
  assert.match(registry.origin.registry, /^https/);
  const script = `md-token --ca-file ${ca.caFile} "$1" | md-manifest | md-fetch-layer`;
  succeeded(await run(script));
  // Node warns of this one and goes on.
  succeeded(await run(script, { NODE_EXTRA_CA_CERTS: '/nonexistent' }));
});

test("a registry whose CA is among the system's needs no flag", { skip: noOpenssl }, async (t) => {
  const ca = makeCa(scratch(t));
  const { run } = await world(t, { auth: 'token', redirectBlobs: 307, tls: ca.issue() });
  // /dev/null says that loopback speaks TLS, and adds nothing.
  const script = 'md-token --ca-file /dev/null "$1" | md-manifest | md-fetch-layer';
  succeeded(await run(script, { SSL_CERT_FILE: ca.caFile }));
  assert.equal((await run(script, { SSL_CERT_FILE: '/nonexistent' })).status, 69);
});

test('a certificate that nobody vouches for is refused, unless --insecure names the registry', {
  skip: noOpenssl,
}, async (t) => {
  const [ca, other] = [makeCa(scratch(t)), makeCa(scratch(t))];
  const { run, registry } = await world(t, { tls: ca.issue() });
  const refused = await run(`md-token --ca-file ${other.caFile} "$1"`);
  assert.equal(refused.status, 69);
  assert.match(refused.stderr, /TLS: .*--ca-file FILE/);
  succeeded(await run(`md-token --insecure ${registry.host} "$1" | md-manifest | md-fetch-layer`));
  const named = await run(`md-token --insecure other.example --ca-file ${other.caFile} "$1"`);
  assert.equal(named.status, 69);
});

for (const [what, names, days, why] of [
  ['of another host', ['other.example'], 2, /TLS: Hostname\/IP does not match certificate's altnames: .*[^E]$/m],
  ['that is out of date', ['127.0.0.1'], -1, /TLS: certificate has expired; is the clock of this machine right\?$/m],
] as const) {
  test(`a certificate ${what} is called that, and no CA is asked for`, { skip: noOpenssl }, async (t) => {
    const ca = makeCa(scratch(t));
    const { run } = await world(t, { tls: ca.issue([...names], days) });
    const { status, stderr } = await run(`md-token --ca-file ${ca.caFile} "$1"`);
    assert.match(stderr, why);
    assert.equal(status, 69);
    assert.doesNotMatch(stderr, /--ca-file/);
  });
}

test('a CA file without a certificate is not passed over', async (t) => {
  const { run } = await world(t);
  const { status, stderr } = await run('md-token --ca-file /etc/passwd "$1"');
  assert.match(stderr, /^md-token: CA file \/etc\/passwd: it has no certificate in PEM; /);
  assert.equal(status, 65);
});

test('a redirect from https to http is refused', { skip: noOpenssl }, async (t) => {
  const ca = makeCa(scratch(t));
  const { run, registry } = await world(t, { redirectBlobs: 307, plainCdn: true, tls: ca.issue() });
  const result = await run(`md-token --ca-file ${ca.caFile} "$1" | md-manifest | md-fetch-layer`);
  assert.equal(result.status, 76);
  assert.match(result.stderr, /from https to plain http .*, which is refused/);
  assert.doesNotMatch(result.stderr, /signature=[^*]/);
  assert.equal(registry.lines('cdn').length, 0);
});

test('a token service without TLS is refused to a registry with it', { skip: noOpenssl }, async (t) => {
  const ca = makeCa(scratch(t));
  const plain = await registryFor(t, { auth: 'token' });
  const challenge = () => `Bearer realm="${plain.origin.token}/token",service="x"`;
  const { run } = await world(t, { auth: 'token', challenge, tls: ca.issue() });
  const result = await run(`md-token --ca-file ${ca.caFile} "$1"`);
  assert.equal(result.status, 76);
  assert.match(result.stderr, /names a token service without TLS .*, which is refused/);
  assert.deepEqual(plain.requests, []);
});

test('--plain-http is for the registry that it names', async (t) => {
  const { run, registry } = await world(t);
  const name = registry.host.replace('127.0.0.1', '0.0.0.0');
  const script = (flags: string) => `md-token ${flags} ${name}/${repository} | md-manifest | md-fetch-layer`;
  succeeded(await run(script(`--plain-http ${name}`)));
  const result = await run(script('--plain-http other.example --retries 0'));
  assert.equal(result.status, 69);
  assert.match(result.stderr, new RegExp(`it speaks no TLS; .* --plain-http ${name}\n|connection`));
});

test('a registry is the one that a flag names, in capitals and other forms as well', async (t) => {
  const { run, registry } = await world(t);
  const name = registry.host.replace('127.0.0.1', 'LOCALHOST');
  succeeded(await run(`md-token --ca-file /dev/null --plain-http ${name} ${name}/${repository}`));
  const other = registry.host.replace('127.0.0.1', '127.1');
  succeeded(await run(`md-token --plain-http ${registry.host} ${other}/${repository}`));
  const { url, asked } = await startProxy(t, registry);
  const flags = `--plain-http docker.io --allow-private ${new URL(registry.origin.token).host}`;
  succeeded(await run(`md-token ${flags} alpine`, { http_proxy: url }));
  assert.deepEqual(asked, ['GET http://registry-1.docker.io/v2/']);
});

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

test('short warnings do not fill the screen of whoever waits for an image', async (t) => {
  const { run, registry } = await world(t);
  const warning = Array.from({ length: 500 }, (_, i) => `299 - "${i}"`).join(', ');
  registry.faults.add({ on: /manifests/, headers: { warning } });
  const { stderr, status } = await run('md-fetch-layer "$1"');
  assert.equal(status, 0, stderr);
  assert.match(stderr, /: the registry says: 0\n/);
  assert.ok(stderr.length < 8192, `${stderr.length} characters`);
});

test('a mirror gets its own login, and never the one for the registry', async (t) => {
  const { run, registry, home } = await world(t, { auth: 'basic', users: { me: 'pass word' } });
  const mirror = await registryFor(t, { auth: 'basic', users: { other: 'secret' } });
  const login = `echo 'pass word' | md-token -u me --password-stdin "$1"`;
  const config = (logins: [string, string][]) => {
    const auths = logins.map(([host, user]) => [host, { auth: Buffer.from(user).toString('base64') }]);
    mkdirSync(join(home, 'docker'), { recursive: true });
    writeFileSync(join(home, 'docker/config.json'), JSON.stringify({ auths: Object.fromEntries(auths) }));
    return { DOCKER_CONFIG: join(home, 'docker') };
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
  const down = await startRegistry();
  await down.close();
  const attempts = async (flags: string, name: string) =>
    (await run(`md-token -x --retries 1 ${flags} ${name}`)).stderr.match(/connecting to .*/g)?.length;
  assert.equal(await attempts(`--mirror ${down.host}`, '"$1"'), 1);
  assert.equal(await attempts('', `${down.host}/x/y`), 2);
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

const throughProxy = (flags: string) =>
  `md-token --retries 0 ${flags} "registry.test/${repository}" | md-manifest | md-fetch-layer`;

test('a proxy of the environment is used, but not for loopback nor for what no_proxy names', async (t) => {
  const { run, registry } = await world(t);
  const proxy = await startProxy(t, registry);
  const env = { http_proxy: proxy.url };
  succeeded(await run(throughProxy('--plain-http registry.test'), env));
  assert.equal(proxy.asked[0], 'GET http://registry.test/v2/');
  proxy.asked.length = 0;
  succeeded(await run(pull, env));
  for (const no_proxy of ['registry.test', '*.test', 'registry.test:80']) {
    assert.equal((await run(throughProxy('--plain-http registry.test'), { ...env, no_proxy })).status, 69);
  }
  assert.deepEqual(proxy.asked, []);
});

test('a registry elsewhere may point to a host of the private network that --allow-private names, all down the pipe', async (t) => {
  const { run, registry } = await world(t, { redirectBlobs: 307 });
  const proxy = await startProxy(t, registry);
  // Nobody here can resolve it: so it is no registry of this network.
  const tryIt = (flags: string) => run(throughProxy(`--plain-http registry.test ${flags}`), { http_proxy: proxy.url });
  const refused = await tryIt('--allow-private 127.0.0.1:1');
  assert.equal(refused.status, 76, refused.stderr);
  assert.match(refused.stderr, /points to 127.0.0.1, an address in a private network.*--allow-private HOST/);
  const cdn = new URL(registry.origin.cdn).host;
  const [document] = succeeded(await tryIt(`--allow-private ${cdn}`));
  assert.deepEqual(document?.network, { plainHttp: ['registry.test'], allowPrivate: [cdn], retries: 0 });
});

test('a proxy may be named without a scheme; one that cannot be is wrong usage, and is not shown', async (t) => {
  const { run, registry } = await world(t);
  const proxy = await startProxy(t, registry);
  const script = throughProxy('--plain-http registry.test');
  succeeded(await run(script, { http_proxy: proxy.url.replace('http://', '') }));
  assert.ok(proxy.asked.length > 0);
  for (const value of ['ftp://me:c2VjcmV0@proxy.test', 'http://me:c2VjcmV0@:1']) {
    const { status, stderr } = await run(script, { http_proxy: value });
    assert.equal(status, 64, stderr);
    assert.match(stderr, /^md-token: http_proxy: it names no proxy; .*\n$/);
    assert.doesNotMatch(stderr, /c2VjcmV0/);
  }
});

test('the password of a proxy that quotes it is neither in a message nor in a trace', async (t) => {
  const { run } = await world(t);
  const password = 'c@ret-of-mine';
  const proxy = createTcpServer((socket) => {
    socket
      .on('error', () => {})
      .once('data', (head: Buffer) => {
        const [, login = ''] = /^proxy-authorization: (Basic .*)\r$/im.exec(head.toString('latin1')) ?? [];
        const message = `${login} is ${Buffer.from(login.slice(6), 'base64')}`;
        const body = JSON.stringify({ errors: [{ code: 'DENIED', message }] });
        const headers = `x-seen: ${message}\r\nconnection: close\r\ncontent-length: ${body.length}`;
        socket.end(`HTTP/1.1 403 Forbidden\r\n${headers}\r\n\r\n${body}`);
      });
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  afterwards(t, () => proxy.close());
  const host = `127.0.0.1:${(proxy.address() as AddressInfo).port}`;
  const http_proxy = `http://me:${encodeURIComponent(password)}@${host}`;
  const { stdout, stderr, status } = await run(throughProxy('-x --plain-http registry.test'), { http_proxy });
  assert.equal(status, 77, stderr);
  assert.match(stderr, /x-seen: Basic \*\*\* is me:\*\*\*$/m);
  assert.match(stderr, /DENIED: Basic \*\*\* is me:\*\*\*/);
  for (const secret of [password, encodeURIComponent(password), Buffer.from(`me:${password}`).toString('base64')]) {
    assert.ok(!`${stdout}${stderr}`.includes(secret), secret);
  }
});

for (const [answer, status, why] of [
  ['407 Proxy Authentication Required', 77, 'HTTP 407 for https?://registry.test; it wants a login: '],
  ['403 Forbidden', 77, 'HTTP 403 for https?://registry.test'],
  ['503 Service Unavailable', 69, 'HTTP 503 for https?://registry.test'],
  ['nothing', 69, 'connection refused'],
] as const) {
  test(`a proxy that answers ${answer} is named, without its password`, async (t) => {
    const { run } = await world(t);
    const proxy = createTcpServer((socket) => {
      socket.on('error', () => {}).once('data', () => socket.end(`HTTP/1.1 ${answer}\r\ncontent-length: 0\r\n\r\n`));
    }).listen(0, '127.0.0.1');
    await once(proxy, 'listening');
    const host = `127.0.0.1:${(proxy.address() as AddressInfo).port}`;
    if (answer === 'nothing') proxy.close();
    else afterwards(t, () => proxy.close());
    const url = `http://me:c2VjcmV0@${host}`;
    // What a proxy answers to a request in plain http is the answer, but for 407.
    for (const flag of answer.startsWith('407') || answer === 'nothing' ? ['', '--plain-http registry.test'] : ['']) {
      const env = { https_proxy: url, http_proxy: url };
      const result = await run(`md-token --retries 0 ${flag} registry.test/x/y`, env);
      assert.match(result.stderr, new RegExp(`: proxy http://${host}: ${why}`));
      assert.equal(result.status, status);
      assert.doesNotMatch(result.stderr, /c2VjcmV0/);
    }
  });
}

for (const [login, expected] of [
  ['me:secret', 'me:secret'],
  ['me:50%25', 'me:50%'],
  ['me:50%', 'me:50%'],
  ['m%C3%A9:%ff', 'm\xc3\xa9:\xff'],
  ['me', 'me:'],
] as const) {
  test(`a proxy with the login ${login} gets it as from curl`, async (t) => {
    const { run } = await world(t);
    let got = '';
    const proxy = createServer((req, res) => {
      got = Buffer.from(req.headers['proxy-authorization']?.slice('Basic '.length) ?? '', 'base64').toString('latin1');
      res.end('{}');
    }).listen(0, '127.0.0.1');
    await once(proxy, 'listening');
    afterwards(t, () => proxy.close());
    const env = { http_proxy: `http://${login}@127.0.0.1:${(proxy.address() as AddressInfo).port}` };
    succeeded(await run('md-token --plain-http registry.test registry.test/x/y', env));
    assert.equal(got, expected);
  });
}

test('a proxy that makes no tunnel and says nothing is given up', async (t) => {
  const { run } = await world(t);
  const silent = createServer().on('connect', (_req, socket) => afterwards(t, () => socket.destroy()));
  silent.listen(0, '127.0.0.1');
  await once(silent, 'listening');
  afterwards(t, () => silent.close());
  const env = { https_proxy: `http://127.0.0.1:${(silent.address() as AddressInfo).port}` };
  const result = await run('md-token --retries 0 --connect-timeout 1 registry.test/x/y', env);
  assert.equal(result.status, 69);
  assert.match(result.stderr, /no answer in time/);
});

test('a proxy that hangs up instead of making a tunnel is asked once and named', async (t) => {
  const { run } = await world(t);
  let asked = 0;
  const proxy = createTcpServer((socket) => {
    asked += 1;
    socket.on('error', () => {}).once('data', () => socket.destroy());
  }).listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  afterwards(t, () => proxy.close());
  const url = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
  const result = await run('timeout 10 md-token --retries 0 registry.test/x/y', { https_proxy: url });
  assert.equal(result.status, 69, result.stderr);
  assert.ok(result.stderr.includes(`: proxy ${url}: the connection was closed; does it refuse tunnels`), result.stderr);
  assert.equal(asked, 1);
});

test('a proxy that speaks no TLS and is named with https is taken for no registry without TLS', async (t) => {
  const { run, registry } = await world(t);
  const { url } = await startProxy(t, registry);
  const https = url.replace('http:', 'https:');
  for (const flag of ['', '--plain-http registry.test']) {
    const env = { https_proxy: https, http_proxy: https };
    const { status, stderr } = await run(`md-token --retries 0 ${flag} registry.test/x/y`, env);
    assert.equal(status, 69, stderr);
    assert.ok(stderr.includes(`: proxy ${https}: it speaks no TLS; name it as ${url}\n`), stderr);
  }
});

test('https goes through a tunnel, and its certificate is checked', { skip: noOpenssl }, async (t) => {
  const ca = makeCa(scratch(t));
  const { run, registry } = await world(t, { tls: ca.issue(['registry.test']) });
  const proxy = await startProxy(t, registry);
  const env = { HTTPS_PROXY: proxy.url };
  succeeded(await run(throughProxy(`--ca-file ${ca.caFile}`), env));
  assert.deepEqual([...new Set(proxy.asked)], ['CONNECT registry.test:443']);
  assert.equal((await run(throughProxy(''), env)).status, 69);
});

test('a pull stops within a second when nobody reads any more', async (t) => {
  const { registry, home, image: name } = await world(t);
  registry.faults.add({ on: /blobs.*/, after: 1, bytesPerSecond: 10 });
  const document = (await shell('md-token "$1" | md-manifest', [name], { env: { MD_HOME: home } })).stdout;
  const result = await shell('(md-fetch-layer; echo $? >&2) | head -c 10', [], {
    stdin: document,
    env: { MD_HOME: home },
    timeout: 20_000,
  });
  assert.equal(result.stderr, '141\n');
});

for (const [what, args, why] of [
  ['no image', [], /IMAGE is missing/],
  ['two images', ['a', 'b'], /unexpected operand "b"/],
  ['a malformed image', ['A B'], /image reference "A B"/],
  ['an unknown flag', ['--nope', 'a'], /--nope: unknown flag/],
  ['a flag that is only what objects have', ['--constructor', 'a'], /--constructor: unknown flag(?!.*native code)/],
  ['a password without a user', ['--password-stdin', 'a'], /needs --username/],
  ['a user without a password', ['--username', 'me', 'a'], /needs --password-stdin/],
  ['a host that is none', ['--plain-http', 'http://x/', 'a'], /--plain-http: expected HOST or HOST:PORT, got "http/],
  ['a pattern for hosts', ['--insecure', '*.x', 'a'], /--insecure: expected HOST or HOST:PORT, got "\*.x"/],
  ['a mirror that is none', ['--mirror', 'x/Y', 'a'], /--mirror: expected HOST\[:PORT\]\[\/PATH\] or .*, got "x\/Y"/],
  ['a password in a mirror', ['--mirror', 'https://me:c2VjcmV0@x', 'a'], /got "https:\/\/\*\*\*@x"$/m],
  ['a password in a host', ['--insecure', 'me:c2VjcmV0@x', 'a'], /--insecure: .*, got "\*\*\*@x"$/m],
  ['a password in an image', ['https://me:c2VjcmV0@x/a'], /image reference "https:\/\/\*\*\*@x\/a": it is a URL/],
] as const) {
  test(`md-token with ${what} is wrong usage`, async () => {
    const result = await md('md-token', [...args]);
    assert.equal(result.status, 64);
    assert.match(result.stderr, why);
    assert.equal(result.stderr.split('\n').length, 2, 'one line');
  });
}

for (const [what, user, password, why] of [
  ['an empty password', 'me', '\n', /--password-stdin: stdin is empty$/m],
  ['a file as its password', 'me', 'x'.repeat(65_537), /--password-stdin: it is longer than 65536 bytes$/m],
  ['a colon in the name', 'me:too', 'x', /--username: a user name is not empty and has no colon$/m],
] as const) {
  test(`a login with ${what} is wrong usage`, async () => {
    const result = await md('md-token', ['--username', user, '--password-stdin', 'a'], { stdin: password });
    assert.match(result.stderr, why);
    assert.equal(result.status, 64);
  });
}

test('md-fetch-layer with no connection at all is wrong usage', async () => {
  const result = await md('md-fetch-layer', ['--jobs', '0', 'a']);
  assert.equal(result.stderr, 'md-fetch-layer: --jobs: at least 1 is needed\n');
  assert.equal(result.status, 64);
});

test('a time-out of 0 is no limit, and 0 retries are none', async (t) => {
  const { registry, image: name } = await world(t);
  registry.faults.add({ on: /registry GET/, times: 2, delay: 3000 });
  const limited = await md('md-token', ['--header-timeout', '1', '--retries', '0', name]);
  assert.equal(limited.status, 69, limited.stderr);
  assert.match(limited.stderr, /no answer in time/);
  const none = ['--connect-timeout', '--header-timeout', '--idle-timeout'].flatMap((flag) => [flag, '0']);
  const patient = await md('md-token', [...none, name]);
  assert.equal(patient.status, 0, patient.stderr);
  assert.deepEqual(succeeded(patient)[0]?.network, { connectTimeout: 0, headerTimeout: 0, idleTimeout: 0 });
  assert.equal(registry.lines('registry').length, 2);
});

test('a time-out that is longer than a timer can be is not none at all', async (t) => {
  const { registry, image: name } = await world(t);
  registry.faults.add({ on: /registry GET/, delay: 100 });
  const flags = ['--connect-timeout', '--header-timeout', '--idle-timeout'].flatMap((flag) => [flag, '999999999']);
  const patient = await md('md-token', [...flags, '--retries', '0', name]);
  assert.deepEqual([patient.status, patient.stderr], [0, '']);
});

test('--min-speed goes down the pipe, and a transfer that is slower is taken up again', async (t) => {
  const { run, registry, built } = await world(t);
  const { digest, size } = built.layers[0]!.descriptor;
  registry.faults.add({ on: new RegExp(digest), times: 1, bytesPerSecond: size / 4 });
  const flags = '--idle-timeout 1 --min-speed 100000';
  const [document] = succeeded(await run(`md-token ${flags} "$1" | md-manifest | md-fetch-layer`));
  assert.deepEqual(document?.network, { idleTimeout: 1, minSpeed: 100_000 });
  const ranges = registry.requests.filter(({ url }) => url.includes(digest)).map(({ headers }) => headers.range);
  assert.equal(ranges[0], undefined);
  assert.match(ranges[1] ?? '', /^bytes=[1-9]/);
});

test('a failure goes down the pipe as one line and one status', async (t) => {
  const { run } = await world(t);
  const result = await run('md-token "$1:nope" | md-manifest | md-fetch-layer');
  assert.equal(result.status, 69);
  assert.match(result.stderr, /^md-manifest: manifest nope of .*not found: HTTP 404.*\n$/);
  assert.equal(errorOf(result).command, 'md-manifest');
  assert.equal(errorOf(result).code, 69);
});

/** What md-manifest makes of a document as md-token writes it, with these fields over it. */
function manifestOf({ registry, home, image: name }: World, fields: object = {}): Promise<Result> {
  const document = {
    image: `${name}:latest`,
    registry: registry.host,
    repository,
    reference: 'latest',
    authorization: null,
  };
  return md('md-manifest', [], { stdin: `${JSON.stringify({ ...document, ...fields })}\n`, env: { MD_HOME: home } });
}

test('a document made by hand is as good as one of md-token', async (t) => {
  const it = await world(t);
  assert.equal(succeeded(await manifestOf(it))[0]?.digest, it.built.descriptor.digest);
});

for (const [field, value] of [
  ['registry', 'a b'],
  ['registry', 'host/../evil'],
  ['registry', ''],
  ['repository', '../../v2/other'],
  ['repository', 'UPPER'],
  ['repository', 'library/demo:v1'],
  ['reference', '../../../other/manifests/latest'],
  ['reference', 'a?b'],
  ['reference', ''],
] as const) {
  test(`a document with the ${field} ${JSON.stringify(value)} is bad data, and nobody is asked`, async (t) => {
    const it = await world(t);
    const result = await manifestOf(it, { [field]: value });
    assert.equal(result.status, 65, result.stderr);
    assert.match(
      result.stderr,
      /^md-manifest: document on stdin: (?:registry and repository|reference): ".*" is not valid\n$/,
    );
    assert.deepEqual(it.registry.requests, []);
  });
}

for (const [field, value] of [
  ['authorization', 'Bearer x\r\nX-Evil: 1'],
  ['login', { username: 'me', password: 5 }],
  ['network', { mirrors: ['http://x/ y'] }],
  ['network', { mirrors: ['http://me:secret@x'] }],
  ['network', { insecure: ['x/\ny'] }],
  ['network', { plainHttp: ['x#y'] }],
  ['network', { retries: -1 }],
] as const) {
  test(`a document with the ${field} ${JSON.stringify(value)} is bad data in one line`, async (t) => {
    const it = await world(t);
    const result = await manifestOf(it, { [field]: value });
    assert.equal(result.status, 65, result.stderr);
    assert.match(result.stderr, new RegExp(`^md-manifest: ${field}.*\n$`));
    assert.deepEqual(it.registry.requests, []);
  });
}
