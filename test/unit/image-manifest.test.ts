import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Source } from '../../lib/base/source.js';
import { keepDocuments } from '../../lib/image/manifest/documents.js';
import { parsePlatform } from '../../lib/image/manifest/platform.js';
import { resolveImage } from '../../lib/image/manifest/resolve.js';
import { digestOf } from '../support/content.js';
import { failure } from '../support/failure.js';
import {
  attestation,
  type Blob,
  type BuiltImage,
  type BuiltIndex,
  type ImageOptions,
  image,
  index,
  jsonBlob,
  layer,
  mediaTypes,
} from '../support/image.js';

const base = layer([{ name: 'a', data: 'a' }]);
const build = (architecture = 'amd64', options: Partial<ImageOptions> = {}) =>
  image({ layers: [base], architecture, ...options });

/** A source of built images; `served` is what it sends in place of the right thing. */
class FakeSource implements Source {
  readonly asked: string[] = [];
  readonly blobs = new Map<string, Buffer>();

  constructor(
    readonly top: Blob,
    readonly contentType: string | undefined = top.descriptor.mediaType,
  ) {}

  add(...items: (BuiltImage | BuiltIndex)[]): this {
    for (const item of items) {
      this.blobs.set(item.descriptor.digest, item.bytes);
      if (item.kind === 'index') this.add(...item.children);
      else this.blobs.set(item.config.descriptor.digest, item.config.bytes);
    }
    return this;
  }

  async manifest(reference: string) {
    this.asked.push(reference);
    const bytes = reference.includes(':') ? this.blobs.get(reference) : this.top.bytes;
    return { bytes: bytes ?? this.top.bytes, contentType: this.contentType };
  }

  async blob({ digest }: { digest: string }, sink: { write(chunk: Buffer): void }) {
    this.asked.push(digest);
    const bytes = this.blobs.get(digest);
    assert.ok(bytes, `nobody has ${digest}`);
    for (const byte of bytes) sink.write(Buffer.from([byte]));
  }
}

function resolve(
  source: FakeSource,
  options: { platform?: string; strict?: boolean; reference?: string; kept?: Map<string, Buffer> } = {},
) {
  const { platform = 'linux/amd64', strict = false, reference = 'latest', kept = new Map<string, Buffer>() } = options;
  return resolveImage(source, {
    strict,
    image: 'registry.test/demo',
    reference,
    wanted: parsePlatform(platform),
    store: { read: (digest) => kept.get(digest), put: (digest, bytes) => kept.set(digest, bytes) },
  });
}

const source = (top: BuiltImage | BuiltIndex, contentType?: string) => new FakeSource(top, contentType).add(top);

const refused = (promise: Promise<unknown>, status: number, why: RegExp) =>
  assert.rejects(promise, failure(status, why));

test('an index leads to the manifest of the platform, and that to its config', async () => {
  const [arm, own] = [build('arm64'), build('amd64')];
  const found = await resolve(source(index([arm, own])));
  assert.equal(found.digest, own.descriptor.digest);
  assert.equal(found.mediaType, mediaTypes.oci.manifest);
  assert.deepEqual(found.platform, { os: 'linux', architecture: 'amd64' });
  assert.deepEqual(found.config.rootfs.diff_ids, [base.diffID]);
});

test("Docker's manifest list and schema 2 are as good as OCI's", async () => {
  const own = build('amd64', { format: 'docker' });
  const found = await resolve(source(index([own], { format: 'docker' })));
  assert.equal(found.mediaType, mediaTypes.docker.manifest);
});

test('an OCI index may hold Docker manifests, and those OCI layers', async () => {
  const own = build('amd64', { format: 'docker' });
  assert.equal((await resolve(source(index([own])))).digest, own.descriptor.digest);
});

test('index, manifest and config are kept as they came', async () => {
  const kept = new Map<string, Buffer>();
  const own = build();
  const top = index([own]);
  await resolve(source(top), { kept });
  const digests = [top, own, own.config].map(({ descriptor }) => descriptor.digest);
  assert.deepEqual([...kept.keys()].sort(), digests.sort());
  assert.equal(digestOf(kept.get(own.descriptor.digest)!), own.descriptor.digest);
});

