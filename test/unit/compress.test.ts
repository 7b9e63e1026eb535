/** Decompression of gzip and zstd. */
import assert from 'node:assert/strict';
import { createHash, pbkdf2, randomBytes } from 'node:crypto';
import { openSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { Failure } from '../../lib/base/failure.js';
import { BoundedQueue } from '../../lib/compress/bounded-queue.js';
import { type Decompressor, openLayer } from '../../lib/compress/decompress.js';
import { gunzip, gunzipByStream } from '../../lib/compress/gunzip.js';
import { Input } from '../../lib/compress/input.js';
import { compressionOf } from '../../lib/compress/magic.js';
import { type Output, QueueOutput } from '../../lib/compress/output.js';
import { ThreadDecompressor } from '../../lib/compress/thread-decompressor.js';
import { libraryDecoder, nodeDecoder, unzstd } from '../../lib/compress/unzstd.js';
import { FrameWalker } from '../../lib/compress/zstd-frames.js';
import { digestOf } from '../support/content.js';
import { failure } from '../support/failure.js';
import { needsZstd, zstd } from '../support/image.js';
import { root, scratch } from '../support/run.js';

/** The program that the commands run, for layers of any size. */
const thread = new ThreadDecompressor(join(root, 'dist/bundle/layer-thread.cjs'), 0);

/**
 * Reads a layer in each way that there is, by this thread, by the other, and by Node's stream: all must come to the
 * same.
 */
async function read(t: TestContext, data: Buffer): Promise<Buffer> {
  const path = join(scratch(t), 'layer');
  writeFileSync(path, data);
  // What a Node does whose zlib cannot be called.
  const streamed = compressionOf(data) === 'gzip' ? decoded(path, gunzipByStream) : readWith(path);
  const [own, other, byStream] = await Promise.allSettled([readWith(path), readWith(path, thread), streamed]);
  assert.deepEqual(outcome(other), outcome(own));
  // The stream has words of its own for what is wrong.
  assert.deepEqual(valueOrStatus(byStream), valueOrStatus(own));
  if (own.status === 'rejected') throw own.reason;
  return own.value;
}

/**
 * What there is to compare: of a failure no cause, which does not come from one thread to the other, and of bytes their
 * digest, since `deepEqual` is slow on megabytes.
 */
function outcome(result: PromiseSettledResult<Buffer>): unknown {
  if (result.status === 'fulfilled') return digestOf(result.value);
  const { status, message } = result.reason as Failure;
  return { status, message };
}

function valueOrStatus(result: PromiseSettledResult<Buffer>): unknown {
  return result.status === 'fulfilled' ? digestOf(result.value) : (result.reason as Failure).status;
}

async function readWith(path: string, decompressor?: Decompressor): Promise<Buffer> {
  const bytes = await openLayer(path, { decompressor });
  const chunks: Buffer[] = [];
  try {
    // A copy: a piece is valid until the next one is asked for.
    for (let chunk = await bytes.next(); chunk; chunk = await bytes.next()) chunks.push(Buffer.from(chunk));
    const content = Buffer.concat(chunks);
    assert.equal(bytes.digest(), createHash('sha256').update(content).digest('hex'));
    return content;
  } finally {
    await bytes.close();
  }
}

/** What one decoder makes of a file. */
async function decoded(path: string, decode: (input: Input, output: Output) => Promise<void>): Promise<Buffer> {
  const input = new Input(openSync(path, 'r'), path);
  const queue = new BoundedQueue(1 << 30);
  try {
    await decode(input, new QueueOutput(queue));
  } finally {
    queue.end();
    await input.close();
  }
  const chunks: Buffer[] = [];
  for (let chunk = await queue.next(); chunk; chunk = await queue.next()) chunks.push(chunk);
  return Buffer.concat(chunks);
}

async function damaged(t: TestContext, data: Buffer, why: RegExp): Promise<void> {
  await assert.rejects(read(t, data), failure(65, why));
}

/** Compressible and longer than several pieces, not a multiple of anything. */
const text = Buffer.from(Array.from({ length: 200_003 }, (_, i) => `${i * 7919} `).join(''));
const noise = randomBytes(600_001);

/** A skippable frame: RFC 8878, 3.1.2. */
function skippable(content: Buffer): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32LE(0x184d2a53, 0);
  head.writeUInt32LE(content.length, 4);
  return Buffer.concat([head, content]);
}

