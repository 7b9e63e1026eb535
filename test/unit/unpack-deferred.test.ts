import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmdirSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Deferred } from '../../lib/unpack/tree/deferred.js';
import { afterwards, needsRoot, scratch } from '../support/run.js';

const mtime = { seconds: -2, nanoseconds: 999_999_999 };
const mtimeNs = -1_000_000_001n;

function openDirectory(t: TestContext, path: string): number {
  const fd = openSync(path, 'r');
  afterwards(t, () => closeSync(fd));
  return fd;
}

function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length;
}

const never = () => assert.fail('nothing was in its way');

/** A place whose entry is noted, and not made, when it is to be made again. */
function placed(dirfd: number, name: string, again: string[]) {
  return { dirfd, name, again: () => again.push(name) };
}

test('what was put off is complete after a flush: files, symlinks and directories', (t) => {
  const path = scratch(t);
  const dirfd = openDirectory(t, path);
  const before = openDescriptors();
  const deferred = new Deferred();
  // A symlink to nothing is none.
  const numbers = Array.from({ length: 1000 }, (_, i) => i + 1);
  for (const i of numbers) {
    const content = i === 1 ? undefined : Buffer.from(`${i}`.repeat(50));
    deferred.file({ dirfd, name: `f${i}`, again: never }, { content, mode: 0o4711, owner: undefined, mtime });
    if (deferred.isFull) deferred.flush();
    deferred.symlink({ dirfd, name: `l${i}`, again: never }, 'x'.repeat(i * 4), mtime);
    if (deferred.isFull) deferred.flush();
    mkdirSync(join(path, `d${i}`));
    deferred.directory({ dirfd, name: `d${i}`, again: never }, i % 2 ? 0o1750 : undefined, mtime);
    if (deferred.isFull) deferred.flush();
  }
  deferred.flush();
  for (const i of numbers.slice(1)) {
    assert.equal(readFileSync(join(path, `f${i}`), 'utf8'), `${i}`.repeat(50));
    assert.equal(readlinkSync(join(path, `l${i}`)), 'x'.repeat(i * 4));
    for (const name of [`f${i}`, `l${i}`, `d${i}`])
      assert.equal(lstatSync(join(path, name), { bigint: true }).mtimeNs, mtimeNs);
  }
  assert.equal(statSync(join(path, 'f1')).size, 0);
  assert.equal(statSync(join(path, 'f7')).mode & 0o7777, 0o4711);
  assert.equal(statSync(join(path, 'd7')).mode & 0o7777, 0o1750);
  assert.equal(openDescriptors(), before);
});

test('an owner is set before what a change of owner takes away', { skip: needsRoot }, (t) => {
  const path = scratch(t);
  const deferred = new Deferred();
  const place = { dirfd: openDirectory(t, path), name: 'setuid', again: never };
  deferred.file(place, { content: Buffer.from('x'), mode: 0o6755, owner: { uid: 70_000, gid: 4_000_000_000 }, mtime });
  deferred.flush();
  const { uid, gid, mode } = statSync(join(path, 'setuid'));
  assert.deepEqual([uid, gid, mode & 0o7777], [70_000, 4_000_000_000, 0o6755]);
});

test('an entry that something is in the way of, and all behind it, are made again in their order', (t) => {
  const path = scratch(t);
  const dirfd = openDirectory(t, path);
  writeFileSync(join(path, 'taken'), 'as it was');
  const before = openDescriptors();
  const deferred = new Deferred();
  const again: string[] = [];
  const file = { content: Buffer.from('new'), mode: 0o644, owner: undefined, mtime };
  deferred.file(placed(dirfd, 'free', again), file);
  deferred.file(placed(dirfd, 'taken', again), file);
  deferred.symlink(placed(dirfd, 'link', again), 'target', mtime);
  deferred.file(placed(dirfd, 'behind', again), file);
  deferred.flush();
  assert.deepEqual(again, ['taken', 'link', 'behind']);
  assert.deepEqual(readdirSync(path).sort(), ['free', 'taken']);
  assert.equal(readFileSync(join(path, 'taken'), 'utf8'), 'as it was');
  deferred.flush();
  assert.equal(again.length, 3);
  assert.equal(openDescriptors(), before);
});

test('what fails when it is made again ends it, and leaves nothing that would be made later', (t) => {
  const dirfd = openDirectory(t, scratch(t));
  const deferred = new Deferred();
  const tried: string[] = [];
  const failing = () => {
    tried.push('failing');
    throw new Error('it failed');
  };
  deferred.symlink({ dirfd: -1, name: 'a', again: failing }, 'x', mtime);
  deferred.symlink(placed(dirfd, 'b', tried), 'x', mtime);
  assert.throws(() => deferred.flush(), /it failed/);
  assert.deepEqual(tried, ['failing']);
  deferred.symlink({ dirfd, name: 'c', again: never }, 'x', mtime);
  deferred.flush();
});

test('a file that does not fit is closed before it is made again', { skip: needsRoot }, () => {
  const path = mkdtempSync(join(tmpdir(), 'md-test-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', path]);
  const before = openDescriptors();
  const dirfd = openSync(path, 'r');
  try {
    const deferred = new Deferred();
    const again: string[] = [];
    for (const size of [1000, 100_000]) {
      const file = { content: Buffer.alloc(size, 'x'), mode: 0o640, owner: undefined, mtime };
      deferred.file(placed(dirfd, `${size}`, again), file);
    }
    deferred.flush();
    assert.deepEqual(again, ['100000']);
    assert.equal(statSync(join(path, '1000')).size, 1000);
  } finally {
    closeSync(dirfd);
    execFileSync('umount', ['-l', path]);
    rmdirSync(path);
  }
  assert.equal(openDescriptors(), before);
});

test('what nobody wants any more is not made', (t) => {
  const path = scratch(t);
  const deferred = new Deferred();
  deferred.symlink({ dirfd: openDirectory(t, path), name: 'link', again: never }, 'x', mtime);
  deferred.clear();
  deferred.flush();
  assert.deepEqual(readdirSync(path), []);
});

test('a name with a NUL byte does not reach the kernel cut short', (t) => {
  const path = scratch(t);
  const place = { dirfd: openDirectory(t, path), name: 'cut\0short', again: never };
  assert.throws(() => new Deferred().symlink(place, 'x', mtime), /NUL byte/);
  assert.deepEqual(readdirSync(path), []);
});
