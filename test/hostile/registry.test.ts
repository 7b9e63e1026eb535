/**
 * Registries that lie, break and mislead, met by the whole pipe: one line, the documented status, no file left. Where
 * there is a list of ways to end in one place, the first of them is met by the whole pipe, and the others by the stages
 * down to that place: what the later stages do with an error does not depend on which one it is.
 */
import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { digestOf, filler } from '../support/content.js';
import type { Fault } from '../support/faults.js';
import {
  attestation,
  type BuiltImage,
  type BuiltIndex,
  describe,
  image,
  index,
  jsonBlob,
  layer,
  mediaTypes,
  put,
} from '../support/image.js';
import { type Registry, type RegistryOptions, registryFor } from '../support/registry.js';
import { type Result, scratch, shell } from '../support/run.js';

const repository = 'library/demo';
const layers = ['a', 'b'].map((name) => layer([{ name, data: name.repeat(50_000) }]));
const good = () => image({ layers });
const otherArchitecture = process.arch === 's390x' ? 'amd64' : 's390x';

interface Outcome extends Result {
  home: string;
  directory: string;
}

const toToken = 'md-token --retries 1 "$1"';
const toManifest = `${toToken} | md-manifest`;
const whole = `${toManifest} | md-fetch-layer | md-unpack "$2/rootfs"`;

/** Pulls with one retry, so that what is not worth trying again is told from what is. */
async function pull(t: TestContext, registry: Registry, { reference = '', line = whole } = {}): Promise<Outcome> {
  const [home, directory] = [scratch(t), scratch(t)];
  const name = `${registry.host}/${repository}${reference}`;
  const result = await shell(line, [name, directory], { env: { MD_HOME: home } });
  return { ...result, home, directory };
}

async function serve(t: TestContext, what: BuiltImage | BuiltIndex, options: RegistryOptions = {}): Promise<Registry> {
  const registry = await registryFor(t, options);
  await put(registry, repository, ['latest'], what);
  return registry;
}

function refused(result: Outcome, status: number, why: RegExp, badBlobs: string[] = []): void {
  assert.match(result.stderr, why);
  assert.equal(result.stderr.trim().split('\n').length, 1, result.stderr);
  assert.equal(result.status, status, result.stderr);
  assert.deepEqual(readdirSync(result.directory), [], 'no rootfs');
  const blobs = join(result.home, 'oci/blobs/sha256');
  const present = existsSync(blobs) ? readdirSync(blobs).map((hex) => `sha256:${hex}`) : [];
  assert.deepEqual(
    present.filter((digest) => badBlobs.includes(digest)),
    [],
    'no bad blob',
  );
  const partial = join(result.home, 'partial');
  // A good layer that was under way at the same time may have left its part, for the next pull.
  const parts = existsSync(partial) ? readdirSync(partial).map((name) => name.split('.')[0]!.replace('-', ':')) : [];
  assert.deepEqual(
    parts.filter((digest) => badBlobs.includes(digest)),
    [],
    'no part of one',
  );
}

const badLayer = layers[1]!.descriptor;

const layerFaults: [what: string, fault: Partial<Fault>, status: number, why: RegExp][] = [
  ['has one bit turned', { corruptAt: 20 }, 65, /blob sha256:[0-9a-f]+: digest mismatch/],
  ['is longer than it said', { extraBytes: 100 }, 65, /more bytes came than the [0-9]+/],
  [
    'is endless',
    { status: 200, body: filler(1 << 30), headers: { 'content-length': undefined } },
    65,
    /more bytes came than the/,
  ],
  ['is another one', { status: 200, body: layers[0]!.bytes }, 65, /offers [0-9]+ bytes|digest mismatch/],
  ['is not there', { status: 404, body: '' }, 66, /not found: HTTP 404/],
  ['is refused', { status: 403, body: '<html>' }, 77, /denied: HTTP 403/],
  ['is a web page', { status: 200, body: '<html>login</html>' }, 65, /offers 18 bytes/],
];

for (const [what, fault, status, why] of layerFaults) {
  test(`a layer that ${what} ends the pull with status ${status}`, async (t) => {
    const registry = await serve(t, good());
    registry.faults.add({ on: new RegExp(badLayer.digest), ...fault });
    refused(await pull(t, registry), status, why, [badLayer.digest]);
  });
}

test('a layer that is cut off each time leaves no blob', async (t) => {
  const registry = await serve(t, good());
  registry.faults.add({ on: new RegExp(badLayer.digest), cutAfter: 0 });
  refused(await pull(t, registry), 69, /cut short|connection/, [badLayer.digest]);
});

test('a layer of another content than its diffID says leaves no blob', async (t) => {
  const built = image({
    layers,
    config: { rootfs: { type: 'layers', diff_ids: [layers[0]!.diffID, digestOf('other')] } },
  });
  const registry = await serve(t, built);
  refused(await pull(t, registry), 65, /diffID/, [badLayer.digest]);
});

