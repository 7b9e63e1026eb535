/** Certificates for one registry, from the directories in which docker and podman have them. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileScratch } from '../support/file-scratch.js';
import { image, layer, put } from '../support/image.js';
import { heldPort } from '../support/ports.js';
import { startProxy } from '../support/proxy.js';
import { type Registry, type RegistryOptions, registryFor } from '../support/registry.js';
import { jsonLines, killAfterwards, needs, needsRoot, type Result, scratch, shell } from '../support/run.js';
import { makeCa, type ServerTls, type TestCa } from '../support/tls.js';

const repository = 'library/demo';
const pull = 'md-token --retries 0 $FLAGS "$1" | md-manifest | md-fetch-layer';
const skip = needs('openssl');

interface World {
  ca: TestCa;
  registry: Registry;
  /** The user's, in which certificates are looked for. */
  home: string;
  image: string;
  run(script?: string, env?: Record<string, string>, user?: { uid: number; gid: number }): Promise<Result>;
}

const files = fileScratch();
let made: (TestCa & { server: ServerTls }) | undefined;

/** One authority, with a certificate of a server, for all tests: each key and each signature is a run of openssl. */
function authorityOfAll() {
  if (made === undefined) {
    const ca = makeCa(files);
    made = { ...ca, server: ca.issue() };
  }
  return made;
}

/** A registry with TLS; where `demands` is set it talks to nobody without a certificate of the CA. */
async function world(t: TestContext, options: RegistryOptions & { demands?: boolean } = {}): Promise<World> {
  const [home, store] = [scratch(t), scratch(t)];
  for (const directory of [home, store]) chmodSync(directory, 0o777);
  const ca = authorityOfAll();
  const { demands, ...rest } = options;
  const clientCa = demands ? { clientCa: readFileSync(ca.caFile, 'utf8') } : {};
  const registry = await registryFor(t, { tls: ca.server, ...clientCa, ...rest });
  await put(registry, repository, ['latest'], image({ layers: [layer([{ name: 'a', data: 'a' }])] }));
  const name = `${registry.host}/${repository}`;
  const run: World['run'] = (script = pull, env = {}, user = {} as { uid: number; gid: number }) =>
    shell(script, [name], { env: { HOME: home, MD_HOME: store, FLAGS: '', ...env }, ...user });
  return { ca, registry, home, image: name, run };
}

/** Puts files into the directory of a host: `host` as in a URL. */
function certify({ home }: World, host: string, files: Record<string, string>): string {
  const directory = join(home, '.config/containers/certs.d', host);
  mkdirSync(directory, { recursive: true });
  for (const [name, content] of Object.entries(files)) writeFileSync(join(directory, name), content);
  return directory;
}

const authority = ({ ca }: World) => ({ 'ca.crt': readFileSync(ca.caFile, 'utf8') });
const pair = ({ cert, key }: ServerTls, name = 'client') => ({ [`${name}.cert`]: cert, [`${name}.key`]: key });
const hostOf = (origin: string) => new URL(origin).host;

function succeeded({ status, stdout, stderr }: Result): void {
  assert.equal(status, 0, stderr);
  assert.equal(stderr, '');
  assert.equal(jsonLines(stdout).length, 2);
}

test('an authority in the directory of a registry vouches for that registry and for no other host', {
  skip,
}, async (t) => {
  const it = await world(t, { auth: 'token', redirectBlobs: 307 });
  const { registry, run } = it;
  assert.equal((await run()).status, 69, 'loopback speaks http when nothing says otherwise');
  certify(it, registry.host, authority(it));
  const token = await run();
  assert.equal(token.status, 69);
  assert.match(
    token.stderr,
    new RegExp(`^md-token: .*${registry.origin.token}: TLS: .*--ca-file FILE or as /etc/docker`),
  );
  certify(it, hostOf(registry.origin.token), authority(it));
  const cdn = await run();
  assert.equal(cdn.status, 69);
  assert.match(cdn.stderr, new RegExp(`^md-manifest: .*${registry.origin.cdn}: TLS: `));
  certify(it, hostOf(registry.origin.cdn), authority(it));
  succeeded(await run());
});

