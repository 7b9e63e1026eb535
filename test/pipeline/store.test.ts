/** Several pulls at once, and pulls that are killed: the store stays whole. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, existsSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type BuiltImage, image, index, layer, put } from '../support/image.js';
import { callOf, injecting } from '../support/injected-call.js';
import { signal } from '../support/processes.js';
import { type Registry, registryFor } from '../support/registry.js';
import { until } from '../support/rootfs.js';
import { cleanEnv, jsonLines, needs, needsRoot, type Result, run, scratch, shell } from '../support/run.js';

const pipe = 'md-token "$1" | md-manifest | md-fetch-layer';
/** 50 rounds of pulls that are killed take two minutes; a few find what is grossly wrong. */
const rounds = Number(process.env.MD_TEST_ROUNDS ?? 6);

interface Site {
  registry: Registry;
  home: string;
  built: BuiltImage;
  pull(): Promise<Result>;
}

async function site(t: TestContext, layerSizes = [200_000, 50_000, 1000]): Promise<Site> {
  const home = join(scratch(t), 'home');
  const registry = await registryFor(t);
  const layers = layerSizes.map((size, i) => layer([{ name: `file${i}`, data: randomBytes(size) }]));
  const built = image({ layers });
  await put(registry, 'library/demo', ['latest'], index([built]));
  // A test may go on with another store.
  const pull = () => shell(pipe, [registry.image('library/demo')], { env: { MD_HOME: it.home } });
  const it = { registry, home, built, pull };
  return it;
}

/** Every blob has the digest that it is named by, and index.json lists what is there with all that it refers to. */
function verify(home: string): void {
  const oci = join(home, 'oci');
  if (!existsSync(oci)) return;
  assert.deepEqual(JSON.parse(readFileSync(join(oci, 'oci-layout'), 'utf8')), { imageLayoutVersion: '1.0.0' });
  const blob = (digest: string) => readFileSync(join(oci, 'blobs', digest.replace(':', '/')));
  for (const hex of readdirSync(join(oci, 'blobs/sha256'))) {
    assert.equal(
      createHash('sha256')
        .update(blob(`sha256:${hex}`))
        .digest('hex'),
      hex,
    );
  }
  const { manifests } = JSON.parse(readFileSync(join(oci, 'index.json'), 'utf8'));
  for (const { digest, size } of manifests) {
    const bytes = blob(digest);
    assert.equal(bytes.length, size);
    const { config, layers } = JSON.parse(bytes.toString());
    for (const part of [config, ...layers]) assert.equal(blob(part.digest).length, part.size);
  }
}

function expectWhole({ home, built }: Site, { status, stderr, stdout }: Result): void {
  assert.equal(status, 0, stderr);
  assert.deepEqual(
    jsonLines(stdout)
      .slice(1)
      .map(({ layer }) => (layer as { digest: string }).digest),
    built.layers.map(({ descriptor }) => descriptor.digest),
  );
  verify(home);
}

test('a layout that cannot be written is not left half made', async (t) => {
  const { registry, home } = await site(t);
  const script = 'ulimit -f 0; md-manifest "$1" | tail -n 1';
  const { stderr } = await shell(script, [registry.image('library/demo')], { env: { MD_HOME: home } });
  const why = 'file too large (EFBIG); ulimit -f, or the filesystem, allows no larger files';
  assert.equal(stderr, `md-manifest: ${home}/oci: ${why}\n`);
  assert.deepEqual(readdirSync(home, { recursive: true }), ['partial']);
});

test('a disk that fails at a directory of the layout is said to fail, and not to lack something', {
  skip: needs('strace'),
}, async (t) => {
  const { registry, home } = await site(t);
  const strace = injecting(`${callOf('mkdir')}:error=EIO:when=6+`);
  const argv = [...strace, 'md-fetch-layer', registry.image('library/demo')];
  const { status, stderr } = await run(argv, { env: { MD_HOME: home } });
  assert.match(stderr, /^md-fetch-layer: \S+\/home\/oci: i\/o error \(EIO\); .*\n$/);
  assert.equal(status, 74);
  assert.deepEqual(readdirSync(home, { recursive: true }), ['partial']);
});

