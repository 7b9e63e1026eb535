/** Images that need no registry: the store itself, OCI image layouts, archives of docker save. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { digestOf } from '../support/content.js';
import {
  type BuiltImage,
  type BuiltIndex,
  describe,
  hostArchitecture,
  image,
  index,
  jsonBlob,
  layer,
  needsZstd,
  put,
  zstd,
} from '../support/image.js';
import { injecting } from '../support/injected-call.js';
import { peer, skopeoCopy, umociImage } from '../support/peers.js';
import { registryFor } from '../support/registry.js';
import {
  binDir,
  jsonLines,
  md,
  needs,
  needsRoot,
  pidNamespace,
  type Result,
  root,
  run,
  scratch,
  shell,
} from '../support/run.js';
import { gnuLong, paxBytes, type TarEntry, tarball, tarEntry } from '../support/tar.js';

const pipe = 'md-token "$@" | md-manifest | md-fetch-layer';

function pull(home: string, args: string[], cwd = '/', script = pipe): Promise<Result> {
  return shell(script, args, { env: { MD_HOME: home }, cwd });
}

/** The layer that all images have: more than one piece of memory, whatever compresses it. */
const noise = layer([{ name: 'noise', data: randomBytes(3_000_000) }]);

function demo(text = 'hello\n', architecture = hostArchitecture): BuiltImage {
  const layers = [layer([{ name: 'motd', data: text }]), noise];
  return image({ layers, architecture, run: { Cmd: ['/bin/true'] } });
}

/** The digests of the layers that were announced, each of which is there. */
function fetched({ stdout, stderr, status }: Result): string[] {
  assert.equal(status, 0, stderr);
  return jsonLines(stdout)
    .slice(1)
    .map(({ layer: it }) => {
      const { digest, size, path } = it as { digest: string; size: number; path: string };
      assert.equal(readFileSync(path).length, size);
      return digest;
    });
}

function document({ stdout }: Result): Record<string, unknown> {
  return jsonLines(stdout)[0]!;
}

const digests = (it: BuiltImage) => it.layers.map(({ descriptor }) => descriptor.digest);

function expectFailure(result: Result, status: number, message: RegExp): void {
  assert.equal(result.status, status, result.stderr);
  assert.match(result.stderr, message);
  assert.equal(result.stderr.trim().split('\n').length, 1, result.stderr);
}

interface Online {
  home: string;
  name: string;
  built: BuiltImage;
  requests(): number;
}

async function pulledOnce(
  t: TestContext,
  what: (built: BuiltImage) => BuiltImage | BuiltIndex = (it) => it,
): Promise<Online> {
  const home = join(scratch(t), 'home');
  const registry = await registryFor(t);
  const built = demo();
  await put(registry, 'library/demo', ['latest'], what(built));
  const name = registry.image('library/demo');
  fetched(await pull(home, [name]));
  const before = registry.requests.length;
  return { home, name, built, requests: () => registry.requests.length - before };
}

test('--offline finds an image that was pulled before, and asks nobody', async (t) => {
  const { home, name, built, requests } = await pulledOnce(t, (it) => index([it, demo('other', 's390x')]));
  assert.deepEqual(fetched(await pull(home, ['--offline', name])), digests(built));
  assert.equal(requests(), 0);
});

test('--offline finds an image by the digest of the index that it was pulled by', async (t) => {
  let top = '';
  const { home, name, built } = await pulledOnce(t, (it) => {
    const whole = index([it]);
    top = whole.descriptor.digest;
    return whole;
  });
  assert.deepEqual(fetched(await pull(home, ['--offline', `${name}@${top}`])), digests(built));
});

test('--offline says of an image that was never pulled that it is not in the store', async (t) => {
  const home = join(scratch(t), 'home');
  const result = await md('md-token', ['--offline', 'alpine'], { env: { MD_HOME: home } });
  expectFailure(
    result,
    66,
    /^md-token: docker.io\/library\/alpine:latest: it is not in the store; pull it without --offl/,
  );
  assert.ok(!existsSync(home), 'and makes no store');
});

test('--offline says which platforms the store has when it is another one', async (t) => {
  const { home, name } = await pulledOnce(t);
  const result = await pull(home, ['--offline', name], '/', 'md-token "$@" | md-manifest --platform linux/s390x');
  expectFailure(result, 66, new RegExp(`not in the store for linux/s390x; it is there for linux/${hostArchitecture}`));
});

for (const [what, config, warning] of [
  ['another platform', { architecture: 's390x' }, /^md-manifest: \S+: it is for linux\/s390x, not linux\/\w+\S*\n$/],
  ['no platform that it names', { os: undefined, architecture: undefined }, /^$/],
] as const) {
  test(`--offline finds an image for ${what} as a pull does`, async (t) => {
    const home = join(scratch(t), 'home');
    const registry = await registryFor(t);
    const built = image({ layers: demo().layers, config });
    await put(registry, 'library/demo', ['latest'], built);
    for (const flags of [[], ['--offline']]) {
      const result = await pull(home, [...flags, registry.image('library/demo')]);
      assert.deepEqual(fetched(result), digests(built));
      assert.match(result.stderr, warning);
    }
  });
}

