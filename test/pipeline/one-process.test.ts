/** A stage that is given IMAGE does the work of those above it. */
import assert from 'node:assert/strict';
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { hostArchitecture, image, put } from '../support/image.js';
import { repository, type World, world } from '../support/pull.js';
import { until } from '../support/rootfs.js';
import { jsonLines, type Result } from '../support/run.js';

const otherArchitecture = hostArchitecture === 's390x' ? 'amd64' : 's390x';

function linesOf({ status, stdout, stderr }: Result): Record<string, unknown>[] {
  assert.deepEqual([status, stderr], [0, '']);
  return jsonLines(stdout);
}

/** The layers that the registry was asked for. */
function asked({ registry, built }: World): string[] {
  const digests = built.layers.map(({ descriptor }) => descriptor.digest);
  return digests.filter((digest) => registry.requests.some(({ url }) => url.includes(digest)));
}

for (const auth of ['none', 'token', 'basic'] as const) {
  const options = auth === 'none' ? {} : { auth, users: { me: 'secret' } };
  const login = auth === 'none' ? '' : '-u me --password-stdin';
  const secret = auth === 'none' ? '' : 'echo secret | ';

  test(`md-fetch-layer IMAGE writes what the pipe writes, where the registry wants ${auth}`, async (t) => {
    const { run } = await world(t, options);
    const alone = linesOf(await run(`${secret}md-fetch-layer ${login} "$1"`));
    assert.equal(alone.length, 4);
    assert.deepEqual(alone, linesOf(await run(`${secret}md-token ${login} "$1" | md-manifest | md-fetch-layer`)));
  });

  test(`md-manifest IMAGE can be gone on with, where the registry wants ${auth}`, async (t) => {
    const { run } = await world(t, options);
    assert.equal(linesOf(await run(`${secret}md-manifest ${login} "$1" | md-fetch-layer`)).length, 4);
  });
}

test('a registry is asked for the image at once, and what it has asked for is passed on', async (t) => {
  const { registry, run } = await world(t, { auth: 'token' });
  const [document] = linesOf(await run('md-manifest "$1"'));
  assert.match(String(document?.authorization), /^Bearer /);
  assert.deepEqual(
    registry.requests.map(({ service, url }) => `${service} ${url.replace(/sha256:.*|\?.*/, '')}`),
    [
      `registry /v2/${repository}/manifests/latest`,
      'token /token',
      `registry /v2/${repository}/manifests/latest`,
      `registry /v2/${repository}/manifests/`,
      `registry /v2/${repository}/blobs/`,
    ],
  );
});

test('the first layer comes over the connection that is open already', async (t) => {
  const { registry, built, run } = await world(t);
  linesOf(await run('md-fetch-layer "$1"'));
  const portFor = (part: string) => registry.requests.find(({ url }) => url.includes(part))?.port;
  assert.equal(portFor(built.layers[0]!.descriptor.digest), portFor('/manifests/'));
});

test('md-manifest IMAGE writes what the pipe writes', async (t) => {
  const { run } = await world(t);
  assert.deepEqual(linesOf(await run('md-manifest "$1"')), linesOf(await run('md-token "$1" | md-manifest')));
});

for (const auth of ['token', 'basic'] as const) {
  test(`one login does for all requests of a process, where the registry wants ${auth}`, async (t) => {
    const { registry, run } = await world(t, { auth, users: { me: 'secret' } });
    linesOf(await run('echo secret | md-fetch-layer -u me --password-stdin "$1"'));
    const refused = registry.requests.filter(
      ({ service, headers }) => service === 'registry' && headers.authorization === undefined,
    );
    assert.deepEqual(
      refused.map(({ url }) => url),
      ['/v2/'],
    );
    assert.equal(registry.requests.filter(({ service }) => service === 'token').length, auth === 'token' ? 1 : 0);
  });
}

test('more connections than anybody has are as many as there are layers', async (t) => {
  const { run } = await world(t);
  assert.equal(linesOf(await run('ulimit -t 10; md-fetch-layer --jobs 1000000000000 "$1"')).length, 4);
});