test('a umask that takes from the owner does not close the store to who makes it', async (t) => {
  const it = await site(t);
  chmodSync(dirname(it.home), 0o777);
  const user = needsRoot ? {} : { uid: 65534, gid: 65534 };
  const [image, env] = [it.registry.image('library/demo'), { MD_HOME: it.home }];
  const script = 'umask 777; md-fetch-layer "$1" | md-unpack --path';
  const { status, stdout, stderr } = await shell(script, [image], { env, ...user });
  assert.deepEqual([status, stderr], [0, '']);
  assert.equal(statSync(join(stdout.trim(), 'file0')).size, 200_000);
});

test('a umask that leaves others out keeps them out of all that a pull puts into the store', async (t) => {
  const it = await site(t);
  const script = 'umask 077; md-fetch-layer "$1" >layers; find "$MD_HOME" ! -type l -perm /077; find "$MD_HOME"';
  const [image, options] = [it.registry.image('library/demo'), { env: { MD_HOME: it.home }, cwd: scratch(t) }];
  const { stdout } = await shell(script, [image], options);
  assert.equal(stdout.split('\n')[0], it.home, stdout);
  assert.match(stdout, /\/index\.json\n/);
});

test('eight pulls of the same image at once all succeed', async (t) => {
  const it = await site(t);
  it.registry.faults.add({ on: /blobs/, bytesPerSecond: 200_000 });
  for (const result of await Promise.all(Array.from({ length: 8 }, it.pull))) expectWhole(it, result);
});

test('what one pull is fetching, others that begin meanwhile do not ask for', async (t) => {
  const it = await site(t);
  const asked = (what: string) => it.registry.lines('registry').filter((line) => line.endsWith(what)).length;
  const layer = it.built.layers[0]!.descriptor.digest;
  // And a moment more, in which they could ask.
  const held = until(() => asked('manifests/latest') === 4).then(() => sleep(300));
  it.registry.faults.add({ on: new RegExp(layer), held });
  // Of two that begin in the same tick of the kernel's clock both may be first.
  const first = it.pull();
  await until(() => asked(layer) === 1);
  for (const result of await Promise.all([first, it.pull(), it.pull(), it.pull()])) expectWhole(it, result);
  assert.equal(asked(layer), 1);
});

test('pulls that are killed at any moment leave a store that verifies, and the next pull succeeds', async (t) => {
  const it = await site(t);
  it.registry.faults.add({ on: /blobs/, bytesPerSecond: 2_000_000 });
  for (let round = 0; round < rounds; round++) {
    const pulls = Array.from({ length: 8 }, () => startPull(it));
    // From before the first request to after the last layer.
    await sleep(Math.random() * 500);
    for (const pull of pulls) signal(-pull.pid!, 'SIGKILL');
    await Promise.all(pulls.map(gone));
    verify(it.home);
    if (round % 2 === 0) expectWhole(it, await it.pull());
    // Every other pair of rounds begins from nothing, so that all of a pull is hit, not its end only.
    if (round % 4 === 3) it.home = join(it.home, '../home', String(round));
  }
  expectWhole(it, await it.pull());
});

/** The shell leads a process group, which is killed as a whole, as a reboot would. */
function startPull({ registry, home }: Site): ChildProcess {
  const env = { ...cleanEnv(), MD_HOME: home };
  return spawn('sh', ['-c', pipe, 'sh', registry.image('library/demo')], { env, detached: true, stdio: 'ignore' });
}

async function gone(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
}