test('--offline says which layer is missing', async (t) => {
  const { home, name, built } = await pulledOnce(t);
  const { digest } = built.layers[1]!.descriptor;
  renameSync(join(home, 'oci/blobs', digest.replace(':', '/')), join(home, 'elsewhere'));
  expectFailure(await pull(home, ['--offline', name]), 66, new RegExp(`blob ${digest} of .*: it is not in the store`));
});

test('--offline needs nothing but to read the store', async (t) => {
  const { home, name, built } = await pulledOnce(t);
  // Something that would be swept, if only it could.
  const { pid: dead } = spawnSync('true');
  const leftover = join(home, 'partial', `index.json.${pidNamespace}.${dead}.1`);
  writeFileSync(leftover, '');
  for (const directory of ['partial', 'oci', 'oci/blobs/sha256', '.']) chmodSync(join(home, directory), 0o555);
  chmodSync(join(home, '..'), 0o755);
  const user = process.getuid!() === 0 ? { uid: 65534, gid: 65534 } : {};
  const result = await shell(pipe, ['--offline', name], { env: { MD_HOME: home }, ...user });
  assert.deepEqual(fetched(result), digests(built));
  assert.ok(existsSync(leftover));
});

test('a store that cannot be made is told with the reason', { skip: needsRoot || needs('unshare') }, async (t) => {
  const script = 'mount -t tmpfs -o ro none "$1" && MD_HOME="$1/not/there" md-manifest "oci:$2"';
  const source = layout(join(scratch(t), 'layout'), [demo()]);
  const result = await run(['unshare', '--mount', 'sh', '-c', script, 'sh', scratch(t), source]);
  assert.match(
    result.stderr,
    /^md-manifest: .*\/not\/there\/partial: read-only file system \(EROFS\); MD_HOME names another place for the store$/m,
  );
  assert.equal(result.status, 74);
});