/** Compresses the noise once only: where Node has no zstd each time is a process. */
function sparing(compress: (data: Buffer) => Buffer): (data: Buffer) => Buffer {
  let packed: Buffer | undefined;
  return (data) => {
    if (data !== noise) return compress(data);
    packed ??= compress(noise);
    return packed;
  };
}

const compressors = [
  { name: 'gzip', compress: sparing(gzipSync), skip: false as const },
  { name: 'zstd', compress: sparing(zstd), skip: needsZstd },
];

test('bytes without a magic number are taken as they are', async (t) => {
  assert.deepEqual(await read(t, text), text);
  assert.deepEqual(await read(t, Buffer.of()), Buffer.of());
});

for (const { name, compress, skip } of compressors) {
  const options = { skip };
  test(`${name} is known by its magic and comes out as it went in`, options, async (t) => {
    assert.equal(compressionOf(compress(text)), name);
    assert.deepEqual(await read(t, compress(text)), text);
    assert.deepEqual(await read(t, compress(noise)), noise);
    assert.deepEqual(await read(t, compress(Buffer.of())), Buffer.of());
  });

  test(`several ${name} members or frames are one stream`, options, async (t) => {
    const parts = [text, Buffer.of(), noise, Buffer.from('x'), text.subarray(0, 1000)];
    assert.deepEqual(await read(t, Buffer.concat(parts.map(compress))), Buffer.concat(parts));
    const few = Array.from({ length: 5 }, (_, i) => Buffer.from(`member ${i}\n`));
    const many = (members: Buffer[]) => Buffer.concat(Array.from({ length: 60 }, () => members).flat());
    assert.deepEqual(await read(t, many(few.map(compress))), many(few));
  });

  for (const nuls of [1, 2, 3, 4, 511, 700_000]) {
    test(`${nuls} NULs behind ${name} data are padding`, options, async (t) => {
      assert.deepEqual(await read(t, Buffer.concat([compress(noise), Buffer.alloc(nuls)])), noise);
    });
  }

  for (const [what, rest] of [
    ['garbage', Buffer.from('garbage')],
    ['one other byte', Buffer.from('x')],
    ['garbage behind NULs', Buffer.concat([Buffer.alloc(700_000), Buffer.from('x')])],
    ['garbage behind few NULs', Buffer.from('\0\0\0\0\0x')],
  ] as const) {
    test(`${what} behind ${name} data is an error`, options, async (t) => {
      await damaged(t, Buffer.concat([compress(noise), rest]), /other data follows|damaged|cut/);
    });
  }

  test(`${name} data that is cut anywhere is an error`, options, async (t) => {
    const data = compress(text.subarray(0, 300_000));
    const cuts = [5, 9, 12, 18, 30, Math.floor(data.length / 2), data.length - 9, data.length - 4, data.length - 1];
    for (const cut of cuts) await damaged(t, data.subarray(0, cut), /cut|damaged/);
    const second = Buffer.concat([compress(noise), compress(text)]);
    await damaged(t, second.subarray(0, second.length - 100), /cut|damaged/);
  });

  test(`${name} data with a changed byte is an error or other content, never a crash`, options, async (t) => {
    const data = compress(text.subarray(0, 50_000));
    for (let i = 0; i < 40; i++) {
      const changed = Buffer.from(data);
      changed[6 + i * 7] = changed[6 + i * 7]! ^ 0x55;
      try {
        await read(t, changed);
      } catch (error) {
        assert.ok(error instanceof Failure && error.status === 65, String(error));
      }
    }
  });

  test(`16 MiB of zeros in ${name} are honest`, options, async (t) => {
    assert.equal((await read(t, compress(Buffer.alloc(16 << 20)))).length, 16 << 20);
  });
}