for (const [what, name] of [
  ['a killed pull', 'SIGKILL'],
  ['a pull that Ctrl-C ended', 'SIGINT'],
] as const) {
  test(`what ${what} has fetched of a layer is not fetched again`, async (t) => {
    const it = await site(t, [2_000_000]);
    it.registry.faults.add({ on: /blobs/, after: 1, times: 1, stallAfter: 1_500_000 });
    const child = startPull(it);
    await until(() => left(it.home).some(({ size }) => size === 1_500_000));
    signal(-child.pid!, name);
    await gone(child);
    expectWhole(it, await it.pull());
    const ranges = it.registry.requests.map(({ headers }) => headers.range).filter((range) => range !== undefined);
    assert.deepEqual(ranges, [`bytes=1500000-${it.built.layers[0]!.descriptor.size - 1}`]);
    assert.deepEqual(left(it.home), []);
  });
}

test('a web page in the place of a layer takes nothing away of what has come', async (t) => {
  const it = await site(t, [2_000_000]);
  const { digest, size } = it.built.layers[0]!.descriptor;
  const on = new RegExp(digest);
  it.registry.faults.add({ on, times: 1, cutAfter: 1_500_000 });
  it.registry.faults.add({ on, times: 1, status: 200, body: '<html>log in to the network</html>' });
  const result = await it.pull();
  assert.equal(result.status, 65);
  assert.match(result.stderr, /the registry offers 34 bytes, not/);
  expectWhole(it, await it.pull());
  const asked = it.registry.requests.filter(({ url }) => url.includes(digest)).map(({ headers }) => headers.range);
  const rest = `bytes=1500000-${size - 1}`;
  assert.deepEqual(asked, [undefined, rest, rest]);
  assert.deepEqual(left(it.home), []);
});

test('a full disk ends a pull with one line, and when there is room again it goes on', {
  skip: needsRoot || needs('unshare'),
}, async (t) => {
  const it = await site(t, [900_000, 900_000, 900_000]);
  // One layer after the other: three at once could fill the disk before any of them is whole.
  const script = `mount -t tmpfs -o size=2m none "$2" && MD_HOME="$2/home" && export MD_HOME && ${pipe} -j 1 >/dev/null
    ls "$MD_HOME"/oci/blobs/sha256 | wc -l; mount -o remount,size=50m "$2" && ${pipe} && cp -r "$MD_HOME" "$3"`;
  const copy = join(it.home, '../copy');
  const argv = ['unshare', '--mount', 'sh', '-c', script, 'sh', it.registry.image('library/demo'), scratch(t), copy];
  const result = await run(argv);
  assert.match(result.stderr, /^md-fetch-layer: .*\/partial\/.*: no space left on device \(ENOSPC\); md-prune .*\n$/);
  const [blobs = '', ...lines] = result.stdout.split('\n');
  expectWhole({ ...it, home: copy }, { ...result, stdout: lines.join('\n') });
  // The index, the manifest, the config and a layer were kept, and not asked for again.
  assert.ok(Number(blobs) >= 4, blobs);
  assert.deepEqual(left(copy), []);
});

test('on a full disk an archive that has to be decompressed first says how to get space, too', {
  skip: needsRoot || needs('unshare'),
}, async (t) => {
  const directory = scratch(t);
  writeFileSync(join(directory, 'content'), randomBytes(3_000_000));
  const script = `cd "$1" && tar -czf archive content && mount -t tmpfs -o size=1m none "$2" &&
    MD_HOME="$2/home" md-fetch-layer docker-archive:archive`;
  const { status, stderr } = await run(['unshare', '--mount', 'sh', '-c', script, 'sh', directory, scratch(t)]);
  assert.equal(status, 74);
  assert.match(stderr, /^md-fetch-layer: .*decompressing .*: no space left on device \(ENOSPC\); md-prune .*\n$/);
});

