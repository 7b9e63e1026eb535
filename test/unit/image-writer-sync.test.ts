/** When a file goes to the disk itself, seen by taking the place of fdatasync(2). */
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterwards, scratch } from '../support/run.js';

let calls = 0;
let failure: Error | null = null;
const real = fs.fdatasync;
Object.assign(process.getBuiltinModule('node:fs'), {
  fdatasync: (fd: number, done: (error: Error | null) => void) => {
    calls += 1;
    real(fd, (error) => done(failure ?? error));
  },
});
syncBuiltinESMExports();
const { Writer } = await import('../../lib/image/writer.js');

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

test('that this failed is not forgotten: the kernel says it once', async (t) => {
  failure = Object.assign(new Error('EIO: i/o error, fdatasync'), { code: 'EIO' });
  await assert.rejects(async () => (await written(t)).done(), /EIO/);
});
