/** `md-token | md-manifest | md-fetch-layer` as processes, against the embedded registry. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { image, layer, put } from '../support/image.js';
import { dockerConfig, pull, repository, succeeded, type World, world } from '../support/pull.js';
import type { RegistryOptions } from '../support/registry.js';
import { until } from '../support/rootfs.js';
import { cleanEnv, jsonLines, md, needs, needsRoot, type Result, run, scratch, shell } from '../support/run.js';

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

test('nothing is written to stderr when nothing is wrong and it is not a terminal', async (t) => {
  const { run } = await world(t, { auth: 'token' });
  assert.equal((await run()).stderr, '');
});

test('layers are announced in order, each as soon as it and those before it are there', async (t) => {
  const { registry, built, home, image: name } = await world(t);
  const [, second, third] = built.layers.map(({ descriptor }) => descriptor.digest);
  let release = () => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  registry.faults.add({ on: new RegExp(second!), held });
  const pipe = spawn('sh', ['-c', pull, 'sh', name], { env: { ...cleanEnv(), MD_HOME: home } });
  const closed = once(pipe, 'close');
  let text = '';
  pipe.stdout.on('data', (chunk) => {
    text += chunk;
  });
  const lines = () => text.split('\n').length - 1;
  await until(() => lines() >= 2 && existsSync(join(home, 'oci/blobs', third!.replace(':', '/'))));
  await sleep(200);
  assert.equal(lines(), 2, 'the first layer was announced before the second one had come, the third not before it');
  release();
  await closed;
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

test('--username and --password-stdin log in, and the password goes no further than the fetching', async (t) => {
  const options: RegistryOptions = { auth: 'token', users: { me: 'pass word' }, private: [repository] };
  const { run, registry } = await world(t, options);
  const denied = await run();
  assert.equal(denied.status, 77);
  assert.match(
    denied.stderr,
    /^md-manifest: manifest of \S+:latest: .*: denied: HTTP 401 .*docker login, or pass --username and --password-stdin\n$/,
  );
  const login = `printf 'pass word\\r\\n' | md-token --username me --password-stdin "$1"`;
  assert.match((await run(`${login} -x`)).stderr, /^\* the login for \S+ is the one of --username$/m);
  const document = (await run(login)).stdout;
  registry.tokens.expireAll();
  const fetched = await shell('md-manifest | md-fetch-layer', [], { stdin: document, env: { MD_HOME: scratch(t) } });
  succeeded(fetched);
  assert.doesNotMatch(fetched.stdout, /pass word/);
});

test("docker's login is used, and -x tells where it was", async (t) => {
  const { run, registry, home } = await world(t, { auth: 'basic', users: { me: 'secret' } });
  const auth = Buffer.from('me:secret').toString('base64');
  const env = dockerConfig(home, { auths: { [registry.host]: { auth } } });
  const result = await run(pull, env);
  succeeded(result);
  assert.doesNotMatch(result.stdout, new RegExp(auth));
  const { stderr } = await run('md-token -x "$1"', env);
  assert.ok(stderr.includes(`* the login for ${registry.host} is from ${join(home, 'docker/config.json')}\n`), stderr);
});

test('a login that is nowhere is looked for once', async (t) => {
  const { run, home } = await world(t, { auth: 'basic', users: { me: 'secret' }, private: [repository] });
  const { status, stderr } = await run('md-manifest "$1"', dockerConfig(home, { credsStore: 'of-nobody' }));
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

test("a login that an ordinary user's podman made without XDG_RUNTIME_DIR is found, and not one that a stranger left there", {
  skip: needsRoot || needs('unshare', 'setpriv'),
}, async (t) => {
  const { run, registry, home } = await world(t, {
    auth: 'basic',
    users: { me: 'secret' },
    private: [repository],
  });
  chmodSync(home, 0o755);
  const auth = Buffer.from('me:secret').toString('base64');
  writeFileSync(join(home, 'login.json'), JSON.stringify({ auths: { [registry.host]: { auth } } }));
  chmodSync(join(home, 'login.json'), 0o644);
  const status = async (make: string) => {
    const script = `unshare --mount sh -c '
      mount -t tmpfs -o mode=1777 none /run && mkdir -m 1777 $TMPDIR
      ${make} && exec setpriv --reuid=65534 --regid=65534 --clear-groups md-manifest "$1"' sh "$1" 3<"$LOGIN"`;
    const env = { LOGIN: join(home, 'login.json'), MD_HOME: '/run/md', XDG_RUNTIME_DIR: '', TMPDIR: '/run/tmp' };
    return (await run(script, env)).status;
  };
  const put = (directory: string, owner: number) => `
    mkdir -p ${directory}/containers && chmod 700 ${directory} && cat <&3 >${directory}/containers/auth.json &&
    chown -R ${owner}:${owner} ${directory}`;
  const [made, session] = ['/run/tmp/podman-run-65534', '/run/user/65534'];
  assert.equal(await status('true'), 77);
  assert.equal(await status(put(made, 65534)), 0);
  assert.equal(await status(put(session, 65534)), 0);
  assert.equal(await status(`${put(made, 65533)}; chmod 755 ${made}`), 77);
  assert.equal(await status(`${put('/run/tmp/other', 65534)}; ln -s other ${made}`), 77);
});

test('nothing waits for a name server that never answers once that has been told', {
  skip: needsRoot || needs('unshare', 'ip'),
}, async (t) => {
  const directory = scratch(t);
  // By itself it would be asked for minutes, and what waits for that is killed before.
  writeFileSync(join(directory, 'resolv.conf'), 'nameserver 127.53.0.1\noptions timeout:30 attempts:5\n');
  const argv = ['--retries', '0', '--connect-timeout', '1', 'registry.test/x/y'];
  // In a network of its own, since a server of this machine may have the port.
  const silent = `require('node:dgram').createSocket('udp4').bind(53, '127.53.0.1', () => {
    const { status } = require('node:child_process').spawnSync('md-token', ${JSON.stringify(argv)}, { stdio: 'inherit' });
    process.exit(status ?? 1);
  });`;
  const script = 'ip link set lo up && mount --bind resolv.conf /etc/resolv.conf && exec node -e "$1"';
  const result = await run(['unshare', '--mount', '--net', 'sh', '-c', script, 'sh', silent], { cwd: directory });
  assert.match(result.stderr, /registry\.test: no connection in time;.*$/m);
  assert.deepEqual([result.status, result.timedOut], [69, false]);
});

test('a command that may open few files fails with one line', async (t) => {
  const { run } = await world(t);
  for (const files of [21, 22, 23, 24]) {
    const { stderr } = await run(`ulimit -n ${files} && md-fetch-layer "$1"`, { MD_HOME: scratch(t) });
    assert.match(stderr, /^(?:md-fetch-layer: (?!a fault).*\n)?$/);
  }
});

test('a limit on addresses that leaves no room for the parser of HTTP is told, and is not a fault of the registry', async (t) => {
  const { run } = await world(t);
  const { status, stderr } = await run('ulimit -v 8000000 && md-token "$1"');
  // Node 24 does with less.
  const fits = await run('ulimit -v 8000000 && node -e "new WebAssembly.Memory({ initial: 1 })"');
  assert.equal(status, fits.status === 0 ? 0 : 74);
  const told = /^md-token: .*\(ulimit -v\).*; with NODE_OPTIONS=--disable-wasm-trap-handler .*\n$/;
  assert.match(stderr, fits.status === 0 ? /^$/ : told);
  succeeded(await run('ulimit -v 8000000 && NODE_OPTIONS=--disable-wasm-trap-handler md-token "$1"'));
});

for (const [what, args, why] of [
  ['no image', [], /IMAGE is missing/],
  ['two images', ['a', 'b'], /unexpected operand "b"/],
  ['a malformed image', ['A B'], /image reference "A B"/],
  ['an unknown flag', ['--nope', 'a'], /--nope: unknown flag/],
  ['a flag that is only what objects have', ['--constructor', 'a'], /--constructor: unknown flag(?!.*native code)/],
  ['a password without a user', ['--password-stdin', 'a'], /needs --username/],
  [
    'a user without a password',
    ['--username', 'me', 'a'],
    /needs --password-stdin; that reads the password from stdin/,
  ],
  ['a host that is none', ['--plain-http', 'http://x/', 'a'], /--plain-http: expected HOST or HOST:PORT, got "http/],
  ['a pattern for hosts', ['--insecure', '*.x', 'a'], /--insecure: expected HOST or HOST:PORT, got "\*.x"/],
  ['no file of authorities', ['--ca-file=', 'a'], /--ca-file: its value is empty$/m],
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
  ['a password in Latin-1', 'me', Buffer.from('gr\xfc\xdfe', 'latin1'), /--password-stdin: it is not UTF-8/],
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

test('a timeout of 0 is no limit, and 0 retries are none', async (t) => {
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

test('a timeout that is longer than a timer can be is not none at all', async (t) => {
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
