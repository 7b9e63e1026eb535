/** md-unpack beside its main job: layers by hand, --list, --only, --verify. */
import assert from 'node:assert/strict';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { digestOf } from '../support/content.js';
import { jsonLines, md, needsRoot } from '../support/run.js';
import type { TarEntry } from '../support/tar.js';
import { describeTree } from '../support/tree.js';
import { prepare } from '../support/unpacking.js';

const stack: TarEntry[][] = [
  [
    { name: 'etc/', type: 'directory', mtime: 1000 },
    { name: 'etc/motd', data: 'hello\n', mode: 0o640, uid: 1, gid: 2, mtime: 1.5 },
    { name: 'etc/passwd', data: 'root\n' },
    { name: 'usr/bin/sh', data: 'sh' },
    { name: 'bin', type: 'symlink', linkname: 'usr/bin' },
    { name: 'usr/bin/bash', type: 'link', linkname: 'usr/bin/sh' },
    { name: Buffer.from('caf\xe9', 'latin1'), data: '' },
  ],
  [{ name: 'etc/.wh.passwd' }, { name: 'opt/.wh..wh..opq' }, { name: 'dev/null', type: 'char', major: 1, minor: 3 }],
];

test('layer lines made by hand are enough', async (t) => {
  const { directory, rootfs, layers } = prepare(t, stack.slice(0, 1).concat([[{ name: 'etc/.wh.passwd' }]]));
  const stdin = layers.map(({ path }) => `${JSON.stringify({ layer: { path } })}\n`).join('');
  const result = await md('md-unpack', [rootfs], { stdin });
  assert.equal(result.status, 0, result.stderr);
  assert.deepEqual(jsonLines(result.stdout), [{ rootfs }]);
  assert.deepEqual(readdirSync(join(rootfs, 'etc')), ['motd']);
  assert.equal(existsSync(join(directory, 'rootfs.json')), false);
});

test('a diffID in a line made by hand is checked', async (t) => {
  const { directory, rootfs, layers } = prepare(t, stack);
  const line = { layer: { path: layers[0]!.path, diffID: layers[1]!.diffID } };
  const result = await md('md-unpack', [rootfs], { stdin: `${JSON.stringify(line)}\n` });
  assert.equal(result.status, 65);
  assert.match(result.stderr, /diffID: expected/);
  assert.deepEqual(readdirSync(directory), ['layers']);
});

test('--list tells of each entry, and writes nothing', async (t) => {
  const { directory, stdin } = prepare(t, stack);
  const result = await md('md-unpack', ['--list'], { stdin, cwd: directory });
  assert.equal(result.status, 0, result.stderr);
  assert.deepEqual(readdirSync(directory), ['layers']);
  const lines = jsonLines(result.stdout);
  const time = '2001-09-09T01:46:40Z';
  assert.deepEqual(lines[0], {
    path: 'etc',
    type: 'directory',
    mode: '0755',
    uid: 0,
    gid: 0,
    mtime: '1970-01-01T00:16:40Z',
    layer: 0,
  });
  const motd = { path: 'etc/motd', type: 'file', mode: '0640', uid: 1, gid: 2, size: 6, digest: digestOf('hello\n') };
  assert.deepEqual(lines[1], { ...motd, mtime: '1970-01-01T00:00:01.500000000Z', layer: 0 });
  assert.deepEqual(lines[4], {
    path: 'bin',
    type: 'symlink',
    mode: '0777',
    uid: 0,
    gid: 0,
    target: 'usr/bin',
    mtime: time,
    layer: 0,
  });
  assert.deepEqual([lines[5]?.type, lines[5]?.target], ['hardlink', 'usr/bin/sh']);
  assert.deepEqual([lines[6]?.path, lines[6]?.pathBase64], ['caf\\xe9', 'Y2Fm6Q==']);
  assert.deepEqual(lines.slice(7, 9), [
    { path: 'etc/passwd', type: 'whiteout', layer: 1 },
    { path: 'opt', type: 'opaque', layer: 1 },
  ]);
  assert.equal(lines[9]?.device, '1:3');
});

test('--list checks what it reads', async (t) => {
  const { layers, stdin } = prepare(t, stack);
  writeFileSync(layers[1]!.path, 'no archive');
  const result = await md('md-unpack', ['--list'], { stdin });
  assert.equal(result.status, 65);
});

test('--only extracts the paths that it names, with what is on the way to them', async (t) => {
  const { rootfs, stdin } = prepare(t, stack);
  const result = await md('md-unpack', ['--only', '/etc', '--only', 'usr/bin/sh', rootfs], { stdin });
  assert.equal(result.status, 0, result.stderr);
  assert.deepEqual([...describeTree(rootfs).keys()], ['.', 'etc', 'etc/motd', 'usr', 'usr/bin', 'usr/bin/sh']);
});

test('--only without DIR is refused: the store holds whole images', async (t) => {
  const { stdin, directory } = prepare(t, stack);
  const result = await md('md-unpack', ['--only', 'etc'], { stdin, env: { MD_HOME: join(directory, 'home') } });
  assert.equal(result.status, 64);
});

test('--verify finds nothing in a tree that is as it was, and leaves it so', async (t) => {
  const { directory, rootfs, stdin } = prepare(t, stack);
  await md('md-unpack', [rootfs], { stdin });
  const before = describeTree(rootfs);
  const result = await md('md-unpack', ['--verify', rootfs], { stdin });
  assert.equal(result.stdout, '');
  assert.equal(result.status, 0, result.stderr);
  assert.deepEqual(describeTree(rootfs), before);
  assert.deepEqual(
    readdirSync(directory).filter((name) => name.startsWith('.')),
    [],
  );
});

test('--verify tells of every change, with what is there and what should be', { skip: needsRoot }, async (t) => {
  const { directory, rootfs, stdin } = prepare(t, stack);
  await md('md-unpack', [rootfs], { stdin });
  const at = (path: string) => join(rootfs, path);
  writeFileSync(at('etc/motd'), 'HELLO\n');
  utimesSync(at('etc/motd'), 1.5, 1.5);
  writeFileSync(at('etc/new'), '');
  utimesSync(at('etc'), 1000, 1000);
  chmodSync(at('usr/bin/sh'), 0o4755);
  unlinkSync(at('bin'));
  symlinkSync('usr/sbin', at('bin'));
  unlinkSync(at('dev/null'));
  mkdirSync(at('dev/null'));
  rmSync(Buffer.concat([Buffer.from(`${rootfs}/`), Buffer.from('caf\xe9', 'latin1')]));
  const result = await md('md-unpack', ['--verify', rootfs], { stdin });
  assert.equal(result.status, 65);
  const found = jsonLines(result.stdout).filter(({ difference, path }) => !(path === 'bin' && difference === 'mtime'));
  const summary = found.map(({ path, difference, tree, image }) =>
    [path, difference, tree, image].filter((it) => it !== undefined).join(' '),
  );
  assert.deepEqual(summary, [
    'bin target usr/sbin usr/bin',
    'caf\\xe9 missing',
    'dev/null type directory char',
    'etc/motd content',
    'etc/new extra',
    'usr/bin/bash mode 4755 0644',
    'usr/bin/sh mode 4755 0644',
  ]);
  assert.deepEqual(
    readdirSync(directory).filter((name) => name.startsWith('.')),
    [],
  );
});