test('an index that did not lead there is not kept', async () => {
  const kept = new Map<string, Buffer>();
  const other = index([build('s390x')]);
  await resolve(source(index([other, index([build()])])), { kept });
  assert.equal(kept.size, 4);
  assert.ok(!kept.has(other.descriptor.digest));
});

test('what is kept already is not asked for again', async () => {
  const kept = new Map<string, Buffer>();
  const own = build();
  const top = index([own]);
  await resolve(source(top), { kept });
  const again = source(top);
  await resolve(again, { kept });
  assert.deepEqual(again.asked, ['latest']);
  const pinned = source(top);
  await resolve(pinned, { kept, reference: own.descriptor.digest });
  assert.deepEqual(pinned.asked, []);
});

test('of entries that fit equally the first wins, and a better variant wins over an earlier one', async () => {
  const [v6, v7, again] = [1, 2, 3].map((n) => build('arm', { variant: n === 1 ? 'v6' : 'v7', run: { User: `${n}` } }));
  const found = await resolve(source(index([v6!, v7!, again!])), { platform: 'linux/arm/v7' });
  assert.equal(found.digest, v7!.descriptor.digest);
});

test('attestations and unknown media types in an index are passed over', async () => {
  const own = build();
  const odd = { mediaType: 'application/x-thing', digest: digestOf('x'), size: 1, platform: own.platform };
  const placed = { ...attestation(own), platform: own.platform };
  const found = await resolve(source(index([attestation(own), placed, own], { extra: [odd] })));
  assert.equal(found.digest, own.descriptor.digest);
});

test('an entry whose digest is of an unknown algorithm is passed over, and one that is no digest is not', async () => {
  const own = build();
  const odd = (digest: string) => ({ ...build('s390x').descriptor, digest, platform: own.platform });
  const found = await resolve(source(index([own], { extra: [odd('blake3:0123')] })));
  assert.equal(found.digest, own.descriptor.digest);
  for (const digest of ['sha256:0123', 'nonsense', 'a/b:0'])
    await refused(resolve(source(index([own], { extra: [odd(digest)] }))), 65, /manifests\[1\].digest: expected/);
});

for (const [wanted, ...narrow] of [
  ['linux/amd64', '386'],
  ['linux/arm64', 'arm', 'arm/v6'],
] as const) {
  test(`where an image has nothing for ${wanted}, 32 bits will do to who names no platform`, async () => {
    for (const offered of narrow) {
      const [architecture, variant] = offered.split('/');
      const its = build(architecture, variant === undefined ? {} : { variant });
      const top = index([build('s390x'), index([its])]);
      const found = await resolve(source(top), { platform: wanted });
      assert.equal(found.digest, its.descriptor.digest);
      await refused(resolve(source(top), { platform: wanted, strict: true }), 66, new RegExp(`no image for ${wanted}`));
      const own = build(wanted.split('/')[1]);
      const both = await resolve(source(index([its, index([own])])), { platform: wanted });
      assert.equal(both.digest, own.descriptor.digest);
    }
  });
}

test('who looks for 32 bits as well goes through as many indexes again', async () => {
  const others = Array.from({ length: 12 }, (_, i) => index([build('s390x', { run: { User: `${i}` } })]));
  const its = build('386');
  const found = await resolve(source(index([...others, index([its])])));
  assert.equal(found.digest, its.descriptor.digest);
});

for (const platform of [undefined, { os: 'linux', architecture: 'amd64' }]) {
  test(`an artifact ${platform ? 'for the same platform' : 'of no platform'} beside an image is passed over`, async () => {
    const own = { ...build().descriptor, ...(platform ? { platform } : {}) };
    const sbom = { ...own, digest: digestOf('sbom'), artifactType: 'application/spdx+json' };
    const top = { ...index([build()], { index: { manifests: [sbom, own] } }), children: [build()] };
    assert.equal((await resolve(source(top))).digest, own.digest);
  });
}

test('an entry for the type of an image config is an image like others', async () => {
  const other = build('amd64', { run: { User: 'other' } });
  const entries = [build(), other].map(({ descriptor, platform }) => ({ ...descriptor, platform }));
  const typed = { ...entries[0]!, artifactType: mediaTypes.oci.config };
  const top = index([build(), other], { index: { manifests: [typed, entries[1]] } });
  assert.equal((await resolve(source(top))).digest, typed.digest);
});

