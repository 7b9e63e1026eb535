import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BlobRequest, BlobSink, RawManifest } from '../../lib/base/source.js';
import { type Endpoint, Mirrored } from '../../lib/registry/mirrors.js';
import { RegistryFailure } from '../../lib/registry/transport/failure.js';
import { digestOf } from '../support/content.js';
import { blob, bytes, fetchBlob, Sink } from '../support/registry-client.js';

/** Goes on where the sink is, as a registry does, and breaks off at `until`. */
class Fake implements Endpoint {
  readonly authorization = null;
  readonly name = 'mirror.example';
  readonly offsets: number[] = [];
  readonly urls: (readonly string[] | undefined)[] = [];

  constructor(
    readonly content: Buffer,
    readonly until = content.length,
  ) {}

  async login(): Promise<null> {
    return null;
  }

  async manifest(): Promise<RawManifest> {
    return { bytes: this.content, contentType: undefined };
  }

  async blob({ urls }: BlobRequest, sink: BlobSink): Promise<void> {
    this.offsets.push(sink.offset);
    this.urls.push(urls);
    sink.write(this.content.subarray(sink.offset, this.until));
    if (this.until < blob.size) throw new RegistryFailure(69, this.name, 'it broke off');
  }
}

test('what a mirror has sent before it broke off is gone on with', async () => {
  const [mirror, origin] = [new Fake(bytes, 400), new Fake(bytes)];
  await fetchBlob(new Mirrored([mirror], origin));
  assert.deepEqual(origin.offsets, [400]);
});

test('nonsense of a mirror that broke off does not spoil what the registry sends', async () => {
  const [mirror, origin] = [new Fake(Buffer.alloc(blob.size), 400), new Fake(bytes)];
  await fetchBlob(new Mirrored([mirror], origin));
  assert.deepEqual(origin.offsets, [400, 0]);
});

test('nonsense that an earlier run has left is not a fault of a mirror', async () => {
  const [mirror, origin] = [new Fake(bytes), new Fake(bytes)];
  await fetchBlob(new Mirrored([mirror], origin), new Sink(Buffer.alloc(400)));
  assert.deepEqual([mirror.offsets, origin.offsets], [[400, 0], []]);
});

test('behind a mirror that sends another content is the next one, and the URLs of a foreign layer are for none of them', async () => {
  const mirrors = [new Fake(Buffer.alloc(blob.size)), new Fake(bytes, 400)];
  const origin = new Fake(bytes);
  const mirrored = new Mirrored([...mirrors], origin);
  await fetchBlob(mirrored, new Sink(), { ...blob, urls: ['https://elsewhere.example/'] });
  const all = [...mirrors, origin];
  assert.deepEqual(
    all.map(({ offsets }) => offsets),
    [[0], [0], [400]],
  );
  assert.deepEqual(
    all.map(({ urls }) => urls),
    [[undefined], [undefined], [['https://elsewhere.example/']]],
  );
});

test('a manifest of a mirror has the digest that was asked for, or comes from the registry', async () => {
  const [other, own] = [Buffer.from('{"manifests":[]}'), Buffer.from('{"manifests":[],"own":true}')];
  const mirrored = new Mirrored([new Fake(other)], new Fake(own));
  assert.equal((await mirrored.manifest('latest')).bytes, other);
  assert.equal((await mirrored.manifest(digestOf(other))).bytes, other);
  assert.equal((await mirrored.manifest(digestOf(own))).bytes, own);
});

test('a disk that is full is not a fault of a mirror', async () => {
  class FullSink extends Sink {
    override write(): never {
      throw new Error('full');
    }
  }
  const origin = new Fake(bytes);
  await assert.rejects(new Mirrored([new Fake(bytes)], origin).blob(blob, new FullSink()), /^Error: full$/);
  assert.deepEqual(origin.offsets, []);
});

for (const status of [66, 69, 75, 77]) {
  for (const first of ['login', 'blob'] as const) {
    test(`a mirror whose first answer, to ${first}, is a failure with ${status} is not asked for the next blob`, async () => {
      let asked = 0;
      const fail = async () => {
        asked += 1;
        throw new RegistryFailure(status, 'mirror.example', 'no');
      };
      const mirror: Endpoint = { name: 'mirror.example', authorization: null, login: fail, manifest: fail, blob: fail };
      const mirrored = new Mirrored([mirror], new Fake(bytes));
      if (first === 'login') await mirrored.login();
      for (let i = 0; i < 2; i++) await fetchBlob(mirrored);
      assert.equal(asked, 1);
    });
  }
}