const manifestFaults: [what: string, fault: Partial<Fault>, status: number, why: RegExp][] = [
  ['a web page', { status: 200, body: '<!DOCTYPE html>', headers: { 'content-type': 'text/html' } }, 76, /a web page/],
  ['empty', { status: 200, body: '' }, 76, /not JSON/],
  ['a list', { status: 200, body: '[]' }, 65, /expected an object/],
  ['endless', { status: 200, body: filler(64 << 20, 32) }, 76, /longer than 4194304 bytes/],
  ['deeper than any parser likes', { status: 200, body: '['.repeat(1 << 20) }, 65, /not JSON/],
  ['refused', { status: 401, body: '' }, 77, /denied: HTTP 401; .* has no WWW-Authenticate/],
  ['not there', { status: 404, body: 'nope' }, 66, /not found: HTTP 404/],
  ['an error of the server', { status: 500, body: 'x'.repeat(100_000) }, 69, /HTTP 500/],
  ['a riddle', { status: 418 }, 76, /HTTP 418/],
  ['behind a circle of redirects', { status: 302, headers: { location: 'latest' } }, 76, /more than 10 redirects/],
  ['behind a redirect to a file', { status: 302, headers: { location: 'file:///etc/passwd' } }, 76, /file: URL/],
  [
    'promised for tomorrow',
    { status: 429, headers: { 'retry-after': '86400' } },
    75,
    /too many requests.*try again in 86400 s/,
  ],
];

for (const [what, fault, status, why] of manifestFaults) {
  test(`a manifest that is ${what} ends the pull with status ${status}`, async (t) => {
    const registry = await serve(t, good());
    registry.faults.add({ on: /manifests/, ...fault });
    refused(await pull(t, registry, { line: what === manifestFaults[0]![0] ? whole : toManifest }), status, why);
  });
}

test('an error that a registry words with escape sequences cannot rewrite the terminal', async (t) => {
  const registry = await serve(t, good());
  const message = '\x1b[2J\rroot# \n\u2028ok';
  registry.faults.add({ on: /manifests/, status: 404, body: JSON.stringify({ errors: [{ code: 'X', message }] }) });
  const result = await pull(t, registry);
  refused(result, 66, /not found/);
  assert.doesNotMatch(result.stderr.trimEnd(), /[\p{Cc}\p{Zl}]/u);
});

test('an image whose labels and names are escape sequences cannot rewrite the terminal: JSON has them in letters', async (t) => {
  // CSI as one character, DEL, text that runs backwards, a line break of Unicode's, and a tag beyond 16 bits.
  const evil = '\u009b2J\u009b31mroot# \u007f\u202e\u2028\u{e0001}';
  const registry = await serve(t, image({ layers: [layer([{ name: evil, data: '' }])], run: { Labels: { evil } } }));
  const list = `${toManifest} | md-fetch-layer | md-unpack --list`;
  for (const line of [toManifest, list, whole]) {
    const { stdout } = await pull(t, registry, { line });
    assert.doesNotMatch(stdout.trimEnd(), /[\p{Cc}\p{Cf}\p{Zl}]/u, line);
    const { path, config } = JSON.parse(stdout);
    assert.equal(line === list ? path : config.config.Labels.evil, evil, line);
  }
});

test('a manifest under a pinned digest that has another one is refused', async (t) => {
  const registry = await serve(t, good());
  const evil = image({ layers, run: { User: 'evil' } });
  registry.faults.add({
    on: /manifests/,
    status: 200,
    body: evil.bytes,
    headers: { 'content-type': mediaTypes.oci.manifest },
  });
  refused(await pull(t, registry, { reference: `@${good().descriptor.digest}` }), 65, /digest mismatch/);
});

test('a wrong Docker-Content-Digest is not believed', async (t) => {
  const registry = await serve(t, good());
  registry.faults.add({ on: /manifests/, headers: { 'docker-content-digest': digestOf('other') } });
  const result = await pull(t, registry);
  assert.equal(result.status, 0, result.stderr);
});

test('an index without this platform lists what there is', async (t) => {
  const registry = await serve(t, index([image({ layers, architecture: otherArchitecture }), attestation(good())]));
  refused(await pull(t, registry), 66, new RegExp(`no image for linux/.*; it has linux/${otherArchitecture}\n`));
});

test('an index that holds itself for ever is given up', async (t) => {
  let top = index([good()]);
  for (let i = 0; i < 6; i++) top = index([top]);
  refused(await pull(t, await serve(t, top)), 65, /nested/);
});

test('an index of very many indexes is given up', async (t) => {
  const foreign = Array.from({ length: 40 }, (_, i) =>
    index([image({ layers, architecture: otherArchitecture, run: { User: `${i}` } })]),
  );
  refused(await pull(t, await serve(t, index(foreign))), 65, /too many/);
});