test('an image that needs features of the system comes after one that needs none, and does where there is no other', async () => {
  const [own, lazy] = [build(), build('amd64', { run: { User: 'lazy' } })];
  const entry = ({ descriptor, platform }: BuiltImage, features?: string[]) => ({
    ...descriptor,
    platform: { ...platform, ...(features ? { 'os.features': features } : {}) },
  });
  const of = (...manifests: unknown[]) => index([own, lazy], { index: { manifests } });
  const needy = entry(lazy, ['nydus.remoteimage.v1']);
  assert.equal((await resolve(source(of(needy, entry(own))))).digest, own.descriptor.digest);
  assert.equal((await resolve(source(of(needy)))).digest, lazy.descriptor.digest);
  assert.equal((await resolve(source(of(entry(lazy, []), entry(own))))).digest, lazy.descriptor.digest);
});

test('an index in an index is searched', async () => {
  const own = build();
  const found = await resolve(source(index([build('arm64'), index([index([own])])])));
  assert.equal(found.digest, own.descriptor.digest);
});

test('one that is for another platform is not even asked for', async () => {
  const other = index([build('arm64')]);
  const platform = { os: 'linux', architecture: 'arm64' };
  const top = source(index([], { extra: [{ ...other.descriptor, platform }] })).add(other);
  await refused(resolve(top), 66, /it has no image for linux\/amd64/);
  assert.deepEqual(top.asked, ['latest']);
});

test('indexes nested without end are given up', async () => {
  let top = index([build()]);
  for (let i = 0; i < 8; i++) top = index([top]);
  await refused(resolve(source(top)), 65, /nested/);
});

test('a single image in an index that says no platform is taken', async () => {
  const own = build();
  const top = { ...index([own], { index: { manifests: [own.descriptor] } }), children: [own] };
  assert.equal((await resolve(source(top))).digest, own.descriptor.digest);
});

const half: unknown[] = [
  {},
  { os: 'linux' },
  { os: 'linux', architecture: '' },
  { os: 1, architecture: 'amd64' },
  'linux',
];
for (const platform of half) {
  test(`an entry for the platform ${JSON.stringify(platform)} matches none, and is taken where it is the only one`, async () => {
    const [own, odd] = [build(), build('amd64', { run: { User: 'odd' } })];
    const entries = [
      { ...odd.descriptor, platform },
      { ...own.descriptor, platform: own.platform },
    ];
    const of = (...manifests: unknown[]) => source(index([own, odd], { index: { manifests } }));
    assert.equal((await resolve(of(...entries))).digest, own.descriptor.digest);
    assert.equal((await resolve(of(entries[0]))).digest, odd.descriptor.digest);
    await refused(resolve(of(...entries), { platform: 'linux/s390x' }), 66, /; it has linux\/amd64$/);
  });
}

test('without an image for the platform the error lists those that there are', async () => {
  const top = index([build('arm64'), build('s390x')]);
  await refused(resolve(source(top)), 66, /no image for linux\/amd64; it has linux\/arm64, linux\/s390x/);
});

/** An index whose entries are only descriptors, without what the images are for. */
const unnamed = (...images: BuiltImage[]) => {
  return index(images, { index: { manifests: images.map(({ descriptor }) => descriptor) } });
};

test('of several images for which the index names no platform the configs tell', async () => {
  const [arm, own, other] = [build('arm64'), build(), build('amd64', { run: { User: 'other' } })];
  const top = source(unnamed(arm, own, other));
  assert.equal((await resolve(top)).digest, own.descriptor.digest);
  assert.equal((await resolve(top, { platform: 'arm64', strict: true })).digest, arm.descriptor.digest);
  await refused(
    resolve(top, { platform: 's390x' }),
    66,
    /no image for linux\/s390x; it has linux\/arm64\/v8, linux\/amd64$/,
  );
  const beside = { index: { manifests: [{ ...arm.descriptor, platform: arm.platform }, own.descriptor] } };
  const { digest, platform } = await resolve(source(index([arm, own], beside)));
  assert.deepEqual([digest, platform], [own.descriptor.digest, own.platform]);
});