test('of damaged gzip data zlib says what is wrong with it', async (t) => {
  const wrong = (at: number) => {
    const data = gzipSync(text);
    data[at < 0 ? data.length + at : at]! ^= 0x06;
    return data;
  };
  await damaged(t, wrong(2), /the gzip data is damaged \(unknown compression method\)$/);
  await damaged(t, wrong(10), /the gzip data is damaged \(invalid [a-z /]+\)$/);
  await damaged(t, wrong(-8), /the gzip data is damaged \(incorrect data check\)$/);
  await damaged(t, wrong(-1), /the gzip data is damaged \(incorrect length check\)$/);
});

test('skippable frames are skipped, before, between and behind others', { skip: needsZstd }, async (t) => {
  const skip = skippable(Buffer.from('not data'));
  const data = Buffer.concat([skip, zstd(text), skippable(Buffer.of()), skip, zstd(noise), skippable(noise)]);
  assert.deepEqual(await read(t, data), Buffer.concat([text, noise]));
  await damaged(t, data.subarray(0, data.length - 1), /cut/);
});

test('a zstd frame that needs a dictionary is refused for that', { skip: needsZstd }, async (t) => {
  // Magic number; descriptor of a single segment with an id of 1, 2 or 4 bytes; id; content size; a last block of
  // nothing.
  const frame = (flag: number, id: number[]) => Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x20 + flag, ...id, 0, 1, 0, 0]);
  for (const [flag, id] of [
    [1, [7]],
    [2, [0, 7]],
    [3, [0, 0, 0, 7]],
  ] as const) {
    await assert.rejects(read(t, frame(flag, [...id])), {
      status: 65,
      message: /needs a dictionary, which no layer has$/,
    });
    assert.equal((await read(t, frame(flag, Array(id.length).fill(0)))).length, 0);
  }
});

test('a zstd block of the kind that is reserved is damage', { skip: needsZstd }, async (t) => {
  await damaged(t, Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x20, 0, 7, 0, 0]), /the zstd data is damaged/);
});

test('a zstd frame that needs more memory than decoders have is refused for that', {
  skip: needsZstd,
}, async (t) => {
  const last = [1, 0, 0];
  const frame = (...header: number[]) => Buffer.from([0x28, 0xb5, 0x2f, 0xfd, ...header, ...last]);
  // A window of 128 MiB, an eighth more, 2 GiB; then single segments, whose content is what they need.
  assert.equal((await read(t, frame(0, 17 << 3))).length, 0);
  for (const [header, mebibytes] of [
    [[0, (17 << 3) + 1], 144],
    [[0, 21 << 3], 2048],
    [[0xa0, 0, 0, 0, 0x10], 256],
    [[0xe0, 0, 0, 0, 0, 1, 0, 0, 0], 4096],
  ] as const) {
    await damaged(
      t,
      frame(...header),
      new RegExp(`needs a window of ${mebibytes} MiB, and no more than 128 are allowed$`),
    );
  }
});

for (const [name, head] of [
  ['xz', '\xfd7zXZ\0'],
  ['bzip2', 'BZh91AY&SY'],
  ['bzip2', 'BZh9\x17rE8P\x90'],
] as const) {
  test(`data that begins as that of ${name} with ${JSON.stringify(head)} is refused by its name`, async (t) => {
    await damaged(t, Buffer.from(`${head}${'x'.repeat(1000)}`, 'latin1'), new RegExp(`it is compressed with ${name}:`));
  });
}

