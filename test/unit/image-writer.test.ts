import assert from 'node:assert/strict';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Writer } from '../../lib/image/store/writer.js';
import { afterwards, scratch } from '../support/run.js';

function file(t: TestContext, content = ''): { path: string; fd: number } {
  const path = join(scratch(t), 'file');
  writeFileSync(path, content);
  const fd = openSync(path, 'r+');
  afterwards(t, () => closeSync(fd));
  return { path, fd };
}

test('chunks of all sizes come out in order, behind what was there', async (t) => {
  const { path, fd } = file(t, 'before ');
  const writer = new Writer(fd, 7);
  const chunks = Array.from({ length: 3000 }, (_, i) => Buffer.from(`${i} `.repeat(i % 50)));
  for (const chunk of chunks) await writer.write(chunk);
  await writer.done();
  assert.equal(readFileSync(path, 'utf8'), `before ${Buffer.concat(chunks)}`);
});

test('a restart forgets what was written, what is being written and what waits', async (t) => {
  const { path, fd } = file(t);
  const writer = new Writer(fd, 0);
  for (let i = 0; i < 20; i++) writer.write(Buffer.alloc(1 << 20, 'a'));
  // By now some of it is on its way.
  await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
  writer.write(Buffer.from('b'));
  writer.restart();
  writer.write(Buffer.from('all anew'));
  await writer.done();
  assert.equal(readFileSync(path, 'utf8'), 'all anew');
});

test('who sends faster than the disk writes is asked to wait', async (t) => {
  const writer = new Writer(file(t).fd, 0);
  let wait: Promise<void> | undefined;
  let sent = 0;
  for (; wait === undefined; sent++) wait = writer.write(Buffer.alloc(1 << 18));
  assert.ok(sent <= 8, `${sent} chunks`);
  await wait;
  assert.equal(writer.write(Buffer.alloc(1)), undefined);
  await writer.done();
});

test('a write that fails is reported by the next one and at the end', async (t) => {
  const { path } = file(t, 'x');
  const fd = openSync(path, 'r');
  afterwards(t, () => closeSync(fd));
  const writer = new Writer(fd, 0);
  writer.write(Buffer.from('y'));
  await assert.rejects(writer.done(), { code: 'EBADF' });
  assert.throws(() => writer.write(Buffer.from('z')), { code: 'EBADF' });
});
