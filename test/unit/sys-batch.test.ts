import assert from 'node:assert/strict';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { addressOf } from '../../lib/sys/ffi/ffi.js';
import { Batch } from '../../lib/sys/native-code/batch.js';
import { mapCode } from '../../lib/sys/native-code/map-code.js';
import * as sys from '../../lib/sys/syscalls/calls.js';
import { AT, O } from '../../lib/sys/syscalls/constants.js';
import { scratch } from '../support/run.js';

const at = (memory: Buffer) => Number(addressOf(memory));

function newFile(path: string): number {
  return sys.openat(AT.FDCWD, path, O.WRONLY | O.CREAT | O.CLOEXEC, 0o600);
}

test('the calls of a batch are made in order', (t) => {
  const path = join(scratch(t), 'file');
  const fd = newFile(path);
  const words = ['one ', 'two ', 'three'].map((word) => Buffer.from(word));
  const batch = new Batch(5);
  for (const word of words) batch.add(sys.write, word.length, fd, at(word), word.length);
  batch.add(sys.fchmod, 0, fd, 0o751);
  batch.add(sys.close, 0, fd);
  assert.equal(batch.run(), 5);
  assert.equal(readFileSync(path, 'utf8'), 'one two three');
  assert.equal(statSync(path).mode & 0o7777, 0o751);
  assert.deepEqual(
    [0, 1, 2, 3, 4].map((place) => batch.result(place)),
    [4, 4, 5, 0, 0],
  );
});

test('a batch stops behind a call with a lesser result than it must have', () => {
  const batch = new Batch(4);
  batch.add(sys.umask, 0o21, 0o27);
  batch.add(sys.umask, 0o27, 0o22);
  batch.add(sys.close, 0, -1);
  batch.add(sys.umask, 0o22, 0o77);
  const before = process.umask(0o22);
  try {
    assert.equal(batch.run(), 2);
    assert.deepEqual(
      [0, 1, 2].map((place) => batch.result(place)),
      [0o22, 0o27, -9],
    );
    assert.equal(process.umask(), 0o22);
  } finally {
    process.umask(before);
  }
});

test('a call takes the result of an earlier one for its first argument', (t) => {
  const path = join(scratch(t), 'file');
  const name = Buffer.from(`${path}\0`);
  const content = Buffer.from('by its descriptor');
  const batch = new Batch(4);
  const opened = batch.add(sys.openat, 0, AT.FDCWD, at(name), O.WRONLY | O.CREAT | O.EXCL | O.CLOEXEC, 0o600);
  batch.addOn(opened, sys.write, content.length, at(content), content.length);
  batch.addOn(opened, sys.fchmod, 0, 0o640);
  batch.addOn(opened, sys.close, 0);
  assert.equal(batch.run(), 4);
  assert.equal(readFileSync(path, 'utf8'), 'by its descriptor');
  assert.equal(statSync(path).mode & 0o7777, 0o640);
  // The file is there now: nothing may go to the descriptor that was not opened.
  assert.equal(batch.run(), 0);
  assert.equal(batch.result(0), -17);
});

test('an empty batch, and one that was cleared, make no calls', () => {
  const batch = new Batch(1);
  assert.equal(batch.run(), 0);
  batch.add(sys.close, 0, -1);
  batch.clear();
  assert.equal(batch.run(), 0);
});

test('a batch takes no more calls than it has room for', () => {
  const batch = new Batch(1);
  batch.add(sys.close, -9, -1);
  assert.throws(() => batch.add(sys.close, -9, -1), RangeError);
  assert.equal(batch.run(), 1);
});

test('numbers cross whole: negative ones, 32 bits, more than 32 bits', (t) => {
  const path = join(scratch(t), 'sparse');
  const fd = newFile(path);
  const end = 5 * 2 ** 32 + 0xffff_fffe;
  const batch = new Batch(3);
  batch.add(sys.lseek, end, fd, end, 0);
  batch.add(sys.lseek, end - 7, fd, -7, 1);
  batch.add(sys.close, 0, fd);
  assert.equal(batch.run(), 3);
  assert.equal(batch.result(1), end - 7);
});

test('memory of machine code can be executed, and written to no more', () => {
  const address = mapCode(Buffer.from([0xc3]));
  const flags = [...readFileSync('/proc/self/maps', 'utf8').matchAll(/^(\w+)-(\w+) (\S+)/gm)]
    .filter(([, start, end]) => Number(`0x${start}`) <= address && address < Number(`0x${end}`))
    .map((mapping) => mapping[3]);
  assert.deepEqual(flags, ['r-xp']);
});
