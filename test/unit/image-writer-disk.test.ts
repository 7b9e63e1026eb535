/** A disk that is slow, or takes a part of what it gets, made by taking the place of writev(2). */
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { until } from '../support/rootfs.js';
import { afterwards, scratch } from '../support/run.js';

/** Bytes that a call writes at most. */
let most = Number.POSITIVE_INFINITY;
let calls = 0;
/** No call ends before this does. */
let held = Promise.resolve();

async function writev(fd: number, chunks: Buffer[], position: number) {
  calls += 1;
  assert.ok(calls < 1000, 'it goes on for ever');
  await held;
  const bytes = Buffer.concat(chunks).subarray(0, most);
  return { bytesWritten: fs.writeSync(fd, bytes, 0, bytes.length, position) };
}
Object.assign(process.getBuiltinModule('node:fs'), {
  writev: Object.assign(() => {}, { [promisify.custom]: writev }),
});
syncBuiltinESMExports();
const { Writer } = await import('../../lib/image/store/writer.js');

function file(t: TestContext): { path: string; fd: number } {
  const path = join(scratch(t), 'file');
  const fd = fs.openSync(path, 'w');
  afterwards(t, () => fs.closeSync(fd));
  return { path, fd };
}

test('what a call has not written the next one writes', async (t) => {
  most = 7;
  const { path, fd } = file(t);
  const writer = new Writer(fd, 0);
  const chunks = Array.from({ length: 30 }, (_, i) => Buffer.from(`${i} `.repeat(i)));
  for (const chunk of chunks) writer.write(chunk);
  await writer.done();
  most = Number.POSITIVE_INFINITY;
  assert.equal(fs.readFileSync(path, 'utf8'), `${Buffer.concat(chunks)}`);
});

test('what is on its way to the disk counts as waiting', async (t) => {
  let release = () => {};
  held = new Promise((resolve) => {
    release = resolve;
  });
  calls = 0;
  const writer = new Writer(file(t).fd, 0);
  assert.equal(writer.write(Buffer.alloc(1 << 20)), undefined);
  await until(() => calls > 0);
  assert.ok(writer.write(Buffer.alloc(1)) instanceof Promise);
  release();
  await writer.done();
});