test('what is no image, or names no platform either, is none of them, and of many not all are looked at', async () => {
  const artifact = build('amd64', {
    manifest: { config: jsonBlob({}, 'application/vnd.oci.empty.v1+json').descriptor },
  });
  const nowhere = build('amd64', { config: { os: undefined, architecture: undefined } });
  await refused(resolve(source(unnamed(artifact, nowhere))), 66, /; it has images that name no platform$/);
  const own = build();
  assert.equal((await resolve(source(unnamed(artifact, nowhere, own)))).digest, own.descriptor.digest);
  const many = source(unnamed(...Array.from({ length: 20 }, (_, i) => build('arm64', { run: { User: `${i}` } })), own));
  await refused(resolve(many), 66, /; it has images that name no platform, linux\/arm64\/v8$/);
  assert.equal(many.asked.length, 1 + 2 * 16);
});

test('an index without entries, which Go writes as null, has no images', async () => {
  await refused(resolve(source(index([], { index: { manifests: null } }))), 66, /it has no images at all/);
});

test('a label or an annotation that is null counts as absent', async () => {
  const annotations = { it: null, other: 'text' };
  const own = build('amd64', {
    manifest: { layers: [{ ...base.descriptor, annotations }] },
    config: { config: { Labels: { it: null, other: 'text' } } },
  });
  const top = index([own], { index: { manifests: [{ ...own.descriptor, platform: own.platform, annotations }] } });
  const { manifest, config } = await resolve(source(top));
  assert.deepEqual(manifest.layers[0]!.annotations, { other: 'text' });
  assert.deepEqual(config.config!.Labels, { other: 'text' });
});

test('a label or an annotation may be any text', async () => {
  const annotations = { '': '', it: 'a\0b' };
  const own = build('amd64', { config: { config: { Labels: annotations } } });
  const top = index([own], { index: { manifests: [{ ...own.descriptor, platform: own.platform, annotations }] } });
  const { config } = await resolve(source(top).add(own));
  assert.deepEqual(config.config?.Labels, annotations);
});

test('a manifest without an index is taken as it is', async () => {
  const found = await resolve(source(build()));
  assert.deepEqual(found.platform, { os: 'linux', architecture: 'amd64' });
});

test('an image without an index for another platform is refused when the platform was asked for by name', async () => {
  const found = resolve(source(build()), { platform: 'linux/arm64', strict: true });
  await refused(found, 66, /it is for linux\/amd64, not linux\/arm64/);
});

test('an index is believed about a platform that the config of the image contradicts', async () => {
  const [own, wanted] = [build('amd64'), parsePlatform('linux/arm64')];
  const top = index([own], { index: { manifests: [{ ...own.descriptor, platform: wanted }] } });
  const found = await resolve(source(top), { platform: 'linux/arm64', strict: true });
  assert.deepEqual([found.digest, found.platform], [own.descriptor.digest, wanted]);
});

test('a document that is an index and a manifest at once is refused (CVE-2021-41190)', async () => {
  for (const contentType of [mediaTypes.oci.index, mediaTypes.oci.manifest, 'application/json', '']) {
    const both = { ...JSON.parse(build().bytes.toString()), manifests: [], mediaType: undefined };
    await refused(
      resolve(new FakeSource(jsonBlob(both, 'x'), contentType)),
      65,
      /both in one document|neither an index nor a manifest/,
    );
  }
});

test('a document of the other kind than it was sent as is not taken for both at once', async () => {
  const manifest = jsonBlob({ ...JSON.parse(build().bytes.toString()), mediaType: undefined }, 'x');
  await refused(
    resolve(new FakeSource(manifest, mediaTypes.oci.index)),
    65,
    /manifests: expected an array, got nothing/,
  );
  const list = jsonBlob({ manifests: [] }, 'x');
  await refused(resolve(new FakeSource(list, mediaTypes.oci.manifest)), 65, /config: expected an object, got nothing/);
});

test('a media type in the body that is of another kind than the one in the header is refused', async () => {
  const why = /sent as .* and says that it is/;
  for (const other of [mediaTypes.oci.index, mediaTypes.docker.index, mediaTypes.oci.config]) {
    await refused(resolve(source(build(), other)), 65, why);
  }
  await refused(resolve(source(index([build()]), mediaTypes.docker.manifest)), 65, why);
});