/** The partial files, with their sizes. */
function left(home: string): { name: string; size: number }[] {
  const directory = join(home, 'partial');
  if (!existsSync(directory)) return [];
  return readdirSync(directory).map((name) => ({
    name,
    // It may have got its final name in between.
    size: statSync(join(directory, name), { throwIfNoEntry: false })?.size ?? 0,
  }));
}

test('a blob that was torn by a power failure is fetched again', async (t) => {
  const it = await site(t);
  expectWhole(it, await it.pull());
  const { digest } = it.built.layers[0]!.descriptor;
  truncateSync(join(it.home, 'oci/blobs', digest.replace(':', '/')), 100);
  expectWhole(it, await it.pull());
});

test('a partial file of another container is left alone as long as it may be alive', async (t) => {
  const it = await site(t);
  expectWhole(it, await it.pull());
  const other = join(it.home, 'partial', `sha256-${'0'.repeat(64)}.1.1.1`);
  writeFileSync(other, 'of a process in another PID namespace');
  await put(it.registry, 'library/demo', ['latest'], image({ layers: [layer([{ name: 'new', data: 'x' }])] }));
  assert.equal((await it.pull()).status, 0);
  assert.ok(existsSync(other));
});

test('an image that was pulled for two platforms is in the store for both', async (t) => {
  const it = await site(t);
  const other = image({ layers: [layer([{ name: 'x' }])], architecture: 's390x' });
  await put(it.registry, 'library/demo', ['latest'], index([it.built, other]));
  expectWhole(it, await it.pull());
  const script = 'md-token "$1" | md-manifest --platform linux/s390x | md-fetch-layer';
  const result = await shell(script, [it.registry.image('library/demo')], { env: { MD_HOME: it.home } });
  assert.equal(result.status, 0, result.stderr);
  verify(it.home);
  const { manifests } = JSON.parse(readFileSync(join(it.home, 'oci/index.json'), 'utf8'));
  const name = `${it.registry.image('library/demo')}:latest`;
  assert.deepEqual(
    manifests.map((entry: { platform: { architecture: string }; annotations: Record<string, string> }) => [
      entry.platform.architecture,
      entry.annotations['org.opencontainers.image.ref.name'],
      entry.annotations['io.containerd.image.name'],
    ]),
    [
      ['s390x', name, name],
      [it.built.platform.architecture, undefined, name],
    ],
  );
});

test('a first pull that is killed as it makes the layout leaves nothing that stays', {
  skip: needs('strace'),
}, async (t) => {
  const { registry, home, pull } = await site(t, [1000]);
  const strace = injecting(`${callOf('rename')}:signal=KILL:error=EIO`);
  const killed = await run([...strace, 'md-fetch-layer', registry.image('library/demo')], { env: { MD_HOME: home } });
  assert.notEqual(killed.status, 0);
  assert.ok(readdirSync(join(home, 'partial')).some((name) => name.startsWith('oci')));
  assert.equal((await pull()).status, 0);
  assert.deepEqual(readdirSync(join(home, 'partial')), []);
});

test('a FIFO in the place of a file of the store is refused, and not waited for', async (t) => {
  const { home, registry } = await site(t, [1000]);
  const name = registry.image('library/demo');
  const { stdout } = await shell('md-pull "$1"', [name], { env: { MD_HOME: home } });
  for (const [path, script] of [
    [join(home, 'oci/index.json'), 'md-prune --dry-run'],
    [join(home, 'lock'), 'md-prune "$1"'],
    [`${stdout.trim()}.json`, 'md-pull "$1"'],
  ] as const) {
    const inItsPlace = `mv "$2" "$2.kept" && mkfifo "$2" && ${script}; s=$?; mv "$2.kept" "$2"; exit $s`;
    const { status, stderr } = await shell(inItsPlace, [name, path], { env: { MD_HOME: home } });
    assert.equal(status, 65, stderr);
    assert.match(stderr, /^md-(prune|unpack): [^\n]*: it is not a regular file\n$/);
  }
});
