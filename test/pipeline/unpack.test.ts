import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { jsonLines, md } from '../support/run.js';
import { prepare } from '../support/unpacking.js';

const stack = [
  [
    { name: 'etc/', type: 'directory' },
    { name: 'etc/motd', data: 'lower\n' },
    { name: 'etc/keep', data: 'kept\n' },
  ],
  [{ name: 'etc/.wh.motd' }, { name: 'bin', type: 'symlink', linkname: 'usr/bin' }],
] as const;
const layers = stack.map((entries) => [...entries]);

test('md-unpack puts the tree at DIR and its document on stdout and beside it', async (t) => {
  const { rootfs, stdin, directory } = prepare(t, layers);
  const result = await md('md-unpack', [rootfs], { stdin });
  assert.equal(result.stderr, '');
  assert.equal(result.status, 0);
  assert.deepEqual(readdirSync(rootfs), ['bin', 'etc']);
  assert.deepEqual(readdirSync(join(rootfs, 'etc')), ['keep']);
  const [document] = jsonLines(result.stdout);
  assert.equal(document?.rootfs, rootfs);
  assert.deepEqual(JSON.parse(readFileSync(`${rootfs}.json`, 'utf8')), document);
  assert.deepEqual(readdirSync(directory).sort(), ['layers', 'rootfs', 'rootfs.json']);
});

test('the document keeps unknown fields and loses the authorization', async (t) => {
  const { rootfs, stdin } = prepare(t, layers);
  const [first = '', ...rest] = stdin.split('\n');
  const changed = JSON.stringify({ ...JSON.parse(first), authorization: 'Bearer s3cret', note: 'of my own' });
  const result = await md('md-unpack', [rootfs], { stdin: [changed, ...rest].join('\n') });
  assert.equal(result.status, 0);
  assert.equal(jsonLines(result.stdout)[0]?.note, 'of my own');
  assert.doesNotMatch(result.stdout + readFileSync(`${rootfs}.json`, 'utf8'), /s3cret|authorization/);
});

test('a DIR that is not empty is refused, and --force replaces it', async (t) => {
  const { rootfs, stdin, directory } = prepare(t, layers);
  mkdirSync(rootfs);
  writeFileSync(join(rootfs, 'precious'), 'mine');
  const refused = await md('md-unpack', [rootfs], { stdin });
  assert.equal(refused.status, 64);
  assert.match(refused.stderr, /^md-unpack: .*not empty.*--force replaces it\n$/);
  assert.deepEqual(readdirSync(rootfs), ['precious']);
  assert.equal((await md('md-unpack', ['--force', rootfs], { stdin })).status, 0);
  assert.deepEqual(readdirSync(rootfs), ['bin', 'etc']);
  assert.deepEqual(readdirSync(directory).sort(), ['layers', 'rootfs', 'rootfs.json']);
});

test('an upstream that was killed after some of the layers leaves no tree', async (t) => {
  const { rootfs, stdin, directory } = prepare(t, layers);
  const result = await md('md-unpack', [rootfs], { stdin: `${stdin.split('\n').slice(0, 2).join('\n')}\n` });
  assert.equal(result.status, 65);
  assert.match(result.stderr, /stdin: it ended after 1 of 2 layers/);
  assert.deepEqual(readdirSync(directory), ['layers']);
});

test('a failure of an earlier stage is passed on in silence, and leaves no tree', async (t) => {
  const { rootfs, stdin, directory } = prepare(t, layers);
  const [document, layer] = stdin.split('\n');
  const error = JSON.stringify({ error: { command: 'md-fetch-layer', code: 69, message: 'gone' } });
  const result = await md('md-unpack', [rootfs], { stdin: `${document}\n${layer}\n${error}\n` });
  assert.equal(result.status, 69);
  assert.equal(result.stderr, '');
  assert.equal(result.stdout, `${error}\n`);
  assert.deepEqual(readdirSync(directory), ['layers']);
});

test('a layer that is not what its diffID says leaves no tree', async (t) => {
  const { rootfs, stdin, directory, layers: files } = prepare(t, layers);
  const other = prepare(t, [[{ name: 'evil', data: 'x' }]]);
  writeFileSync(files[1]!.path, readFileSync(other.layers[0]!.path));
  const result = await md('md-unpack', [rootfs], { stdin });
  assert.equal(result.status, 65);
  assert.match(result.stderr, /diffID: expected sha256:[0-9a-f]{64}, got sha256:/);
  assert.deepEqual(readdirSync(directory), ['layers']);
  assert.equal(existsSync(rootfs), false);
});

test('-x shows each system call that makes the tree', async (t) => {
  const { rootfs, stdin } = prepare(t, layers);
  const result = await md('md-unpack', ['-x', rootfs], { stdin });
  assert.equal(result.status, 0);
  assert.match(result.stderr, /^openat2\([0-9]+, "etc", \{flags=.*resolve=.*RESOLVE_IN_ROOT.*\) = [0-9]+$/m);
  assert.match(result.stderr, /^unlinkat\([0-9]+, "motd", 0\) = 0$/m);
  assert.match(result.stderr, /^symlinkat\("usr\/bin", [0-9]+, "bin"\) = 0$/m);
  assert.match(result.stderr, /^renameat2\(/m);
});