test("of docker's media type and OCI's for the same kind the one in the body counts", async () => {
  const own = build();
  const { digest, mediaType } = await resolve(source(own, mediaTypes.docker.manifest));
  assert.deepEqual([digest, mediaType], [own.descriptor.digest, mediaTypes.oci.manifest]);
  assert.equal((await resolve(source(index([own]), mediaTypes.docker.index))).digest, digest);
  const manifests = [{ ...own.descriptor, platform: own.platform, mediaType: mediaTypes.docker.manifest }];
  const found = await resolve(source(index([own], { index: { manifests } })));
  assert.deepEqual([found.digest, found.mediaType], [digest, mediaTypes.oci.manifest]);
});

test('a header that says nothing leaves it to the body; parameters of the header do not matter', async () => {
  for (const type of ['application/json', 'text/plain; charset=utf-8', 'application/octet-stream', ''])
    await resolve(new FakeSource(build(), type).add(build()));
  await resolve(source(build(), `${mediaTypes.oci.manifest}; charset=utf-8`));
});

test('an empty media type in the body is none, as for Go', async () => {
  await resolve(source(build('amd64', { manifest: { mediaType: '' } })));
});

test('without any type the fields decide, as with what umoci writes', async () => {
  const own = build('amd64', { manifest: { mediaType: undefined } });
  await resolve(source(own));
  await resolve(new FakeSource(own, 'application/json').add(own));
});

test('Docker schema 1 is refused by name', async () => {
  const old = jsonBlob({ schemaVersion: 1, name: 'x', fsLayers: [] }, 'x');
  await refused(
    resolve(new FakeSource(old, 'application/vnd.docker.distribution.manifest.v1+prettyjws')),
    65,
    /schema 1/,
  );
  await refused(resolve(new FakeSource(old, 'application/json')), 65, /schema 1/);
  const named = jsonBlob({ mediaType: 'application/vnd.docker.distribution.manifest.v1+json' }, 'x');
  await refused(resolve(new FakeSource(named, 'application/json')), 65, /schema 1/);
});