test('layers are asked for before the config is there, as far as there may be connections', async (t) => {
  for (const [jobs, before] of [
    [6, 3],
    [2, 1],
    [1, 0],
  ] as const) {
    const it = await world(t);
    const config = it.built.config.descriptor.digest;
    const isAsked = () => it.registry.requests.some(({ url }) => url.includes(config));
    // And a moment more, in which there may be too many.
    const held = until(() => isAsked() && asked(it).length >= before).then(() => sleep(500));
    it.registry.faults.add({ on: new RegExp(config), held, status: 404 });
    it.registry.faults.add({ on: /blobs/, bytesPerSecond: 1 });
    const { status } = await it.run(`md-fetch-layer --jobs ${jobs} "$1"`);
    assert.equal(status, 66);
    assert.equal(asked(it).length, before, `${jobs} jobs`);
  }
});

test('of a layer that fails before the config is there one line tells, and of both that of the config', async (t) => {
  const it = await world(t);
  const [layer, config] = [it.built.layers[1]!, it.built.config].map(({ descriptor }) => descriptor.digest);
  const failsWith = async (digest: string) => {
    const { status, stdout, stderr } = await it.run('md-fetch-layer "$1"');
    assert.equal(status, 66, stderr);
    assert.match(stderr, new RegExp(`^md-fetch-layer: blob ${digest} of .*: not found: .*\\n$`));
    const lines = jsonLines(stdout).map((line) => Object.keys(line)[0]);
    return [lines.at(0), lines.at(-1)];
  };
  it.registry.faults.add({ on: new RegExp(layer!), status: 404 });
  it.registry.faults.add({ on: new RegExp(config!), delay: 500, times: 1 });
  assert.deepEqual(await failsWith(layer!), ['image', 'error']);
  rmSync(it.home, { recursive: true });
  it.registry.faults.add({ on: new RegExp(config!), delay: 500, status: 404 });
  assert.deepEqual(await failsWith(config!), ['error', 'error']);
});

test('of an image for a platform that is not the one named no layer is fetched', async (t) => {
  const it = await world(t);
  await put(it.registry, repository, ['latest'], image({ layers: it.built.layers, architecture: otherArchitecture }));
  const { status, stderr } = await it.run(`md-fetch-layer --platform linux/${hostArchitecture} "$1"`);
  assert.equal(status, 66);
  assert.match(stderr, new RegExp(`^md-fetch-layer: \\S+: it is for linux/${otherArchitecture}, not linux/`));
  assert.deepEqual(asked(it), []);
  assert.deepEqual(readdirSync(join(it.home, 'partial')), []);
});

test('a pull by name can be done again without the network', async (t) => {
  const { registry, run } = await world(t);
  const first = linesOf(await run('md-fetch-layer "$1"'));
  const { length } = registry.requests;
  const second = linesOf(await run('md-fetch-layer --offline "$1"'));
  assert.deepEqual(second.slice(1), first.slice(1));
  assert.equal(registry.requests.length, length);
  assert.equal(linesOf(await run('md-fetch-layer "oci:$MD_HOME/oci"')).length, 4);
});

test('where nothing is pulled no store is made', async (t) => {
  const { home, run } = await world(t);
  for (const script of [
    'md-fetch-layer "$1:"',
    'md-manifest "$1:"',
    'md-fetch-layer --username me "$1"',
    'md-token "$1:" | md-manifest | md-fetch-layer',
    'md-manifest --offline </dev/null',
  ]) {
    assert.equal((await run(`MD_HOME="$MD_HOME/made"; ${script}`)).status, 64, script);
    assert.deepEqual(readdirSync(home), [], script);
  }
});

for (const [command, flags] of [
  ['md-fetch-layer', ['--platform arm64', '--offline', '--username me', '--password-stdin']],
  ['md-manifest', ['--offline', '--username me', '--password-stdin']],
] as const) {
  test(`flags that are about IMAGE are wrong usage of ${command} without it`, async (t) => {
    const { run } = await world(t);
    for (const flag of flags) {
      const { status, stderr } = await run(`echo '{}' | ${command} ${flag}`);
      const [name] = flag.split(' ');
      assert.deepEqual(
        [status, stderr],
        [64, `${command}: ${name}: it goes with IMAGE; or give it to the stage above\n`],
      );
    }
  });
}