test('the frames of zstd data are found whatever pieces it comes in', { skip: needsZstd }, () => {
  const frames = [
    zstd(text.subarray(0, 5000)),
    skippable(Buffer.from('x'.repeat(300))),
    zstd(Buffer.of()),
    zstd(noise.subarray(0, 900)),
  ];
  const data = Buffer.concat([...frames, Buffer.alloc(7)]);
  const wanted = [frames[0], frames[2], frames[3]];
  for (let piece = 1; piece <= 513; piece++) {
    const walker = new FrameWalker('test');
    const found: Buffer[] = [];
    let current: Buffer[] = [];
    for (let at = 0; at < data.length; at += piece) {
      for (const { bytes, last } of walker.push(data.subarray(at, at + piece))) {
        current.push(bytes);
        if (last) found.push(Buffer.concat(current.splice(0)));
      }
    }
    walker.finish();
    assert.equal(current.length, 0);
    assert.deepEqual(found, wanted, `pieces of ${piece}`);
    current = [];
  }
});

for (const [name, decoder] of [
  ['Node', nodeDecoder()],
  ['libzstd', libraryDecoder()],
] as const) {
  const skip = needsZstd || (decoder === undefined && `${name} has no zstd here`);
  test(`zstd frames come out right and cut ones are found by the decoder of ${name}`, { skip }, async (t) => {
    const path = join(scratch(t), 'layer');
    const decode = (data: Buffer) => {
      writeFileSync(path, data);
      return decoded(path, (input, output) => unzstd(input, output, decoder));
    };
    const large = [text, Buffer.of(), noise];
    const small = Array.from({ length: 5 }, (_, i) => Buffer.from(`frame ${i}`));
    const stream = (parts: Buffer[], frames: Buffer[]) => Buffer.concat([...parts, ...Array(10).fill(frames).flat()]);
    assert.deepEqual(await decode(stream(large.map(zstd), small.map(zstd))), stream(large, small));
    for (const cut of [1, 4, 100]) await assert.rejects(decode(zstd(text).subarray(0, -cut)), { status: 65 });
    const changed = zstd(text);
    changed[changed.length - 2] = changed[changed.length - 2]! ^ 1;
    changed.fill(0xff, 3000, 3010);
    await assert.rejects(decode(changed), { status: 65 });
  });
}

test('a file is not closed while it is read for the first time', async (t) => {
  const path = join(scratch(t), 'layer');
  writeFileSync(path, 'content');
  const input = new Input(openSync(path, 'r'), path);
  // The threads that read have other things to do first.
  const busy = Array.from({ length: 64 }, () => promisify(pbkdf2)('', '', 10_000, 1, 'sha1'));
  const reading = input.read();
  await input.close();
  assert.equal((await reading).toString(), 'content');
  await Promise.all(busy);
});

test('pieces that lie side by side are handed on as one, and of others few wait, however small they are', async () => {
  const ahead = new BoundedQueue(1 << 20);
  const memory = Buffer.allocUnsafeSlow(3000);
  for (let at = 0; at < memory.length; at++) assert.ok(ahead.offer(memory.subarray(at, at + 1)));
  assert.deepEqual(await ahead.next(), memory);
  let waiting = 1;
  while (ahead.offer(Buffer.allocUnsafeSlow(1))) waiting += 1;
  assert.ok(waiting < 1000, `${waiting} wait`);
  for (; waiting > 0; waiting--) assert.equal((await ahead.next())?.length, 1);
  await ahead.room();
});

test('the reason of an end comes behind the pieces before it, and a reader that goes lets the producer go', async () => {
  const ahead = new BoundedQueue(1);
  // Side by side by their numbers, and in different memory.
  const [one, two] = [Buffer.allocUnsafeSlow(4).fill(1).subarray(0, 2), Buffer.allocUnsafeSlow(4).fill(2).subarray(2)];
  for (const piece of [one, two]) ahead.offer(piece);
  const reason = new Error('broken');
  ahead.end(reason);
  ahead.end();
  for (const piece of [one, two]) assert.deepEqual(await ahead.next(), piece);
  await assert.rejects(ahead.next(), reason);
  const left = new BoundedQueue(1);
  left.offer(one);
  const room = left.room();
  left.close();
  await room;
  await left.room();
});