/** An image in an OCI image layout, with the entries that index.json is to have. */
function layout(directory: string, built: BuiltImage[], entries = built.map((it) => entry(it))): string {
  mkdirSync(join(directory, 'blobs/sha256'), { recursive: true });
  writeFileSync(join(directory, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  writeFileSync(join(directory, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: entries }));
  for (const it of built) {
    for (const { bytes, descriptor } of [it, it.config, ...it.layers]) {
      writeFileSync(blobPath(directory, descriptor.digest), bytes);
    }
  }
  return directory;
}

function blobPath(directory: string, digest: string): string {
  return join(directory, 'blobs', digest.replace(':', '/'));
}

function entry({ descriptor, platform }: BuiltImage, name?: string): Record<string, unknown> {
  const annotations = name === undefined ? {} : { annotations: { 'org.opencontainers.image.ref.name': name } };
  return { ...descriptor, platform, ...annotations };
}

test('an image comes from an OCI image layout, named relative to where one is', async (t) => {
  const directory = scratch(t);
  const built = demo();
  layout(join(directory, 'some'), [built]);
  const result = await pull(join(directory, 'home'), ['oci:some'], directory);
  assert.deepEqual(fetched(result), digests(built));
  const { source, image: name, digest } = document(result);
  assert.equal(source, `oci:${directory}/some`);
  assert.equal(digest, built.descriptor.digest);
  assert.equal(name, `localhost/some@${built.descriptor.digest}`);
});

test('an image of a layout is chosen by its tag, its name, its short name or its digest', async (t) => {
  const directory = scratch(t);
  const [one, two] = [demo('one'), demo('two')];
  const entries = [entry(one, 'v1'), entry(two, 'docker.io/library/demo:latest')];
  const path = layout(join(directory, 'some'), [one, two], entries);
  const found = async (selector: string) => {
    const result = await pull(join(directory, 'home'), [`oci:${path}${selector}`]);
    fetched(result);
    return [document(result).digest, document(result).image];
  };
  assert.deepEqual(await found(':v1'), [one.descriptor.digest, 'localhost/some:v1']);
  for (const name of [':docker.io/library/demo:latest', ':demo', `@${two.descriptor.digest}`]) {
    assert.deepEqual(await found(name), [two.descriptor.digest, 'docker.io/library/demo:latest']);
  }
});

test('a layout of several images has to be asked for one of them', async (t) => {
  const directory = scratch(t);
  const [one, two] = [demo('one'), demo('two')];
  const path = layout(join(directory, 'some'), [one, two], [entry(one, 'v1'), entry(two, 'v2')]);
  const home = join(directory, 'home');
  expectFailure(await pull(home, [`oci:${path}`]), 64, /it has several images; name one of them: it has v1, v2/);
  expectFailure(await pull(home, [`oci:${path}:v3`]), 66, /there is no image v3 in it; it has v1, v2/);
});

test('what a layout lists beside its only image is no second image', async (t) => {
  const directory = scratch(t);
  const built = demo();
  const others = [
    { mediaType: 'application/xml', digest: `sha256:${'b'.repeat(64)}`, size: 7143 },
    { ...entry(built), digest: `sha256:${'c'.repeat(64)}`, artifactType: 'application/spdx+json' },
    { ...entry(built), digest: `blake3:${'d'.repeat(64)}` },
    { ...entry(built), digest: `sha256:${'e'.repeat(64)}`, platform: { os: 'unknown', architecture: 'unknown' } },
  ];
  for (const [i, other] of others.entries()) {
    const path = layout(join(directory, `some${i}`), [built], [other, entry(built)]);
    assert.deepEqual(fetched(await pull(join(directory, 'home'), [`oci:${path}`])), digests(built));
  }
});

test('entries of one name are one image for several platforms', async (t) => {
  const directory = scratch(t);
  const [own, other] = [demo('own'), demo('other', 's390x')];
  const path = layout(join(directory, 'some'), [other, own], [entry(other, 'v1'), entry(own, 'v1')]);
  const result = await pull(join(directory, 'home'), [`oci:${path}:v1`]);
  assert.deepEqual(fetched(result), digests(own));
});

/** What `docker save` of version 25 and later writes of an index of which it has pulled a part. */
function savedPart(directory: string, part: BuiltImage, left: BuiltImage): string {
  const whole = index([left, part]);
  const path = layout(directory, [part], [{ ...whole.descriptor }]);
  writeFileSync(blobPath(path, whole.descriptor.digest), whole.bytes);
  return path;
}

test('platforms that were left out when an image was saved are not there', async (t) => {
  const directory = scratch(t);
  const [own, other] = [demo('own'), demo('other', 's390x')];
  const path = savedPart(join(directory, 'own'), own, other);
  const home = join(directory, 'home');
  assert.deepEqual(fetched(await pull(home, [`oci:${path}`])), digests(own));
  const result = await pull(home, [`oci:${path}`], '/', 'md-token "$@" | md-manifest --platform linux/s390x');
  const has = `it has linux/${hostArchitecture}\\S*; others were not saved`;
  expectFailure(result, 66, new RegExp(`it has no image for linux/s390x; ${has}`));
});

test('of an image that was saved on another machine the message says for which platform it is', async (t) => {
  const directory = scratch(t);
  const path = savedPart(join(directory, 'other'), demo('other', 's390x'), demo('own'));
  const result = await pull(join(directory, 'home'), [`oci:${path}`]);
  expectFailure(
    result,
    66,
    new RegExp(`it has no image for linux/${hostArchitecture}\\S*; it has linux/s390x; others`),
  );
});

test('the store itself is such a layout', async (t) => {
  const { home, name, built } = await pulledOnce(t);
  const result = await pull(`${home}2`, [`oci:${home}/oci:${name}:latest`]);
  assert.deepEqual(fetched(result), digests(built));
  assert.equal(document(result).image, `${name}:latest`);
});

test('a layout is never written to', async (t) => {
  const directory = scratch(t);
  const path = layout(join(directory, 'some'), [demo()]);
  const before = readdirSync(path, { recursive: true }).sort();
  fetched(await pull(join(directory, 'home'), [`oci:${path}`]));
  assert.deepEqual(readdirSync(path, { recursive: true }).sort(), before);
});

for (const tool of ['umoci', 'skopeo']) {
  test(`an image comes from a layout that ${tool} wrote`, { skip: needs(tool, 'skopeo') }, async (t) => {
    const directory = scratch(t);
    const path = join(directory, 'layout');
    if (tool === 'umoci') {
      await umociImage(path, 'it', []);
    } else {
      const source = layout(join(directory, 'source'), [demo()]);
      await skopeoCopy(`oci:${source}`, `oci:${path}:it`);
    }
    const result = await pull(join(directory, 'home'), [`oci:${path}:it`]);
    assert.equal(fetched(result).length, tool === 'umoci' ? 0 : 2);
    assert.equal(document(result).image, 'localhost/layout:it');
  });
}

const hostileLayouts: Record<string, (path: string, built: BuiltImage) => void> = {
  'a blob that is a symbolic link': (path, built) => {
    const blob = blobPath(path, built.layers[0]!.descriptor.digest);
    renameSync(blob, join(path, 'moved'));
    symlinkSync(join(path, 'moved'), blob);
  },
  'a directory of blobs that is a symbolic link': (path) => {
    renameSync(join(path, 'blobs/sha256'), join(path, 'moved'));
    symlinkSync(join(path, 'moved'), join(path, 'blobs/sha256'));
  },
  'an index.json that is a symbolic link': (path) => {
    renameSync(join(path, 'index.json'), join(path, 'moved'));
    symlinkSync(join(path, 'moved'), join(path, 'index.json'));
  },
  'a digest that leads elsewhere': (path, built) => {
    const digest = 'sha256:../../../../etc/passwd';
    writeFileSync(join(path, 'index.json'), JSON.stringify({ manifests: [{ ...entry(built), digest }] }));
  },
  'a layer of the right size and other content': (path, built) => {
    const { digest, size } = built.layers[0]!.descriptor;
    writeFileSync(blobPath(path, digest), Buffer.alloc(size));
  },
  'a layer that is too short': (path, built) => writeFileSync(blobPath(path, built.layers[0]!.descriptor.digest), ''),
  'a layer that is missing': (path, built) => {
    renameSync(blobPath(path, built.layers[0]!.descriptor.digest), join(path, 'moved'));
  },
  'a manifest of other content': (path, built) => writeFileSync(blobPath(path, built.descriptor.digest), '{}'),
  'a manifest of another size than index.json says': (path, built) => {
    const size = built.descriptor.size + 1;
    writeFileSync(join(path, 'index.json'), JSON.stringify({ manifests: [{ ...entry(built), size }] }));
  },
  'a manifest that is not JSON': (path) => {
    const manifest = Buffer.from('no');
    const descriptor = describe(manifest, demo().descriptor.mediaType);
    writeFileSync(blobPath(path, descriptor.digest), manifest);
    writeFileSync(join(path, 'index.json'), JSON.stringify({ manifests: [descriptor] }));
  },
  'an index.json that is nested without end': (path, built) => {
    const entries = Array(2).fill(`{"x":${'['.repeat(1e5)}${']'.repeat(1e5)},${JSON.stringify(entry(built)).slice(1)}`);
    writeFileSync(join(path, 'index.json'), `{"manifests":[${entries.join(',')}]}`);
  },
  'an index.json that is longer than any': (path) => {
    const file = join(path, 'index.json');
    writeFileSync(file, readFileSync(file, 'utf8').padEnd((4 << 20) + 1));
  },
  'an index.json that is not JSON': (path) => writeFileSync(join(path, 'index.json'), 'no'),
  'a version that nobody knows': (path) => writeFileSync(join(path, 'oci-layout'), '{"imageLayoutVersion":"2.0.0"}'),
  'an oci-layout that is empty': (path) => writeFileSync(join(path, 'oci-layout'), ''),
  'an oci-layout that says nothing': (path) => writeFileSync(join(path, 'oci-layout'), '{}'),
  'no index.json': (path) => renameSync(join(path, 'index.json'), join(path, 'moved')),
};

for (const [what, spoil] of Object.entries(hostileLayouts)) {
  test(`a layout with ${what} is refused`, async (t) => {
    const directory = scratch(t);
    const built = demo();
    const path = layout(join(directory, 'some'), [built]);
    spoil(path, built);
    const result = await pull(join(directory, 'home'), [`oci:${path}`]);
    expectFailure(result, 65, /^md-/);
  });
}

test('a layout of symbolic links, as some builders make it, is pulled once it is copied as the message says', async (t) => {
  const directory = scratch(t);
  const built = demo();
  const path = layout(join(directory, 'some'), [built]);
  hostileLayouts['a blob that is a symbolic link']!(path, built);
  const home = join(directory, 'home');
  expectFailure(await pull(home, [`oci:${path}`]), 65, /it is a symbolic link; cp -rL makes a layout without any/);
  spawnSync('cp', ['-rL', path, join(directory, 'copy')]);
  assert.equal(fetched(await pull(home, [`oci:${join(directory, 'copy')}`])).length, 2);
});

test('of a foreign layer that a layout lacks the message says where it is and where it belongs', async (t) => {
  const foreign = layer([{ name: 'far', data: 'away' }]);
  foreign.descriptor.urls = ['https://example.com/far'];
  const path = layout(join(scratch(t), 'some'), [image({ layers: [foreign] })]);
  unlinkSync(blobPath(path, foreign.descriptor.digest));
  const why =
    /blobs\/sha256\/[0-9a-f]{64} is missing; it is a foreign layer: put what is at https:\/\/example\.com\/far there/;
  expectFailure(await pull(join(scratch(t), 'home'), [`oci:${path}`]), 65, why);
});

test('what is no layout, and what is not there, are told apart', async (t) => {
  const directory = scratch(t);
  const file = join(directory, 'file');
  writeFileSync(file, '');
  expectFailure(await pull(directory, [`oci:${directory}`]), 65, /it has no oci-layout/);
  expectFailure(await pull(directory, [`oci:${file}`]), 65, /it is not a directory; .* docker-archive:FILE/);
  expectFailure(await pull(directory, [`docker-archive:${directory}`]), 65, /it is a directory; .* oci:DIR/);
  spawnSync('mkfifo', [join(directory, 'pipe')]);
  expectFailure(
    await pull(directory, [`docker-archive:${directory}/pipe`]),
    64,
    /it is not a regular file; save it first/,
  );
  expectFailure(await pull(directory, [`oci:${directory}/none`]), 66, /it is not there$/m);
  expectFailure(await pull(directory, ['docker-archive:-']), 66, /it is not there; stdin is no source/);
  expectFailure(await pull(directory, [`oci:${file}/none`]), 66, /it is not there/);
  for (const name of ['oci:', 'oci::latest', `oci:${directory}:`, 'docker-archive:']) {
    expectFailure(await pull(directory, [name]), 64, /it names no image of this machine; oci:DIR/);
  }
});

test('an image that has several names is one image, and one whose name is none has that of its directory', async (t) => {
  const directory = scratch(t);
  const built = demo();
  for (const [i, names] of [
    ['v1', 'latest'],
    [undefined, undefined],
    ['no tag', 'v1'],
  ].entries()) {
    const path = layout(
      join(directory, `some${i}`),
      [built],
      names.map((name) => entry(built, name)),
    );
    const result = await pull(join(directory, 'home'), [`oci:${path}`]);
    fetched(result);
    const expected = names[0] === 'v1' ? 'localhost/some0:v1' : `localhost/some${i}@${built.descriptor.digest}`;
    assert.equal(document(result).image, expected);
  }
});

test('whoever pins a digest gets no other image that a layout or an archive calls so', async (t) => {
  const directory = scratch(t);
  const [own, other] = [demo('own'), demo('other')];
  const pinned = `docker.io/library/demo:1@${own.descriptor.digest}`;
  const path = layout(join(directory, 'some'), [other], [entry(other, pinned)]);
  const archive = join(directory, 'some.tar');
  const { config, layers } = plain('other');
  const item = { Config: 'config.json', RepoTags: [pinned], Layers: ['layer.tar'] };
  writeFileSync(
    archive,
    tarball([
      { name: 'manifest.json', data: JSON.stringify([item]) },
      { name: 'config.json', data: config.bytes },
      { name: 'layer.tar', data: layers[0]!.bytes },
    ]),
  );
  const home = join(directory, 'home');
  for (const source of [`oci:${path}`, `docker-archive:${archive}`]) {
    const result = await pull(home, [source]);
    fetched(result);
    assert.match(String(document(result).image), /^localhost\/some@sha256:/);
    expectFailure(await pull(home, [`${source}:${pinned}`]), 65, /is called docker.io.*, and nothing in it has that/);
  }
  layout(join(directory, 'true'), [own], [entry(own, pinned)]);
  const result = await pull(home, [`oci:${directory}/true:${pinned}`]);
  assert.deepEqual([document(result).image, fetched(result)], [pinned, digests(own)]);
});

test('a name in a layout may have an @ that no digest follows', async (t) => {
  const directory = scratch(t);
  const [own, other] = [demo('own'), demo('other')];
  const path = layout(join(directory, 'some'), [own, other], [entry(own, 'app@2.0'), entry(other, 'app@1.0')]);
  const result = await pull(join(directory, 'home'), [`oci:${path}:app@2.0`]);
  assert.deepEqual(fetched(result), digests(own));
  assert.equal(document(result).image, `localhost/some@${own.descriptor.digest}`);
});

test('an image that was pulled by the digest of an index is found by that in the store as a layout', async (t) => {
  const directory = scratch(t);
  const [own, other] = [demo('own'), demo('other')];
  const whole = index([own]);
  const pinned = `docker.io/library/demo@${whole.descriptor.digest}`;
  // Even where its entry is for something else.
  for (const [i, named] of [own, other].entries()) {
    const path = layout(join(directory, `some${i}`), [own, other], [entry(named, pinned)]);
    writeFileSync(blobPath(path, whole.descriptor.digest), whole.bytes);
    const result = await pull(join(directory, 'home'), [`oci:${path}`]);
    assert.deepEqual([document(result).image, fetched(result)], [pinned, digests(own)]);
  }
});

/** What `docker save` of old wrote: a directory for each layer, and a link where a layer comes twice. */
function oldArchive(path: string, { config, layers }: BuiltImage, more: TarEntry[] = []): string {
  const id = (i: number) => config.descriptor.digest.slice(7, 70) + i.toString();
  const configName = `${config.descriptor.digest.slice(7)}.json`;
  const item = {
    Config: configName,
    RepoTags: ['demo:latest'],
    Layers: [...layers.keys()].map((i) => `${id(i)}/layer.tar`),
  };
  const first = layers.map((it) => layers.findIndex(({ diffID }) => diffID === it.diffID));
  const files = layers.flatMap((it, i): TarEntry[] => [
    { name: `${id(i)}/`, type: 'directory' },
    { name: `${id(i)}/VERSION`, data: '1.0' },
    first[i] === i
      ? { name: `${id(i)}/layer.tar`, data: it.bytes }
      : { name: `${id(i)}/layer.tar`, type: 'symlink', linkname: `../${id(first[i]!)}/layer.tar` },
  ]);
  writeFileSync(
    path,
    tarball([
      ...files,
      { name: configName, data: config.bytes },
      ...more,
      { name: 'manifest.json', data: JSON.stringify([item]) },
    ]),
  );
  return path;
}

function plain(...contents: string[]): BuiltImage {
  return image({ layers: contents.map((data) => layer([{ name: 'file', data }], { compression: 'none' })) });
}

test('an image comes from what docker save wrote, layers that are links included', async (t) => {
  const directory = scratch(t);
  const built = plain('one', 'two', 'one');
  oldArchive(join(directory, 'saved.tar'), built);
  const result = await pull(join(directory, 'home'), ['docker-archive:saved.tar'], directory);
  assert.deepEqual(fetched(result), digests(built));
  assert.equal(document(result).image, 'docker.io/library/demo:latest');
  assert.equal(document(result).source, `docker-archive:${directory}/saved.tar`);
});

for (const [named, stored] of [
  ['./', ''],
  ['/', ''],
  ['', './'],
  ['', '/'],
] as const) {
  test(`an archive calls its files ${stored}NAME, and its manifest.json ${named}NAME`, async (t) => {
    const directory = scratch(t);
    const built = plain('one', 'two');
    const item = { Config: `${named}config.json`, RepoTags: null, Layers: [`${named}0.tar`, `${named}1.tar`] };
    const files: TarEntry[] = [
      { name: `${stored}config.json`, data: built.config.bytes },
      { name: `${stored}0.tar`, data: built.layers[0]!.bytes },
      { name: `${stored}one.tar`, data: built.layers[1]!.bytes },
      { name: `${stored}1.tar`, type: 'link', linkname: `${stored}one.tar` },
      { name: 'manifest.json', data: JSON.stringify([item]) },
    ];
    writeFileSync(join(directory, 'saved.tar'), tarball(files));
    const result = await pull(join(directory, 'home'), ['docker-archive:saved.tar'], directory);
    assert.deepEqual(fetched(result), digests(built));
  });
}

test('an archive may tell names and sizes in a header before that of the file, or in a part of it', async (t) => {
  const directory = scratch(t);
  const built = plain('one', 'two');
  const long = (name: string) => `${name.repeat(120)}/file`;
  const [zero, one] = built.layers;
  const item = { Config: long('c'), RepoTags: null, Layers: [`${'p'.repeat(100)}/zero.tar`, 'd/one.tar'] };
  const files: (TarEntry | Buffer)[] = [
    { name: long('c'), data: built.config.bytes },
    { name: 'zero.tar', data: zero!.bytes, patch: (block) => block.write('p'.repeat(100), 345) },
    tarEntry({ name: 'x', type: 'pax', data: paxBytes({ size: String(one!.bytes.length) }) }),
    gnuLong('L', long('e')),
    { name: 'short', data: one!.bytes, size: 0 },
    // The content of a hard link is that of its target, as much of it as it may claim to have.
    gnuLong('K', long('e')),
    { name: 'd/one.tar', type: 'link', linkname: 'short', size: 512, pax: { size: '512' } },
    { name: 'manifest.json', data: JSON.stringify([item]) },
  ];
  writeFileSync(join(directory, 'saved.tar'), tarball(files));
  const result = await pull(join(directory, 'home'), ['docker-archive:saved.tar'], directory);
  assert.deepEqual(fetched(result), digests(built));
});

test('all names of an archive are told to whoever asks for none or another one, and each is one of an image', async (t) => {
  const directory = scratch(t);
  const built = image({ layers: [] });
  const items = [['demo:one', 'demo:two'], ['demo:three']].map((RepoTags) => ({
    Config: 'config.json',
    RepoTags,
    Layers: [],
  }));
  const files = { 'manifest.json': JSON.stringify(items), 'config.json': built.config.bytes };
  const path = join(directory, 'saved.tar');
  writeFileSync(path, tarball(Object.entries(files).map(([name, data]) => ({ name, data }))));
  const home = join(directory, 'home');
  expectFailure(await pull(home, [`docker-archive:${path}:demo:six`]), 66, /it has demo:one, demo:two, demo:three/);
  expectFailure(
    await pull(home, [`docker-archive:${path}`]),
    64,
    /it has several images; name one of them: it has demo:/,
  );
  const result = await pull(home, [`docker-archive:${path}:demo:two`]);
  assert.equal(document(result).image, 'docker.io/library/demo:two', result.stderr);
});

test('an archive that becomes another one between two stages is told', async (t) => {
  const directory = scratch(t);
  const built = plain('one');
  const path = oldArchive(join(directory, 'saved.tar'), built);
  const later = oldArchive(join(directory, 'later.tar'), { ...built, layers: plain('one'.repeat(1000)).layers });
  const script =
    'md-token "$1" | md-manifest | { read -r line; mv "$2" "$3"; printf "%s\\n" "$line"; } | md-fetch-layer';
  const result = await pull(join(directory, 'home'), [`docker-archive:${path}`, later, path], '/', script);
  expectFailure(result, 65, /layer\.tar: it has [0-9]+ bytes, not [0-9]+$/m);
});

for (const [what, compress, skip] of [
  ['gzip', gzipSync, false],
  ['zstd', zstd, needsZstd],
] as const) {
  test(`an archive that is compressed with ${what} is read as it is, and leaves nothing behind`, {
    skip,
  }, async (t) => {
    const directory = scratch(t);
    const built = plain('one', 'two', 'one');
    const path = oldArchive(join(directory, 'saved.tar'), built);
    writeFileSync(`${path}.z`, compress(readFileSync(path)));
    const home = join(directory, 'home');
    const result = await pull(home, [`docker-archive:${path}.z`]);
    assert.deepEqual(fetched(result), digests(built));
    assert.equal(document(result).digest, document(await pull(home, [`docker-archive:${path}`])).digest);
    assert.deepEqual(readdirSync(join(home, 'partial')), []);
  });
}

test('what is in the store already is not read from its archive again', async (t) => {
  const directory = scratch(t);
  const path = oldArchive(join(directory, 'saved.tar'), plain('one'));
  const home = join(directory, 'home');
  fetched(await pull(home, [`docker-archive:${path}`]));
  const once = 'md-token "$1" | { read -r line; rm "$2"; printf "%s\\n" "$line"; } | md-manifest | md-fetch-layer';
  fetched(await pull(home, [`docker-archive:${path}`, path], '/', once));
});

test('md-run unpacks an image of a layout once, and again when it is another one', async (t) => {
  const directory = scratch(t);
  const bin = join(directory, 'bin');
  mkdirSync(bin);
  // md-isolate says which tree it would run in; the pipe says when it runs.
  cpSync(join(root, 'cmd/md-run'), join(bin, 'md-run'));
  writeFileSync(join(bin, 'md-isolate'), '#!/bin/sh\necho "$2"\n', { mode: 0o755 });
  const fetching = `#!/bin/sh\necho pulled >&2\nexec ${binDir}/md-fetch-layer "$@"\n`;
  writeFileSync(join(bin, 'md-fetch-layer'), fetching, { mode: 0o755 });
  const env = { MD_HOME: join(directory, 'home') };
  const path = join(directory, 'some');
  const runIt = (name = `oci:${path}`) => run([join(bin, 'md-run'), name], { env });
  const [one, two] = [demo('one'), demo('two')];
  layout(path, [one]);
  const first = await runIt();
  assert.equal(first.stderr, 'pulled\n');
  assert.equal(first.stdout, `${env.MD_HOME}/rootfs/${one.descriptor.digest.replace(':', '-')}\n`);
  assert.deepEqual({ ...(await runIt()) }, { ...first, stderr: '' });
  layout(path, [two]);
  assert.equal((await runIt()).stderr, 'pulled\n');
  // An index stands for an image of each platform: only md-manifest knows which.
  layout(path, [one, demo('other', 's390x')], [entry(one, 'a'), entry(demo('other', 's390x'), 'a')]);
  assert.equal((await runIt()).stdout, first.stdout);
  // image-spec, descriptor.md, "Registered algorithms".
  const digest = digestOf(two.bytes, 'sha512');
  layout(path, [two], [{ ...entry(two), digest }]);
  mkdirSync(join(path, 'blobs/sha512'));
  writeFileSync(blobPath(path, digest), two.bytes);
  for (const stderr of ['pulled\n', ''])
    assert.deepEqual(
      { ...(await runIt()) },
      { ...first, stderr, stdout: `${env.MD_HOME}/rootfs/${digest.replace(':', '-')}\n` },
    );
  const missing = await runIt('oci:/nowhere');
  assert.equal(missing.status, 125);
  assert.equal(missing.stderr, 'md-token: /nowhere: it is not there\n');
});

test('layers of an archive that are compressed come as they are', async (t) => {
  const directory = scratch(t);
  const built = demo();
  const path = oldArchive(join(directory, 'saved.tar'), built);
  assert.deepEqual(fetched(await pull(join(directory, 'home'), [`docker-archive:${path}:demo`])), digests(built));
});

test('an archive that is a layout as well keeps the digests of the layout', async (t) => {
  const directory = scratch(t);
  const built = demo();
  const path = layout(join(directory, 'some'), [built], [entry(built, 'docker.io/library/demo:latest')]);
  writeFileSync(
    join(path, 'manifest.json'),
    JSON.stringify([
      { Config: `blobs/sha256/${built.config.descriptor.digest.slice(7)}`, RepoTags: ['demo:latest'], Layers: [] },
    ]),
  );
  await peer(['tar', '-C', path, '-cf', join(directory, 'saved.tar'), '.']);
  const result = await pull(join(directory, 'home'), [`docker-archive:${directory}/saved.tar:demo:latest`]);
  assert.deepEqual(fetched(result), digests(built));
  assert.equal(document(result).digest, built.descriptor.digest);
});

for (const kind of ['docker-archive', 'oci-archive']) {
  test(`an image comes from what skopeo wrote as ${kind}`, { skip: needs('skopeo') }, async (t) => {
    const directory = scratch(t);
    const built = demo();
    const archive = `${kind}:${directory}/saved.tar`;
    const named = `${archive}:quay.io/some/demo:v1`;
    await skopeoCopy(`oci:${layout(join(directory, 'source'), [built])}`, named);
    // docker's has no manifest, and its layers are not compressed.
    const isDockers = kind === 'docker-archive';
    const result = await pull(join(directory, 'home'), [isDockers ? archive : named]);
    assert.deepEqual(fetched(result), isDockers ? built.layers.map(({ diffID }) => diffID) : digests(built));
    const { image, digest, source } = document(result);
    assert.deepEqual([image, source], ['quay.io/some/demo:v1', archive]);
    assert.equal(digest === built.descriptor.digest, !isDockers);
  });
}

test('a disk that fails under an archive is told, and is no fault of the program', {
  skip: needs('strace'),
}, async (t) => {
  const path = oldArchive(join(scratch(t), 'saved.tar'), plain('one'));
  // What is at the path, what has been opened, and its size; its first bytes, and its first header.
  for (const call of ['openat:1', 'statx:1', 'statx:2', 'statx:3', 'pread64:1', 'pread64:2']) {
    const strace = injecting(call.replace(':', ':error=EIO:when='), path);
    const { status, stderr } = await run([...strace, 'md-token', `docker-archive:${path}`]);
    assert.deepEqual([status, stderr], [74, `md-token: ${path}: i/o error (EIO)\n`], call);
  }
});

const hostileArchives: Record<string, [expected: RegExp, make: (path: string) => void]> = {
  'a layer of other content': [
    /digest mismatch/,
    (path) => {
      const built = plain('one');
      oldArchive(path, { ...built, layers: plain('two').layers });
    },
  ],
  'a config whose name is not its digest': [
    /its name is not its digest/,
    (path) => {
      const built = plain('one');
      const config = jsonBlob({ ...JSON.parse(built.config.bytes.toString()), os: 'plan9' }, 'x');
      oldArchive(path, { ...built, config: { ...built.config, bytes: config.bytes } });
    },
  ],
  'more layers than diffIDs': [
    /it has 2 layers, and its config 1 diffIDs/,
    (path) => {
      oldArchive(path, { ...plain('one'), layers: plain('one', 'two').layers });
    },
  ],
  'links that lead in a circle': [
    /its links lead nowhere/,
    (path) => {
      const links: TarEntry[] = [
        { name: 'a', type: 'symlink', linkname: 'b' },
        { name: 'b', type: 'symlink', linkname: 'a' },
        { name: 'manifest.json', type: 'symlink', linkname: 'a' },
      ];
      writeFileSync(path, tarball(links));
    },
  ],
  'a link to a file outside': [
    /is missing/,
    (path) => {
      const item = { Config: 'config.json', RepoTags: null, Layers: [] };
      const files: TarEntry[] = [
        { name: 'config.json', type: 'symlink', linkname: '../../../../../../etc/passwd' },
        { name: 'manifest.json', data: JSON.stringify([item]) },
      ];
      writeFileSync(path, tarball(files));
    },
  ],
  'more images than anyone has': [
    /more than 1000 images/,
    (path) => {
      const items = Array.from({ length: 1001 }, () => ({ Config: 'config.json', RepoTags: null, Layers: [] }));
      writeFileSync(path, tarball([{ name: 'manifest.json', data: JSON.stringify(items) }]));
    },
  ],
  'a PAX record that has no length': [
    /a PAX record is not as long as it says/,
    (path) => writeFileSync(path, tarball([{ name: 'x', rawPax: Buffer.from('0 path=manifest.json\n') }])),
  ],
  'a header that is longer than names are': [
    /the extended header x is too long/,
    (path) => writeFileSync(path, tarball([{ name: 'x', type: 'pax', data: Buffer.alloc(2 << 20) }])),
  ],
  'names that are too long to be kept': [
    /the names of its files are too long/,
    (path) => {
      const name = '/x'.repeat(500_000);
      writeFileSync(path, tarball(Array.from({ length: 17 }, (_, i) => ({ name: `${i}${name}` }))));
    },
  ],
  'a layer that is cut off': [
    /it is cut off/,
    (path) => {
      oldArchive(path, demo());
      writeFileSync(path, readFileSync(path).subarray(0, 2_000_000));
    },
  ],
  'damaged compression': [
    /the gzip data is damaged/,
    (path) => writeFileSync(path, Buffer.concat([Buffer.from('1f8b0800', 'hex'), Buffer.alloc(1000, 1)])),
  ],
  'compression that breaks off': [
    /the gzip data is cut/,
    (path) => {
      oldArchive(path, demo());
      writeFileSync(path, gzipSync(readFileSync(path)).subarray(0, -1000));
    },
  ],
  // Of which the end is damaged, and never seen.
  'the image of a disk, compressed': [
    /it is not a tar archive/,
    (path) => writeFileSync(path, gzipSync(randomBytes(8 << 20)).subarray(0, -1000)),
  ],
  nothing: [/it is empty; what should have written it may have failed/, (path) => writeFileSync(path, '')],
  'compressed nothing': [/it is empty/, (path) => writeFileSync(path, gzipSync(''))],
  'compression that nobody knows': [
    /it is not a tar archive; one that is compressed with anything but gzip or zstd/,
    (path) => writeFileSync(path, Buffer.concat([Buffer.from('fd377a585a00', 'hex'), Buffer.alloc(1000, 1)])),
  ],
  'no manifest.json': [
    /it has no manifest.json and no oci-layout/,
    (path) => writeFileSync(path, tarball([{ name: 'x', data: 'y' }])),
  ],
};

for (const [what, [expected, make]] of Object.entries(hostileArchives)) {
  test(`an archive with ${what} is refused`, async (t) => {
    const directory = scratch(t);
    const path = join(directory, 'saved.tar');
    make(path);
    const result = await pull(join(directory, 'home'), [`docker-archive:${path}`]);
    expectFailure(result, 65, expected);
  });
}

test('a layout on another machine is how an image travels: copied, it is pulled from', async (t) => {
  const { home, name, built, requests } = await pulledOnce(t);
  const stick = join(scratch(t), basename(home));
  cpSync(join(home, 'oci'), stick, { recursive: true });
  assert.deepEqual(fetched(await pull(`${home}-other`, [`oci:${stick}`])), digests(built));
  assert.equal(requests(), 0);
  assert.equal(document(await pull(`${home}-other`, ['--offline', name])).image, `${name}:latest`);
});

test('the bare name of an archive that is there is no image of Docker Hub', async (t) => {
  const cwd = scratch(t);
  for (const name of ['saved.tar', 'saved.tar.gz', 'saved.tgz']) {
    writeFileSync(join(cwd, name), '');
    const { status, stderr } = await md('md-token', [name], { cwd });
    const expected = `it is a file here; docker-archive:${name} reads it; the image is docker.io/library/${name}:latest`;
    assert.deepEqual([status, stderr], [64, `md-token: ${name}: ${expected}\n`]);
  }
  const absent = await md('md-token', ['--offline', 'absent.tar'], { cwd });
  assert.match(absent.stderr, /: docker\.io\/library\/absent\.tar:latest: it is not in the store/);
});
