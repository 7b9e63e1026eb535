import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { test } from 'node:test';
import { Failure, failingAs, failureOf, hasErrno, knownFailure, oneLine } from '../../lib/base/failure.js';
import { cleanUp, onFailure } from '../../lib/pipe/cleanup.js';
import { size } from '../../lib/pipe/progress.js';

test('a failure reads: what, why; hint', () => {
  assert.equal(new Failure(64, 'DIR', 'it is there', { hint: 'use --force' }).message, 'DIR: it is there; use --force');
});

test('hostile text can neither move the cursor nor start a line of its own', () => {
  assert.equal(oneLine('a\x1b[2Jb\nc\r\u0085\u2028d\x7f'), 'a\\x1b[2Jb c\\x0d\\x85\\x2028d\\x7f');
  assert.equal(oneLine('\u{e0001}'), '\\xe0001');
  // One alone, on both sides of what most texts are made of.
  for (const code of [0x1f, 0x7f, 0x80, 0x9b, 0x9f]) {
    assert.equal(oneLine(` ${String.fromCharCode(code)}~`), ` \\x${code.toString(16)}~`);
  }
  assert.equal(new Failure(65, 'x\ny', 'z').message, 'x y: z');
});

test('a name of megabytes does not make a line of megabytes', () => {
  const path = '/x'.repeat(2048);
  assert.equal(new Failure(65, path, 'is wrong').message, `${path}: is wrong`);
  assert.match(new Failure(65, 'x'.repeat(1 << 20), 'is wrong').message, /^x{9997}\.\.\.$/);
});

test('nor does a warning of it', () => {
  const trace = JSON.stringify(new URL('../../lib/base/trace.js', import.meta.url));
  const script = `import { warn } from ${trace}; warn('x'.repeat(1 << 20));`;
  const { stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', script], { encoding: 'utf8' });
  assert.match(stderr, /^md: x{9993}\.\.\.\n$/);
});

test('a system error becomes the status that fits it', () => {
  const of = (code: string) => failureOf(Object.assign(new Error('m'), { code }), 'writing blob');
  assert.equal(of('ENOSPC').status, 74);
  assert.equal(of('EACCES').status, 77);
  assert.equal(of('ENOSPC').message, 'writing blob: no space left on device (ENOSPC)');
});

test('an error that libuv has no name for is one of the system as well', () => {
  const of = (errno: number) =>
    failureOf(Object.assign(new Error('m'), { code: `Unknown system error -${errno}` }), 'blob');
  assert.equal(of(constants.errno.EDQUOT).message, 'blob: disk quota exceeded (EDQUOT)');
  assert.match(
    of(constants.errno.ESTALE).message,
    /^blob: stale file handle \(ESTALE\); .* mount the filesystem anew$/,
  );
  assert.match(of(126).message, /^blob: required key not available \(ENOKEY\); it is encrypted, and locked/);
  assert.match(of(117).message, /^blob: structure needs cleaning \(EUCLEAN\); .* fsck$/);
  assert.deepEqual([of(9999).status, of(9999).message], [74, 'blob: E9999']);
});

test('what fails is named by who does it, and what succeeds is handed on', () => {
  assert.equal(
    failingAs('list', () => 7),
    7,
  );
  assert.throws(() => failingAs('list', () => readFileSync('/nowhere'), { hint: 'write one' }), {
    message: 'list: no such file or directory (ENOENT); write one',
  });
  assert.ok(!hasErrno(new Error('no errno'), 'ENOENT'));
});

test('too many open files, and one too large, are no fault of this program, wherever they are met', () => {
  const error = Object.assign(new Error('m'), { code: 'EMFILE' });
  const why = 'too many open files (EMFILE); raise the limit: ulimit -n 4096';
  assert.equal(failureOf(error, '/store', { hint: 'of no use here' }).message, `/store: ${why}`);
  assert.equal(knownFailure(error)?.message, `this process: ${why}`);
  const large = knownFailure(Object.assign(new Error('m'), { code: 'EFBIG' }));
  assert.deepEqual([large?.status, large?.why], [74, 'file too large (EFBIG)']);
  assert.equal(knownFailure(Object.assign(new Error('m'), { code: 'EBADF' })), undefined);
});

test('an error of the program itself is not dressed up as a failure of the disk', () => {
  assert.throws(() => failureOf(new TypeError('bug'), 'writing'), TypeError);
  assert.throws(
    () => readFileSync('/proc/self/nonexistent'),
    (error) => failureOf(error, 'reading').status === 74,
  );
});

test('what a listener throws is told in one line, and to the next stage', () => {
  const script = `
    import { main } from ${JSON.stringify(new URL('../../lib/pipe/command.js', import.meta.url))};
    const command = { name: 'md-x', flags: {}, operands: '', examples: [], statuses: [] };
    main(command, async () => {
      setImmediate(() => { throw new TypeError('bug'); });
      await new Promise((resolve) => setTimeout(resolve, 5000));
    });`;
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['--no-warnings', '--input-type=module', '--eval', script],
    { encoding: 'utf8' },
  );
  assert.equal(stderr, 'md-x: a fault of this program: bug; MD_DEBUG=1 shows where\n');
  assert.equal(status, 70);
  assert.equal(JSON.parse(stdout).error.code, 70);
});

test('what was begun is undone once, the last first, and what was finished is kept', () => {
  const done: string[] = [];
  onFailure(() => done.push('first'));
  const keep = onFailure(() => done.push('kept'));
  onFailure(() => done.push('last'));
  keep();
  cleanUp();
  cleanUp();
  assert.deepEqual(done, ['last', 'first']);
});

test('what cannot be undone keeps nothing else from being undone', () => {
  const done: string[] = [];
  onFailure(() => done.push('first'));
  onFailure(() => {
    throw new Error('busy');
  });
  cleanUp();
  assert.deepEqual(done, ['first']);
});

test('sizes are shown as docker shows them', () => {
  assert.deepEqual([0, 999, 1000, 29_123_456, 4e9].map(size), ['0 B', '999 B', '1.0 kB', '29.1 MB', '4.0 GB']);
  assert.deepEqual([999.7, 999_949, 999_950, 999_999_999].map(size), ['1.0 kB', '999.9 kB', '1.0 MB', '1.0 GB']);
  assert.equal(size(5e16), '50000.0 TB');
});
