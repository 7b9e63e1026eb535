/**
 * Pulls from registries that nobody here wrote: Debian's docker-registry, open, with logins, with tokens, behind nginx.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { createPrivateKey, randomBytes, sign } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type DockerRegistry, startDockerRegistry } from '../support/docker-registry.js';
import { fileScratch } from '../support/file-scratch.js';
import { type BuiltImage, image, index, layer, needsZstd, put } from '../support/image.js';
import { peer, runScript } from '../support/peers.js';
import { heldPort } from '../support/ports.js';
import { startRegistry } from '../support/registry.js';
import { until } from '../support/rootfs.js';
import { afterwards, jsonLines, needs, needsRoot, type Result, scratch, shell } from '../support/run.js';
import { listening } from '../support/server.js';
import { makeCa, type TestCa } from '../support/tls.js';

const repository = 'library/demo';
const pull = 'md-token "$1" | md-manifest | md-fetch-layer';
const needsPeers = needs('docker-registry', 'skopeo');
/** bcrypt of `secret`, as htpasswd -B writes it. */
const htpasswd = 'me:$2b$04$7mkMcPPJ3ti2sCXwb7Lx.eioa.w/vap1jmo0ahrYe2bO4H6c5yRFW\n';

interface World {
  built: BuiltImage;
  registry: DockerRegistry;
  image: string;
  run(script?: string, env?: Record<string, string>): Promise<Result>;
}

const layers = [1, 2, 3].map((n) => layer([{ name: `file${n}`, data: randomBytes(200_000 * n) }]));
const built = image({ layers, run: { Cmd: ['/bin/sh'] } });

const base = fileScratch();
const stored = new Map<string, Promise<string>>();

/**
 * Where a docker-registry has an image that skopeo put there. It is made once for all tests, since that takes a second.
 */
function storage(format: string): Promise<string> {
  const made = stored.get(format) ?? fill(join(base, format), format);
  stored.set(format, made);
  return made;
}

async function fill(directory: string, format: string): Promise<string> {
  const own = await startRegistry();
  await put(own, repository, ['latest'], built);
  await put(own, repository, ['many'], index([image({ layers, architecture: 's390x' }), built]));
  const open = await startDockerRegistry(directory);
  try {
    for (const [tag, flags] of [
      ['latest', ['--format', format]],
      ['many', ['--all']],
    ] as const) {
      const tls = ['--src-tls-verify=false', '--dest-tls-verify=false', '--insecure-policy'];
      const [from, to] = [own, open].map(({ host }) => `docker://${host}/${repository}:${tag}`);
      await peer(['skopeo', 'copy', '-q', ...tls, ...flags, from!, to!]);
    }
  } finally {
    await open.close();
    await own.close();
  }
  return directory;
}

/** A docker-registry on it, open to all or as `config` says. */
async function world(t: TestContext, config: Record<string, unknown> = {}, format = 'oci'): Promise<World> {
  const directory = await storage(format);
  const registry = await startDockerRegistry(directory, { config });
  afterwards(t, () => registry.close());
  const name = `${registry.host}/${repository}`;
  const home = scratch(t);
  const run = (script = pull, env = {}) => shell(script, [name], { env: { MD_HOME: home, ...env } });
  return { built, registry, image: name, run };
}

function layersOf({ status, stdout, stderr }: Result): string[] {
  assert.equal(status, 0, stderr);
  return jsonLines(stdout)
    .slice(1)
    .map((line) => String((line.layer as { digest: string }).digest));
}

const expected = ({ built }: World) => built.layers.map((it) => it.descriptor.digest);

for (const format of ['oci', 'v2s2']) {
  test(`an image that skopeo put into docker-registry as ${format} is pulled`, { skip: needsPeers }, async (t) => {
    const it = await world(t, {}, format);
    assert.deepEqual(layersOf(await it.run()), expected(it));
  });
}

test('an index in docker-registry is pulled by platform and by digest', { skip: needsPeers }, async (t) => {
  const it = await world(t);
  assert.deepEqual(layersOf(await it.run('md-token "$1:many" | md-manifest | md-fetch-layer')), expected(it));
  const digest = (
    await peer(['skopeo', 'inspect', '--tls-verify=false', '--format', '{{.Digest}}', `docker://${it.image}:many`])
  ).trim();
  const pinned = await it.run(`md-token "$1@${digest}" | md-manifest --platform linux/s390x | md-fetch-layer`);
  assert.equal(layersOf(pinned).length, 3);
});