test('a client certificate is presented to the registry that it is for, and to nobody that this one points to', {
  skip,
}, async (t) => {
  const it = await world(t, { auth: 'token', redirectBlobs: 307, redirectManifests: 307, demands: true });
  const { registry, run, ca } = it;
  const env = { FLAGS: `--ca-file ${ca.caFile}` };
  assert.equal((await run(pull, env)).status, 69, 'the registry wants a certificate');
  assert.deepEqual(registry.requests, []);
  certify(it, registry.host, pair(ca.issue(['me.test'])));
  succeeded(await run(pull, env));
  const presented = (service: string) => [
    ...new Set(registry.requests.filter((request) => request.service === service).map(({ client }) => client)),
  ];
  assert.deepEqual(presented('registry'), ['me.test']);
  assert.deepEqual(presented('token'), [undefined]);
  assert.deepEqual(presented('cdn'), [undefined]);
  certify(it, hostOf(registry.origin.token), pair(ca.issue(['token.test'])));
  registry.requests.length = 0;
  succeeded(await run(pull, env));
  assert.deepEqual(presented('token'), ['token.test']);
  assert.deepEqual(presented('cdn'), [undefined]);
});

test('of several client certificates the first one of its kind is presented, as with docker', { skip }, async (t) => {
  const it = await world(t, { demands: true });
  const files = { ...pair(it.ca.issue(['second.test']), 'b'), ...pair(it.ca.issue(['first.test']), 'a') };
  certify(it, it.registry.host, { ...authority(it), ...files });
  succeeded(await it.run());
  assert.ok(it.registry.requests.every(({ client }) => client === 'first.test'));
});

/** What may be in the directory of a host: a pair, the key of another, and the first key encrypted. */
interface Material extends ServerTls {
  other: string;
  encrypted: string;
}

for (const [what, files, why] of [
  [
    'without its key',
    ({ cert }: Material) => ({ 'client.cert': cert }),
    /client\.cert: its key client\.key is missing; an authority's certificate is called \*\.crt$/m,
  ],
  [
    'without its certificate',
    ({ key }: Material) => ({ 'client.key': key }),
    /client\.key: its certificate client\.cert is missing$/m,
  ],
  [
    'with the key of another',
    ({ cert, other }: Material) => pair({ cert, key: other }),
    /client\.cert: client\.key is not its key$/m,
  ],
  [
    'with an encrypted key',
    ({ cert, encrypted }: Material) => pair({ cert, key: encrypted }),
    /client\.key: it is encrypted, and there is nobody to ask; openssl pkey -in FILE makes one that is not$/m,
  ],
  [
    'with an empty key',
    ({ cert }: Material) => pair({ cert, key: '' }),
    /client\.key: it is not a private key in PEM$/m,
  ],
  ['that is none', ({ key }: Material) => pair({ cert: '', key }), /client\.cert: it is not a certificate in PEM$/m],
] as const) {
  test(`a client certificate ${what} ends a pull from that registry, and no other`, { skip }, async (t) => {
    const it = await world(t);
    const own = it.ca.issue();
    const encrypted = (await shell('openssl pkey -aes256 -passout pass:x', [], { stdin: own.key })).stdout;
    const material = { ...own, encrypted, other: it.ca.issue().key };
    certify(it, 'other.test', files(material));
    certify(it, it.registry.host, authority(it));
    assert.equal((await it.run('md-token "$1"')).stderr, '');
    certify(it, it.registry.host, files(material));
    const { status, stdout, stderr } = await it.run('MD_DEBUG=1 md-token -x "$1"');
    assert.equal(status, 65, stderr);
    assert.match(stderr, why);
    for (const key of [own.key, encrypted, material.other]) {
      const secret = key.split('\n')[1]!;
      assert.ok(secret.length > 40 && !(stdout + stderr).includes(secret));
    }
  });
}

test('behind a mirror of which only half a client certificate is there is the registry', { skip }, async (t) => {
  const [mirror, it] = [await world(t), await world(t)];
  certify(it, it.registry.host, authority(it));
  certify(it, mirror.registry.host, { 'client.cert': mirror.ca.issue().cert });
  const { status, stderr } = await it.run(pull, { FLAGS: `--mirror ${mirror.registry.host}` });
  assert.equal(status, 0, stderr);
  assert.match(stderr, /^md-token: mirror .*client\.cert: its key client\.key is missing; .*; going on to the next$/m);
});

