/** The digest of content that two threads hash in turn, and what is checked of gzip beside it. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { openLayer } from '../../lib/compress/decompress.js';
import { HashTurns } from '../../lib/compress/hash-turns.js';
import { ThreadDecompressor } from '../../lib/compress/thread-decompressor.js';
import { hasSha256 } from '../../lib/sys/libraries/sha256.js';
import { Random } from '../support/random.js';
import { root, scratch } from '../support/run.js';

const skip = !hasSha256() && 'this Node does not show its SHA-256';
const thread = new ThreadDecompressor(join(root, 'dist/bundle/layer-thread.cjs'), 0);
const digestOf = (content: Buffer, algorithm = 'sha256') => createHash(algorithm).update(content).digest('hex');

test('whoever has time hashes, each block once and in order', { skip }, () => {
  for (let seed = 1; seed <= 50; seed++) {
    const random = new Random(seed);
    const reader = HashTurns.begin();
    const producer = new HashTurns(reader.memory);
    const blocks = Array.from({ length: 40 }, () => randomBytes(random.below(300)));
    const coming: [block: Buffer, isHashed: boolean][] = [];
    let here = 0;
    for (const left = [...blocks]; left.length > 0 || coming.length > 0 || here > 0; ) {
      const dice = random.below(10);
      if (dice < 4 && left.length > 0) coming.push([left[0]!, producer.offer(left.shift()!)]);
      else if (dice < 7) {
        // The reader takes all that is there at once.
        for (const [block, isHashed] of coming) if (!isHashed) reader.hash(block);
        here += coming.splice(0).length;
      } else if (here > 0) {
        reader.took();
        here -= 1;
      }
    }
    assert.equal(reader.digest(), digestOf(Buffer.concat(blocks)), `seed ${seed}`);
  }
});

test('a producer that is far ahead hashes, and one that is waited for does not', { skip }, () => {
  const block = Buffer.from('block');
  const reader = HashTurns.begin();
  const producer = new HashTurns(reader.memory);
  const first = Array.from({ length: 6 }, () => producer.offer(block));
  assert.deepEqual(first, [false, false, false, false, false, false]);
  for (const _ of first) reader.hash(block);
  assert.equal(producer.offer(block), true);
  for (const _ of first) reader.took();
  assert.equal(producer.offer(block), false);
});

for (const algorithm of ['sha256', 'sha512']) {
  test(`the ${algorithm} digest is right for a reader that is slow, then fast`, async (t) => {
    const content = Buffer.concat([Buffer.alloc(3 << 20, 'text'), randomBytes(9 << 20), Buffer.alloc(20 << 20)]);
    const path = join(scratch(t), 'layer');
    writeFileSync(path, gzipSync(content, { level: 1 }));
    const bytes = await openLayer(path, { digest: { algorithm, isCompared: true }, decompressor: thread });
    const pieces: Buffer[] = [];
    for (let piece = await bytes.next(); piece; piece = await bytes.next()) {
      pieces.push(Buffer.from(piece));
      if (pieces.length < 30) await sleep(5);
    }
    await bytes.close();
    assert.ok(Buffer.concat(pieces).equals(content));
    assert.equal(bytes.digest(), digestOf(content, algorithm));
  });
}

test("gzip's own checksum counts where no digest is compared, and a digest where one is", { skip }, async (t) => {
  const data = gzipSync('content');
  data[data.length - 8]! ^= 1;
  const path = join(scratch(t), 'layer');
  writeFileSync(path, data);
  for (const decompressor of [undefined, thread]) {
    const open = (isCompared: boolean) =>
      openLayer(path, { digest: { algorithm: 'sha256', isCompared }, decompressor });
    const checked = await open(false);
    await assert.rejects(async () => {
      while (await checked.next());
    }, /the gzip data is damaged \(incorrect data check\)/);
    await checked.close();
    const compared = await open(true);
    while (await compared.next());
    assert.equal(compared.digest(), digestOf(Buffer.from('content')));
    await compared.close();
  }
});