test('an index that buildah made is pulled for each of its platforms', {
  skip: needsRoot || needs('docker-registry', 'buildah'),
}, async (t) => {
  const directory = scratch(t);
  const registry = await startDockerRegistry(directory);
  afterwards(t, () => registry.close());
  const name = `${registry.host}/library/several:1`;
  await runScript('multi-platform.sh', [directory, name]);
  for (const arch of ['amd64', 'arm64']) {
    const tree = join(directory, `tree-${arch}`);
    const script = 'md-token "$1" | md-manifest --platform "linux/$2" | md-fetch-layer | md-unpack "$3"';
    const { status, stderr } = await shell(script, [name, arch, tree], { env: { MD_HOME: join(directory, 'home') } });
    assert.equal(status, 0, stderr);
    assert.equal(readFileSync(join(tree, 'arch'), 'utf8'), `${arch}\n`);
  }
});

test('a layer that was begun is continued by docker-registry', { skip: needsPeers }, async (t) => {
  const it = await world(t);
  const home = scratch(t);
  const { digest } = it.built.layers[2]!.descriptor;
  mkdirSync(join(home, 'partial'), { recursive: true });
  const begun = it.built.layers[2]!.bytes.subarray(0, 100_000);
  // Nobody has this process number and start.
  const namespace = /[0-9]+/.exec((await peer(['readlink', '/proc/self/ns/pid'])).trim())?.[0];
  writeFileSync(join(home, 'partial', `${digest.replace(':', '-')}.${namespace}.4194304.1`), begun);
  const result = await it.run('md-token "$1" | md-manifest | md-fetch-layer -x', { MD_HOME: home });
  assert.deepEqual(layersOf(result), expected(it));
  assert.match(result.stderr, /range: bytes=100000-/);
  assert.match(result.stderr, /206 Partial Content/);
});

test('a docker-registry with htpasswd wants a login, and takes it', { skip: needsPeers }, async (t) => {
  const directory = scratch(t);
  writeFileSync(join(directory, 'htpasswd'), htpasswd);
  const it = await world(t, { auth: { htpasswd: { realm: 'test', path: join(directory, 'htpasswd') } } });
  const denied = await it.run();
  assert.equal(denied.status, 77);
  assert.match(
    denied.stderr,
    /^md-manifest: .*wants a user name and a password; run docker login, or pass --username and --password-stdin\n$/,
  );
  const login = 'echo secret | md-token --username me --password-stdin "$1" | md-manifest | md-fetch-layer';
  assert.deepEqual(layersOf(await it.run(login)), expected(it));
  assert.equal((await it.run(login.replace('secret', 'wrong'))).status, 77);
});

test("a login that podman's tools made is used", { skip: needsPeers }, async (t) => {
  const directory = scratch(t);
  writeFileSync(join(directory, 'htpasswd'), htpasswd);
  const it = await world(t, { auth: { htpasswd: { realm: 'test', path: join(directory, 'htpasswd') } } });
  const authFile = join(directory, 'auth.json');
  await peer([
    'skopeo',
    'login',
    '--tls-verify=false',
    '--authfile',
    authFile,
    '-u',
    'me',
    '-p',
    'secret',
    it.registry.host,
  ]);
  assert.deepEqual(layersOf(await it.run(pull, { REGISTRY_AUTH_FILE: authFile })), expected(it));
});