test('certificates are for a registry behind a proxy, and not for the proxy', { skip }, async (t) => {
  const ca = authorityOfAll();
  const it = await world(t, { tls: ca.issue(['registry.test']), demands: true });
  certify(it, 'registry.test', { ...authority(it), ...pair(ca.issue(['me.test'])) });
  const script = pull.replace('"$1"', `registry.test/${repository}`);
  const plain = await startProxy(t, it.registry);
  succeeded(await it.run(script, { https_proxy: plain.url }));
  assert.ok(it.registry.requests.every(({ client }) => client === 'me.test'));
  const secure = await startProxy(t, it.registry, ca.issue());
  const refused = await it.run(script, { https_proxy: secure.url.replace('127.0.0.1', 'localhost') });
  assert.equal(refused.status, 69, refused.stderr);
  assert.deepEqual(secure.asked, []);
  for (const host of ['localhost', '127.0.0.1']) {
    const result = await it.run(script, {
      https_proxy: secure.url.replace('127.0.0.1', host),
      FLAGS: `--ca-file ${ca.caFile}`,
    });
    assert.deepEqual([result.status, result.stderr], [0, '']);
  }
});

test('an authority that is none is called that', { skip }, async (t) => {
  const it = await world(t);
  certify(it, it.registry.host, { 'ca.crt': 'no certificate' });
  const { status, stderr } = await it.run();
  assert.equal(status, 65);
  assert.match(stderr, /certs\.d\/.*\/ca\.crt: it has no certificate in PEM; openssl x509 -inform der/);
});

test('a key that the user may not read is an error, and a directory that he may not look into a warning', {
  skip: skip || needsRoot,
}, async (t) => {
  const it = await world(t);
  const user = { uid: 65534, gid: 65534 };
  const directory = certify(it, it.registry.host, { ...authority(it), ...pair(it.ca.issue()) });
  chmodSync(join(directory, 'client.key'), 0o600);
  const key = await it.run(pull, {}, user);
  assert.equal(key.status, 77, key.stderr);
  assert.match(key.stderr, /^md-token: authorization for .*\/client\.key: permission denied \(EACCES\)\n$/);
  chmodSync(directory, 0o700);
  const env = { FLAGS: `--ca-file ${it.ca.caFile}` };
  chmodSync(join(it.ca.caFile, '..'), 0o755);
  const listed = await it.run(pull, env, user);
  assert.equal(listed.status, 0, listed.stderr);
  assert.match(
    listed.stderr,
    new RegExp(`^(md-[a-z-]+: ${directory}: permission denied \\(EACCES\\); going on without\n)+$`),
  );
  chmodSync(join(directory, '..'), 0o700);
  succeeded(await it.run(pull, env, user));
  chownSync(join(directory, '..'), user.uid, user.gid);
});

test('-x tells which certificates are used, and not the key', { skip }, async (t) => {
  const it = await world(t, { demands: true });
  const client = it.ca.issue();
  const directory = certify(it, it.registry.host, { ...authority(it), ...pair(client) });
  const { stdout } = await it.run(`(${pull.replaceAll(/md-[a-z-]+/g, '$& -x')}) 2>&1`);
  assert.ok(stdout.includes(`* certificates from ${directory}: ca.crt, client.cert\n`), stdout);
  assert.ok(!stdout.includes(client.key.split('\n')[1]!));
});

test('a registry that says that it wants a client certificate is answered with where one is given', {
  skip,
}, async (t) => {
  const it = await world(t);
  const hint = (host: string) =>
    `; a client certificate is given as /etc/docker/certs.d/${host}/client.cert, with client.key\n`;
  const title = '400 No required SSL certificate was sent';
  const body = `<html>\r\n<head><title>${title}</title></head>\r\n<body></body></html>`;
  it.registry.faults.add({ on: /v2/, status: 400, body });
  const env = { FLAGS: `--ca-file ${it.ca.caFile}` };
  const nginx = await it.run(pull, env);
  assert.equal(nginx.status, 77);
  assert.match(nginx.stderr, /denied: HTTP 400 \(No required SSL certificate was sent\); a client/);
  assert.ok(nginx.stderr.endsWith(hint(it.registry.host)), nginx.stderr);
  const host = `127.0.0.1:${await heldPort(t)}`;
  const directory = scratch(t);
  for (const [name, text] of Object.entries(pair(it.ca.issue()))) writeFileSync(join(directory, name), text);
  const args = ['-accept', host, '-cert', 'client.cert', '-key', 'client.key', '-Verify', '1', '-CAfile', it.ca.caFile];
  const server = spawn('openssl', ['s_server', '-www', ...args], {
    cwd: directory,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  killAfterwards(t, server);
  await once(server.stdout, 'data');
  const alert = await it.run(`md-token --retries 0 $FLAGS ${host}/x/y`, env);
  assert.equal(alert.status, 69);
  assert.ok(alert.stderr.endsWith(`TLS: tlsv13 alert certificate required${hint(host)}`), alert.stderr);
});
