/** When a file goes to the disk itself, seen by taking the place of fdatasync(2) and fsync(2). */
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { beforeEach, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { BlobSink } from '../../lib/base/source.js';
import { digestOf } from '../support/content.js';
import { afterwards, scratch } from '../support/run.js';

let calls: number;
/** Bytes of the file that was synced last. */
let size: number;
let failure: Error | null;
/** No sync ends before this does. */
let held: Promise<void>;
beforeEach(() => {
  calls = 0;
  size = 0;
  failure = null;
  held = Promise.resolve();
});
const real = fs.fdatasync;
Object.assign(process.getBuiltinModule('node:fs'), {
  fdatasync: (fd: number, done: (error: Error | null) => void) => {
    calls += 1;
    size = fs.fstatSync(fd).size;
    real(fd, (error) => void held.then(() => done(failure ?? error)));
  },
});
syncBuiltinESMExports();
const { Writer } = await import('../../lib/image/store/writer.js');
const { Store } = await import('../../lib/image/store/store.js');

const broken = (call: string) => Object.assign(new Error(`EIO: i/o error, ${call}`), { code: 'EIO' });

/** Writes for a second and a half. */
async function written(t: TestContext) {
  const fd = fs.openSync(join(scratch(t), 'file'), 'w');
  afterwards(t, () => fs.closeSync(fd));
  const writer = new Writer(fd, 0);
  for (let i = 0; i < 15; i++) {
    await writer.write(Buffer.alloc(100));
    await sleep(100);
  }
  return writer;
}

test('while a download goes on, what has come goes to the disk itself', async (t) => {
  await (await written(t)).done();
  assert.ok(calls > 0);
});

test('that this failed is not forgotten, however late it fails: the kernel says it once', async (t) => {
  failure = broken('fdatasync');
  held = new Promise((release) => setTimeout(release, 2000));
  await assert.rejects(async () => (await written(t)).done(), /EIO/);
});

test('a blob has its name only when it is on the disk itself', async (t) => {
  failure = broken('fdatasync');
  const store = new Store(join(scratch(t), 'md'));
  const blob = { mediaType: 'x', digest: digestOf('blob'), size: 4 };
  const source = {
    manifest: async () => assert.fail('not asked for'),
    blob: async (_: unknown, sink: BlobSink) => sink.write(Buffer.from('blob')),
  };
  await assert.rejects(store.fetch(blob, source), /EIO/);
  assert.equal(size, blob.size);
  assert.equal(store.has(blob), false);
  failure = null;
  await store.fetch(blob, source);
  assert.equal(store.has(blob), true);
});

test('so has a document, and so have the files of a new layout', (t) => {
  const home = join(scratch(t), 'md');
  const mock = t.mock.method(process.getBuiltinModule('node:fs'), 'fsyncSync', () => {
    throw broken('fsync');
  });
  assert.throws(() => new Store(home), /EIO/);
  assert.equal(fs.existsSync(join(home, 'oci')), false);
  mock.mock.restore();
  const store = new Store(home);
  t.mock.method(process.getBuiltinModule('node:fs'), 'fsyncSync', () => {
    throw broken('fsync');
  });
  assert.throws(() => store.put(digestOf('{}'), Buffer.from('{}')), /EIO/);
  assert.equal(store.read(digestOf('{}')), undefined);
});