/** A token service for docker-registry: JSON Web Tokens, signed with a certificate that the registry knows. */
async function tokenService(t: TestContext, directory: string, lifetime: number) {
  const { cert, key } = makeCa(directory).issue();
  writeFileSync(join(directory, 'bundle.pem'), cert);
  const x5c = cert.replace(/-----[A-Z ]+-----|\s/g, '');
  const base64url = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const asked: URLSearchParams[] = [];
  const server = createServer((req, res) => {
    const query = new URL(req.url ?? '', 'http://x').searchParams;
    asked.push(query);
    const [type, name, actions = ''] = (query.get('scope') ?? '').split(':');
    const now = Math.floor(Date.now() / 1000);
    const claims = {
      ...{ iss: 'tests', aud: query.get('service'), sub: '', jti: randomBytes(8).toString('hex') },
      ...{ iat: now, nbf: now - 10, exp: now + lifetime },
      access: [{ type, name, actions: actions.split(',') }],
    };
    const signed = `${base64url({ typ: 'JWT', alg: 'ES256', x5c: [x5c] })}.${base64url(claims)}`;
    const signature = sign('sha256', Buffer.from(signed), { key: createPrivateKey(key), dsaEncoding: 'ieee-p1363' });
    res.end(JSON.stringify({ token: `${signed}.${signature.toString('base64url')}`, expires_in: lifetime }));
  });
  const realm = `http://${await listening(t, server)}/token`;
  const config = {
    auth: { token: { realm, service: 'registry', issuer: 'tests', rootcertbundle: join(directory, 'bundle.pem') } },
  };
  return { config, asked };
}

const needsTokens = needs('docker-registry', 'skopeo', 'openssl');

test('a docker-registry with token authentication says where to get one', { skip: needsTokens }, async (t) => {
  const { config, asked } = await tokenService(t, scratch(t), 300);
  const it = await world(t, config);
  assert.deepEqual(layersOf(await it.run()), expected(it));
  assert.deepEqual(
    asked.map((query) => query.toString()),
    ['service=registry&scope=repository%3Alibrary%2Fdemo%3Apull'],
  );
});

test('a token that docker-registry takes for expired is renewed once, and then given up', {
  skip: needsTokens,
}, async (t) => {
  // The registry allows for clocks that differ by a minute.
  const { config, asked } = await tokenService(t, scratch(t), -120);
  const it = await world(t, config);
  const stale = await it.run();
  assert.equal(stale.status, 77, 'a token that never was good is no use');
  assert.ok(asked.length >= 2, 'and it was renewed before that was said');
});

/**
 * nginx with TLS in front of a registry. What `locations` says of it comes first, and `cdn` is another server that it
 * may redirect to: one that answers 400 to who brings credentials, as object stores do.
 */
async function startNginx(
  t: TestContext,
  directory: string,
  backend: string,
  locations: (cdn: string) => string = () => '',
): Promise<{ host: string; caFile: string; ca: TestCa }> {
  const ca = makeCa(directory);
  const { cert, key } = ca.issue(['localhost', '127.0.0.1']);
  writeFileSync(join(directory, 'nginx.crt'), cert);
  writeFileSync(join(directory, 'nginx.key'), key);
  const host = `127.0.0.1:${await heldPort(t)}`;
  const cdn = `localhost:${await heldPort(t)}`;
  // Started by root, its workers would be nobody, who may not read the files of this test.
  const user = process.getuid!() === 0 ? 'user root;' : '';
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (it) => `${it}_temp_path ${directory}/${it};`,
  );
  const config = `daemon off; ${user} pid ${directory}/pid; error_log ${directory}/error.log;
    events {} http { access_log off; ${temporary.join(' ')} client_max_body_size 0;
      ssl_certificate ${directory}/nginx.crt; ssl_certificate_key ${directory}/nginx.key;
      server { listen ${cdn.replace('localhost', '127.0.0.1')} ssl; if ($http_authorization) { return 400; }
        location / { proxy_pass http://${backend}; } }
      server { listen ${host} ssl; ${locations(cdn)}
        location / { proxy_pass http://${backend}; proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Proto https; } } }`;
  writeFileSync(join(directory, 'nginx.conf'), config);
  const nginx: ChildProcess = spawn('nginx', ['-c', join(directory, 'nginx.conf'), '-p', directory], {
    stdio: 'ignore',
    env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` },
  });
  afterwards(t, async () => {
    nginx.kill();
    if (nginx.exitCode === null) await once(nginx, 'exit');
  });
  await until(async () => {
    if (nginx.exitCode !== null) throw new Error(`nginx: ${readFileSync(join(directory, 'error.log'), 'utf8')}`);
    return (await shell(`curl -sk https://${host}/v2/ >/dev/null`)).status === 0;
  }, 50);
  return { host, caFile: ca.caFile, ca };
}