test('an artifact is refused by name', async () => {
  const config = { mediaType: 'application/vnd.cncf.helm.config.v1+json', digest: digestOf('{}'), size: 2 };
  await refused(resolve(source(build('amd64', { manifest: { config } }))), 65, /artifact \(application\/vnd.cncf.helm/);
  const typed = build('amd64', { manifest: { config, artifactType: 'application/vnd.example+type' } });
  await refused(resolve(source(typed)), 65, /artifact \(application\/vnd.example\+type\)/);
});

test('an image with an artifactType is an image as long as its config is one', async () => {
  const typed = build('amd64', { manifest: { artifactType: 'application/vnd.example+type' } });
  assert.equal((await resolve(source(typed))).digest, typed.descriptor.digest);
});

test('a layer that is not a tar archive is refused by name', async () => {
  for (const suffix of ['+gzip+encrypted', '+encrypted', 's']) {
    const odd = layer([], { mediaType: `application/vnd.oci.image.layer.v1.tar${suffix}` });
    await refused(resolve(source(build('amd64', { layers: [odd] }))), 65, /\.tar\S+, not a tar archive/);
  }
});

test('a web page is called one', async () => {
  const page = { bytes: Buffer.from('<!doctype html><title>login</title>'), descriptor: build().descriptor };
  await refused(resolve(new FakeSource(page, 'text/html')), 76, /a web page/);
});

test('a pinned digest is held against the bytes', async () => {
  const other = build('amd64', { run: { User: 'evil' } });
  const fake = new FakeSource(other);
  await refused(resolve(fake, { reference: build().descriptor.digest }), 65, /digest mismatch/);
});

test('sha512 pins and descriptors work', async () => {
  const own = build();
  const fake = source(own);
  const pin = digestOf(own.bytes, 'sha512');
  fake.blobs.set(pin, own.bytes);
  assert.equal((await resolve(fake, { reference: pin })).digest, pin);
});

test('a manifest in an index is held against size, then digest', async () => {
  const own = build();
  const short = source(index([own]));
  short.blobs.set(own.descriptor.digest, own.bytes.subarray(1));
  await refused(resolve(short), 65, /bytes, not/);
  const forged = source(index([own]));
  forged.blobs.set(own.descriptor.digest, Buffer.from(own.bytes.toString().replace('layers', 'lAyers')));
  await refused(resolve(forged), 65, /digest mismatch/);
});

test('a config is held against size and digest', async () => {
  const own = build();
  const forged = source(own);
  const { digest } = own.config.descriptor;
  forged.blobs.set(digest, Buffer.from(own.config.bytes.toString().replace('linux', 'Linux')));
  await refused(resolve(forged), 65, /config .*digest mismatch/);
});

test('what claims to be larger than 4 MiB is not even asked for', async () => {
  const own = build();
  const size = 5 << 20;
  const config = { ...own.config.descriptor, size };
  const large = { ...own, descriptor: { ...own.descriptor, size } };
  for (const top of [build('amd64', { manifest: { config } }), index([large])]) {
    const fake = source(top);
    await refused(resolve(fake), 65, /at most 4194304/);
    assert.deepEqual(fake.asked, ['latest']);
  }
});

test('content in the descriptor itself saves a request, and is checked', async () => {
  const own = build();
  const { descriptor, bytes } = own.config;
  const holding = build('amd64', { manifest: { config: { ...descriptor, data: bytes.toString('base64') } } });
  const fake = source(holding);
  await resolve(fake);
  assert.deepEqual(fake.asked, ['latest']);
  const lying = build('amd64', { manifest: { config: { ...descriptor, data: bytes.toString('hex') } } });
  await refused(resolve(source(lying)), 65, /bytes, not/);
  // As Go writes that there is none.
  const none = source(build('amd64', { manifest: { config: { ...descriptor, data: null } } }));
  await resolve(none);
  assert.deepEqual(none.asked, ['latest', descriptor.digest]);
});

test('as many layers as diffIDs, or none of it', async () => {
  const own = build('amd64', { config: { rootfs: { type: 'layers', diff_ids: [] } } });
  await refused(resolve(source(own)), 65, /1 layers, and its config 0 diffIDs/);
});

test('a rootfs of another type is refused', async () => {
  const own = build('amd64', { config: { rootfs: { type: 'base+layers', diff_ids: [base.diffID] } } });
  await refused(resolve(source(own)), 65, /rootfs.type/);
});

test('a document from elsewhere does not make the store ask for a config of any size', async () => {
  const config = { ...build().config.descriptor, size: 5 << 20 };
  const built = build('amd64', { manifest: { config } });
  const fake = source(built);
  const { digest } = built.descriptor;
  const store = { read: () => undefined, put: () => {}, has: () => true };
  const document = { image: 'registry.test/demo', digest, manifest: { config, layers: [] } };
  await refused(keepDocuments(fake, store, document), 65, /at most 4194304/);
  assert.deepEqual(fake.asked, [digest]);
});

test('a document from elsewhere is kept with its manifest as it was, and with no other config than that has', async () => {
  const [own, other] = [build(), build('s390x')];
  const kept = new Map<string, Buffer>();
  const store = {
    read: (digest: string) => kept.get(digest),
    put: (digest: string, bytes: Buffer) => kept.set(digest, bytes),
    has: () => true,
  };
  const keep = ({ digest }: { digest: string }, { config }: BuiltImage) => {
    const manifest = { config: config.descriptor, layers: [] };
    return keepDocuments(source(own), store, { image: 'registry.test/demo', digest, manifest });
  };
  await assert.rejects(keep(other.descriptor, own), /digest mismatch/);
  assert.deepEqual([...kept.keys()], []);
  assert.equal(await keep(own.descriptor, other), false);
  assert.deepEqual([...kept.keys()], [own.descriptor.digest]);
  assert.equal(await keep(own.descriptor, own), true);
});

test('a config that is nested without end is refused, and brackets in a text are no nesting', async () => {
  const nested = (depth: number) => JSON.parse(`${'[['.repeat(depth / 2)}${']]'.repeat(depth / 2)}`);
  const own = (more: object) => build('amd64', { config: { ...more } });
  await refused(resolve(source(own({ history: nested(1000) }))), 65, /nested more than 500 deep/);
  await resolve(source(own({ history: nested(400), text: `\\"${'[{'.repeat(1000)}` })));
});