for (const [name, compress, decode, skip] of [
  ['zlib', gzipSync, (input: Input, output: Output) => gunzip(input, output, true), false],
  ["Node's gunzip", gzipSync, gunzipByStream, false],
  ['zstd', zstd, unzstd, needsZstd],
] as const) {
  test(`the decoder of ${name} ends when its reader has gone`, { skip, timeout: 20_000 }, async (t) => {
    const path = join(scratch(t), 'layer');
    writeFileSync(path, compress(Buffer.alloc(16 << 20)));
    const input = new Input(openSync(path, 'r'), path);
    const queue = new BoundedQueue(1);
    const decoding = decode(input, new QueueOutput(queue));
    await queue.next();
    queue.close();
    await decoding;
    await input.close();
  });
}

test('a layer that is not there or no file is a failure of the disk or of the document', async (t) => {
  const directory = scratch(t);
  await assert.rejects(openLayer(join(directory, 'none')), { status: 74 });
  await assert.rejects(openLayer(directory), { status: 65 });
  const path = join(directory, 'layer');
  writeFileSync(path, '\xfd7zXZ\0', 'latin1');
  const open = () => readdirSync('/proc/self/fd').length;
  const before = open();
  await assert.rejects(openLayer(path), { status: 65 });
  assert.equal(open(), before, 'nothing stays open');
});

test('the compressed file is hashed when that is asked for, whatever its size', async (t) => {
  const path = join(scratch(t), 'layer');
  const blob = gzipSync(noise);
  writeFileSync(path, blob);
  const blobHash = createHash('sha256');
  const bytes = await openLayer(path, { decompressor: thread, blobHash });
  while (await bytes.next());
  await bytes.close();
  assert.equal(`sha256:${blobHash.digest('hex')}`, digestOf(blob));
});

test('a thread that cannot be started or dies fails the layers that it had', async (t) => {
  const path = join(scratch(t), 'layer');
  writeFileSync(path, gzipSync(noise));
  await assert.rejects(readWith(path, new ThreadDecompressor(join(root, 'dist/none.cjs'), 0)), /none\.cjs/);
  assert.deepEqual(await readWith(path, thread), noise);
});

test('after a thread that died the next layer has another', async (t) => {
  const directory = scratch(t);
  const [path, file] = [join(directory, 'layer'), join(directory, 'dies.cjs')];
  writeFileSync(path, gzipSync(noise));
  // The first job is answered by a death, as by a lack of memory. A second is passed on.
  writeFileSync(
    file,
    `const { existsSync, writeFileSync } = require('node:fs');
    if (existsSync(__filename + '.died')) require(${JSON.stringify(join(root, 'dist/bundle/layer-thread.cjs'))});
    else require('node:worker_threads').parentPort.once('message', () => {
      writeFileSync(__filename + '.died', '');
      throw new Error('no memory');
    });`,
  );
  const mortal = new ThreadDecompressor(file, 0);
  await assert.rejects(readWith(path, mortal), /no memory/);
  assert.deepEqual(await readWith(path, mortal), noise);
});

test('where a limit on processes allows no other thread, this one decompresses', async (t) => {
  const path = join(scratch(t), 'layer');
  writeFileSync(path, gzipSync(noise));
  class NoWorker {
    constructor() {
      throw Object.assign(new Error('EAGAIN'), { code: 'ERR_WORKER_INIT_FAILED' });
    }
  }
  t.mock.method(process.getBuiltinModule('node:worker_threads'), 'Worker', NoWorker);
  assert.deepEqual(await readWith(path, new ThreadDecompressor('none', 0)), noise);
});

test('a layer that is let go of in the middle leaves the thread to the next', async (t) => {
  const path = join(scratch(t), 'layer');
  writeFileSync(path, gzipSync(Buffer.alloc(16 << 20)));
  for (let i = 0; i < 3; i++) {
    const bytes = await openLayer(path, { decompressor: thread });
    await bytes.next();
    await bytes.close();
  }
  assert.ok((await readWith(path, thread)).equals(Buffer.alloc(16 << 20)));
});
