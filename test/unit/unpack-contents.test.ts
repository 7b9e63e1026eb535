import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmdirSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Failure } from '../../lib/pipe/failure.js';
import { close, openat, pipe2 } from '../../lib/sys/calls.js';
import { AT, O } from '../../lib/sys/constants.js';
import { Contents } from '../../lib/unpack/contents.js';
import { needsRoot, scratch } from '../support/run.js';

const mtime = { seconds: -2, nanoseconds: 999_999_999 };

function open(path: string): number {
  return openat(AT.FDCWD, path, O.WRONLY | O.CREAT | O.EXCL | O.CLOEXEC, 0o600);
}

function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length;
}

test('files are complete after a flush: content, mode, times, and closed', (t) => {
  const directory = scratch(t);
  const before = openDescriptors();
  const contents = new Contents();
  const names = Array.from({ length: 1000 }, (_, i) => String(i));
  for (const path of names) {
    const content = path === '0' ? undefined : Buffer.from(path.repeat(50));
    contents.finish({ fd: open(join(directory, path)), path, content, mode: 0o4711, mtime });
  }
  contents.flush();
  for (const path of names) {
    const file = join(directory, path);
    assert.equal(readFileSync(file, 'utf8'), path === '0' ? '' : path.repeat(50));
    const { mode, mtimeNs } = statSync(file, { bigint: true });
    assert.equal(mode & 0o7777n, 0o4711n);
    assert.equal(mtimeNs, -1_000_000_001n);
  }
  assert.equal(openDescriptors(), before);
});

test('what does not fit is told with the name of the file, and the files behind it are complete', {
  skip: needsRoot,
}, () => {
  const directory = mkdtempSync(join(tmpdir(), 'md-test-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', directory]);
  const before = openDescriptors();
  try {
    const contents = new Contents();
    for (const [path, size] of [
      ['fits', 1000],
      ['too large', 100_000],
      ['behind it', 0],
    ] as const) {
      const fd = open(join(directory, path));
      contents.finish({ fd, path, content: Buffer.alloc(size, 'x'), mode: 0o640, mtime });
    }
    assert.throws(
      () => contents.flush(),
      (error) => {
        assert.ok(error instanceof Failure);
        assert.equal(error.status, 74);
        assert.equal(error.message, 'too large: no space left on device (ENOSPC)');
        return true;
      },
    );
    assert.equal(statSync(join(directory, 'fits')).size, 1000);
    assert.equal(statSync(join(directory, 'behind it')).mode & 0o777, 0o640);
    assert.equal(openDescriptors(), before);
  } finally {
    execFileSync('umount', ['-l', directory]);
    rmdirSync(directory);
  }
});

test('a part of the content that was taken is no end: the rest is written, or why it cannot be is told', () => {
  const ends = Buffer.alloc(8);
  pipe2(ends, O.NONBLOCK | O.CLOEXEC);
  const contents = new Contents();
  contents.finish({ fd: ends.readInt32LE(4), path: 'a pipe', content: Buffer.alloc(100_000), mode: undefined, mtime });
  assert.throws(() => contents.flush(), /a pipe: resource temporarily unavailable \(EAGAIN\)$/);
  close(ends.readInt32LE(0));
});

test('what nobody will complete is let go of', (t) => {
  const before = openDescriptors();
  const contents = new Contents();
  contents.finish({ fd: open(join(scratch(t), 'file')), path: 'file', content: undefined, mode: undefined, mtime });
  contents.abandon();
  assert.equal(openDescriptors(), before);
});