test('behind nginx with TLS from a private CA', {
  skip: needs('docker-registry', 'skopeo', 'openssl', 'nginx', 'curl'),
}, async (t) => {
  const it = await world(t);
  const { host, caFile } = await startNginx(t, scratch(t), it.registry.host);
  const line = (flags: string) => `md-token ${flags} ${host}/${repository} | md-manifest | md-fetch-layer`;
  assert.deepEqual(layersOf(await it.run(line(`--ca-file ${caFile}`))), expected(it));
  assert.deepEqual(layersOf(await it.run(line(`--insecure ${host}`))), expected(it));
  const plain = await it.run(line(''));
  assert.equal(plain.status, 76, 'nginx answers 400 to plain http');
  assert.match(plain.stderr, /HTTP 400/);
});

test('behind nginx that wants a login and redirects blobs to a host that wants none', {
  skip: needs('docker-registry', 'skopeo', 'openssl', 'nginx', 'curl'),
}, async (t) => {
  const it = await world(t);
  const directory = scratch(t);
  writeFileSync(join(directory, 'users'), htpasswd);
  const { host, caFile } = await startNginx(
    t,
    directory,
    it.registry.host,
    (cdn) => `auth_basic registry; auth_basic_user_file ${directory}/users;
      location ~ ^/v2/.*/blobs/ { return 307 https://${cdn}$request_uri; }`,
  );
  const line = (login: string) =>
    `md-token --ca-file ${caFile} ${login} ${host}/${repository} | md-manifest | md-fetch-layer`;
  const pulled = await it.run(`printf secret | ${line('--username me --password-stdin')}`);
  assert.deepEqual(layersOf(pulled), expected(it));
  const anonymous = await it.run(line(''));
  assert.equal(anonymous.status, 77);
});

test('behind nginx that wants a client certificate', {
  skip: needs('docker-registry', 'skopeo', 'openssl', 'nginx', 'curl'),
}, async (t) => {
  const it = await world(t);
  const [directory, home] = [scratch(t), scratch(t)];
  const demand = `ssl_verify_client on; ssl_client_certificate ${directory}/ca.pem;`;
  const { host, caFile, ca } = await startNginx(t, directory, it.registry.host, () => demand);
  const script = `md-token ${host}/${repository} | md-manifest | md-fetch-layer`;
  const certificates = join(home, '.config/containers/certs.d', host);
  mkdirSync(certificates, { recursive: true });
  writeFileSync(join(certificates, 'ca.crt'), readFileSync(caFile));
  const refused = await it.run(script, { HOME: home });
  assert.equal(refused.status, 77, refused.stderr);
  assert.match(
    refused.stderr,
    /denied: HTTP 400 \(No required SSL certificate was sent\); a client certificate is given/,
  );
  const { cert, key } = ca.issue(['me.test']);
  writeFileSync(join(certificates, 'client.cert'), cert);
  writeFileSync(join(certificates, 'client.key'), key);
  assert.deepEqual(layersOf(await it.run(script, { HOME: home })), expected(it));
  // The same directory serves skopeo.
  await peer(['skopeo', 'inspect', '--format', '{{.Digest}}', `docker://${host}/${repository}`], {
    env: { HOME: home },
  });
});

test('zstd layers that skopeo made are pulled as they are', { skip: needsPeers || needsZstd }, async (t) => {
  const directory = scratch(t);
  const it = await world(t);
  const layout = `oci:${directory}/layout:zstd`;
  const flags = ['--insecure-policy', '--src-tls-verify=false', '--dest-tls-verify=false'];
  await peer([
    'skopeo',
    'copy',
    '-q',
    ...flags,
    '--dest-compress-format',
    'zstd',
    '--dest-compress',
    `docker://${it.image}`,
    layout,
  ]);
  await peer(['skopeo', 'copy', '-q', ...flags, '--preserve-digests', layout, `docker://${it.image}:zstd`]);
  const result = await it.run('md-token "$1:zstd" | md-manifest | md-fetch-layer');
  assert.equal(layersOf(result).length, 3);
  assert.match(result.stdout, /tar\+zstd/);
});