for (const [what, built, status, why] of [
  [
    'an artifact',
    image({ layers, manifest: { config: describe(Buffer.from('{}'), 'application/vnd.oci.empty.v1+json') } }),
    65,
    /artifact/,
  ],
  ['an index and a manifest at once', image({ layers, manifest: { manifests: [] } }), 65, /both in one document/],
  [
    'a manifest of negative sizes',
    image({ layers, manifest: { layers: [{ ...badLayer, size: -1 }] } }),
    65,
    /at least 0/,
  ],
  [
    'a manifest of fractional sizes',
    image({ layers, manifest: { layers: [{ ...badLayer, size: 0.5 }] } }),
    65,
    /whole number/,
  ],
  [
    'a manifest whose digest climbs out of the store',
    image({ layers, manifest: { layers: [{ ...badLayer, digest: 'sha256:../../../../etc/passwd' }] } }),
    65,
    /expected a digest/,
  ],
  ['more layers than diffIDs', image({ layers, config: { rootfs: { type: 'layers', diff_ids: [] } } }), 65, /diffIDs/],
  ['a config that is no object', image({ layers, config: { rootfs: 'layers' } }), 65, /rootfs: expected an object/],
] as const) {
  test(`${what} is refused with status ${status}`, async (t) => {
    refused(await pull(t, await serve(t, built), { line: toManifest }), status, why);
  });
}

test('a config of 5 MB is not even asked for', async (t) => {
  const config = { mediaType: mediaTypes.oci.config, digest: digestOf('x'), size: 5_000_000 };
  const registry = await serve(t, image({ layers, manifest: { config } }));
  refused(await pull(t, registry), 65, /at most 4194304/);
  assert.deepEqual(
    registry.lines('registry').filter((line) => line.includes('/blobs/')),
    [],
  );
});

test('Docker schema 1 is refused by name', async (t) => {
  const registry = await serve(t, good());
  const old = jsonBlob({ schemaVersion: 1, name: 'x', tag: 'latest', fsLayers: [], history: [] }, 'x');
  registry.addManifest(repository, ['latest'], old.bytes, 'application/vnd.docker.distribution.manifest.v1+prettyjws');
  refused(await pull(t, registry), 65, /schema 1/);
});

const tokenFaults: [what: string, fault: Partial<Fault>, status: number, why: RegExp][] = [
  ['401', { status: 401, body: '{"details":"go away"}' }, 77, /denied: HTTP 401 \(go away\)/],
  ['nonsense', { status: 200, body: 'hello' }, 76, /answer is not JSON/],
  ['a huge body', { status: 200, body: filler(64 << 20, 32) }, 76, /longer than 1048576 bytes/],
  ['no token', { status: 200, body: '{}' }, 76, /no usable token/],
  ['a token that forges a header', { status: 200, body: '{"token":"a\\r\\nX: y"}' }, 76, /no usable token/],
  ['a redirect in a circle', { status: 302, headers: { location: '/token' } }, 76, /more than 10 redirects/],
];

for (const [what, fault, status, why] of tokenFaults) {
  test(`a token service that answers ${what} ends the pull with status ${status}`, async (t) => {
    const registry = await serve(t, good(), { auth: 'token' });
    registry.faults.add({ on: /^token/, ...fault });
    const result = await pull(t, registry, { line: what === tokenFaults[0]![0] ? whole : toToken });
    refused(result, status, why);
    assert.match(result.stderr, /^md-token: /);
  });
}

for (const challenge of [
  'Bearer',
  'Bearer realm=""',
  'Bearer realm="\\',
  'Bearer realm="javascript:alert(1)"',
  `Bearer realm="${'x'.repeat(8000)}"`,
  'Basic realm="x"',
  'NTLM',
  '',
]) {
  test(`the challenge ${JSON.stringify(challenge).slice(0, 50)} ends the pull with one line`, async (t) => {
    const registry = await serve(t, good(), { auth: 'token' });
    registry.faults.add({ on: /^registry/, status: 401, headers: { 'www-authenticate': challenge } });
    const result = await pull(t, registry, { line: toManifest });
    refused(result, result.status, /^md-(?:token|manifest): .*\n$/);
    assert.ok(result.status === 76 || result.status === 77, String(result.status));
  });
}

test('a registry that hangs up, or speaks no HTTP, is told in one line', async (t) => {
  const registry = await serve(t, good());
  registry.faults.add({ on: /manifests/, hangUp: true });
  refused(await pull(t, registry), 69, /the connection was closed/);
});

test('an error page that is made to be slow to search is told as soon as any other', { timeout: 20_000 }, async (t) => {
  const registry = await serve(t, good());
  const body = `<title>400 ${'SSL certificate'.repeat(4_000)}`;
  registry.faults.add({ on: /manifests/, status: 400, body });
  refused(await pull(t, registry), 76, /HTTP 400\n/);
});
