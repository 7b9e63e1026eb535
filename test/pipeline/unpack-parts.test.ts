/** md-unpack beside its main job: layers by hand, --list, --only, --verify. */
import assert from 'node:assert/strict';
import {
  chmodSync,
  closeSync,
  existsSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { digestOf } from '../support/content.js';
import { layer } from '../support/image.js';
import { jsonLines, md, needs, needsRoot, shell } from '../support/run.js';
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

test('layer lines made by hand are enough, without a store and where none can be', async (t) => {
  const { directory, rootfs, layers } = prepare(t, stack.slice(0, 1).concat([[{ name: 'etc/.wh.passwd' }]]));
  const stdin = layers.map(({ path }) => `${JSON.stringify({ layer: { path } })}\n`).join('');
  const result = await md('md-unpack', [rootfs], { stdin, env: { MD_HOME: '/dev/null' } });
  assert.equal(result.status, 0, result.stderr);
  assert.deepEqual(jsonLines(result.stdout), [{ rootfs }]);
  assert.deepEqual(readdirSync(join(rootfs, 'etc')), ['motd']);
  assert.equal(existsSync(join(directory, 'rootfs.json')), false);
});

test('--path is for layers made by hand, too', async (t) => {
  const { rootfs, stdin } = prepare(t, [[{ name: 'f' }]]);
  const { status, stdout } = await md('md-unpack', ['--path', rootfs], { stdin: stdin.slice(stdin.indexOf('\n') + 1) });
  assert.deepEqual([status, stdout], [0, `${rootfs}\n`]);
});

test('the path of a layer made by hand can move no cursor where its progress is shown', async (t) => {
  const { directory, layers } = prepare(t, [[{ name: 'f' }]]);
  const path = join(directory, 'a\x1b[2J\u009b.tar');
  renameSync(layers[0]!.path, path);
  for (const mode of ['bar', 'json']) {
    const stdin = `${JSON.stringify({ layer: { path } })}\n`;
    const { status, stderr } = await md('md-unpack', ['--list', '--progress', mode], { stdin });
    assert.equal(status, 0, stderr);
    assert.match(stderr, /a\\+x1b\[2J\\+x9b\.tar/);
  }
});

test('a line of progress that is longer than a terminal is wide is cut, so that it takes one row', async (t) => {
  const { directory } = prepare(t, []);
  const path = join(directory, 'a'.repeat(100));
  writeFileSync(path, '');
  const stdin = `${JSON.stringify({ layer: { path } })}\n`;
  const { stderr } = await md('md-unpack', ['--list', '--progress', 'bar'], { stdin });
  const rows = stderr.split(/[\r\n]/).map((row) => row.split('\x1b')[0]!);
  const lengths = new Set(rows.map((row) => row.length));
  assert.deepEqual([...lengths].sort(), [0, 79]);
});

test('a diffID in a line made by hand is checked', async (t) => {
  const { directory, rootfs, layers } = prepare(t, stack);
  const line = { layer: { path: layers[0]!.path, diffID: layers[1]!.diffID } };
  const result = await md('md-unpack', [rootfs], { stdin: `${JSON.stringify(line)}\n` });
  assert.equal(result.status, 65);
  assert.match(result.stderr, /diffID: expected/);
  assert.deepEqual(readdirSync(directory), ['layers']);
});

test('digest, diffID and size in a line made by hand are checked, each by itself, whatever the compression', async (t) => {
  const entries: TarEntry[] = [{ name: 'file', data: 'x'.repeat(100_000) }];
  for (const compression of ['gzip', 'none'] as const) {
    const { directory, rootfs, layers } = prepare(t, [layer(entries, { compression })]);
    const { path, digest, diffID, size } = layers[0]!;
    const unpack = (fields: object, flags: string[] = [rootfs]) =>
      md('md-unpack', flags, { stdin: `${JSON.stringify({ layer: { path, ...fields } })}\n` });
    const other = `sha256:${'0'.repeat(64)}`;
    for (const [fields, why] of [
      [{ digest: other, diffID, size }, `digest: expected ${other}, got ${digest}`],
      [{ digest, diffID: other, size }, `diffID: expected ${other}, got ${diffID}`],
      [{ digest, diffID, size: size + 1 }, `size: expected ${size + 1}, got ${size}`],
      [{ digest: other }, `digest: expected ${other}, got ${digest}`],
      [{ size: 0 }, `size: expected 0, got ${size}`],
    ] as const) {
      for (const flags of [[rootfs], ['--list']]) {
        const { status, stderr } = await unpack(fields, flags);
        assert.equal(status, 65, stderr);
        assert.match(stderr, new RegExp(`^md-unpack: layer 0 \\(.*\\): ${why}\n$`));
        assert.deepEqual(readdirSync(directory), ['layers']);
      }
    }
    for (const fields of [{ size: -1 }, { size: '1' }, { digest: 'sha256:1' }, { digest: 7 }]) {
      assert.equal((await unpack(fields)).status, 65, JSON.stringify(fields));
    }
    const { status, stderr } = await unpack({ digest, diffID, size });
    assert.equal(status, 0, stderr);
  }
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

test('--list calls the root `.` also where all in it is hidden, and leaves out what unpacking passes over', async (t) => {
  const entries = ['.wh..wh.plnk/1.2', '.wh..wh..opq', './'].map((name) => ({ name }));
  const { stdin } = prepare(t, [[], entries]);
  const { stdout } = await md('md-unpack', ['--list'], { stdin });
  const listed = jsonLines(stdout).map(({ path, type }) => [path, type]);
  assert.deepEqual(listed, [
    ['.', 'opaque'],
    ['.', 'directory'],
  ]);
});

test('--list tells of attributes, of block devices and of times that no calendar has, and with --only of parts alone', async (t) => {
  const xattrs = { 'user.b': 'x', 'user.a': 'y' };
  const { stdin } = prepare(t, [
    [
      { name: 'd/b', type: 'block', major: 8, minor: 1, pax: { mtime: '9000000000000' }, xattrs },
      { name: 'else', data: 'x' },
    ],
  ]);
  const { stdout } = await md('md-unpack', ['--list', '--only', 'd'], { stdin });
  const listed = jsonLines(stdout).map((it) => [it.path, it.device, it.mtime, it.xattrs]);
  assert.deepEqual(listed, [['d/b', '8:1', '9000000000000', ['user.a', 'user.b']]]);
});

test('a name that --list writes can move no cursor, and is the same for whoever parses it', async (t) => {
  const name = 'a\u009b2Jb\u2028';
  const { stdin } = prepare(t, [[{ name, data: '' }]]);
  const { stdout } = await md('md-unpack', ['--list'], { stdin });
  assert.match(stdout, /^[\n -~]+$/);
  assert.equal(jsonLines(stdout)[0]?.path, name);
});

test('--list and --verify together are wrong usage', async () => {
  const { status, stderr } = await md('md-unpack', ['--list', '--verify', 'tree'], { stdin: '' });
  assert.equal(status, 64);
  assert.match(stderr, /^md-unpack: --list: it does not go with --verify; .*\n$/);
});

test('--list takes no DIR: of a tree or an archive that is named it would say nothing', async () => {
  const { status, stderr } = await md('md-unpack', ['--list', 'a.tar'], { stdin: '' });
  assert.equal(status, 64);
  assert.match(stderr, /^md-unpack: --list: it takes no DIR, and "a\.tar" is one; .*stdin.*\n$/);
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

test('--only takes whole names, holes too, and what the image hides stays hidden', async (t) => {
  const { rootfs, stdin } = prepare(t, [
    [{ name: 'et' }, { name: 'etc/old' }, { name: 'etcetera' }],
    [
      { name: 'etc/.wh..wh..opq' },
      { name: 'etc/new', data: 'x', pax: { 'GNU.sparse.map': '2,1', 'GNU.sparse.size': '3' } },
    ],
  ]);
  for (const [path, expected] of [
    ['etc', ['.', 'etc', 'etc/new']],
    ['.', ['.', 'et', 'etc', 'etc/new', 'etcetera']],
  ] as const) {
    const { status, stderr } = await md('md-unpack', ['--force', '--only', path, rootfs], { stdin });
    assert.equal(status, 0, stderr);
    assert.deepEqual([...describeTree(rootfs).keys()], expected);
    assert.equal(readFileSync(join(rootfs, 'etc/new'), 'latin1'), '\0\0x');
  }
  const hidden = await md('md-unpack', ['--force', '--only', 'etc/old', rootfs], { stdin });
  assert.equal(hidden.status, 64, hidden.stderr);
});

test('--only takes no empty path for all of the image', async (t) => {
  const { rootfs, stdin } = prepare(t, [[{ name: 'etc' }]]);
  for (const what of [['--list'], [rootfs]]) {
    const { status, stderr } = await md('md-unpack', ['--only', 'etc', '--only', '', ...what], { stdin });
    assert.equal(stderr, 'md-unpack: --only: the path is empty; for all write .\n');
    assert.equal(status, 64);
  }
  assert.ok(!existsSync(rootfs));
});

const content = 'the content';
const linkCases: [what: string, stack: TarEntry[][]][] = [
  [
    'in the same layer',
    [
      [
        { name: 'out', data: content },
        { name: 'in/link', type: 'link', linkname: 'out' },
      ],
    ],
  ],
  [
    'in a lower layer, where a later one removes it',
    [
      [{ name: 'd/out', data: content }],
      [{ name: 'in/link', type: 'link', linkname: '/d/out' }],
      [{ name: 'd/.wh.out' }, { name: 'd/out', data: 'later' }],
    ],
  ],
  [
    'that is a hard link itself, to one that is one',
    [
      [
        { name: 'a', data: content },
        { name: 'b', type: 'link', linkname: 'a' },
        { name: 'c', type: 'link', linkname: 'b' },
        { name: 'in/link', type: 'link', linkname: 'c' },
      ],
    ],
  ],
  [
    'that is reached through a symlink to a symlink',
    [
      [
        { name: 'usr/lib/out', data: content },
        { name: 'usr/lib64', type: 'symlink', linkname: 'lib' },
        { name: 'lib', type: 'symlink', linkname: '/usr/lib64' },
        { name: 'in/link', type: 'link', linkname: 'lib/out' },
      ],
    ],
  ],
  [
    'that comes by a name through a symlink',
    [
      [
        { name: 'usr/lib/', type: 'directory' },
        { name: 'lib', type: 'symlink', linkname: 'usr/lib' },
        { name: 'lib/out', data: content },
        { name: 'in/link', type: 'link', linkname: 'usr/lib/out' },
      ],
    ],
  ],
  [
    'that an earlier layer had with other content',
    [
      [{ name: 'out', data: 'earlier' }],
      [{ name: '.wh.out' }],
      [
        { name: 'out', data: content },
        { name: 'in/link', type: 'link', linkname: 'out' },
      ],
    ],
  ],
];
for (const [what, layers] of linkCases) {
  test(`--only of a hard link has the content of a file ${what}`, async (t) => {
    const { directory, rootfs, stdin } = prepare(t, layers);
    const { status, stderr } = await md('md-unpack', ['--only', 'in', rootfs], { stdin });
    assert.equal(status, 0, stderr);
    const tree = describeTree(rootfs);
    assert.deepEqual([...tree.keys()], ['.', 'in', 'in/link']);
    assert.equal(readFileSync(join(rootfs, 'in/link'), 'utf8'), content);
    assert.deepEqual(readdirSync(directory).sort(), ['layers', 'rootfs', 'rootfs.json']);
  });
}

test('--only of two names of a file makes one file of them, with the attributes that it has', async (t) => {
  const { rootfs, stdin } = prepare(t, [
    [
      { name: './', type: 'directory', mode: 0o711, mtime: 77 },
      { name: 'out', data: content, mode: 0o4711, mtime: 1000 },
      { name: 'one', type: 'link', linkname: 'out', mode: 0o600 },
      { name: 'two', type: 'link', linkname: 'one' },
    ],
  ]);
  const { status, stderr } = await md('md-unpack', ['--only', 'one', '--only', 'two', rootfs], { stdin });
  assert.equal(status, 0, stderr);
  const [one, two] = ['one', 'two'].map((name) => statSync(join(rootfs, name)));
  assert.deepEqual([one!.ino, one!.nlink, one!.mode & 0o7777, one!.mtimeMs], [two!.ino, 2, 0o4711, 1_000_000]);
  assert.deepEqual([statSync(rootfs).mode & 0o777, statSync(rootfs).mtimeMs], [0o711, 77_000]);
});

test('--only of two names of a file makes one file of them where a third lies between', async (t) => {
  const { rootfs, stdin } = prepare(t, [
    [
      { name: 'in/one', data: content },
      { name: 'out', type: 'link', linkname: 'in/one' },
    ],
    [{ name: 'in/two', type: 'link', linkname: 'out' }],
  ]);
  const { status, stderr } = await md('md-unpack', ['--only', 'in', rootfs], { stdin });
  assert.equal(status, 0, stderr);
  assert.equal(statSync(join(rootfs, 'in/two')).ino, statSync(join(rootfs, 'in/one')).ino);
});

test('--only reads the layers as often as hard links need, with no more files open each time', async (t) => {
  const link = (name: string, linkname: string): TarEntry => ({ name, type: 'link', linkname });
  const steps = Array.from({ length: 8 }, (_, i) => link(`step/${7 - i}`, `step/${8 - i}`));
  const { rootfs, stdin } = prepare(t, [
    [
      ...Array.from({ length: 200 }, (_, i) => ({ name: `in/${i}/f`, data: '' })),
      { name: 'step/8', data: 'the end' },
      ...steps,
      link('in/link', 'step/0'),
    ],
  ]);
  const { status, stderr } = await shell('ulimit -n 600 && exec md-unpack --only in "$1"', [rootfs], { stdin });
  assert.deepEqual([status, stderr], [0, '']);
  assert.equal(readFileSync(join(rootfs, 'in/link'), 'utf8'), 'the end');
});

test('what --only has to look at once more for a hard link does not count twice', async (t) => {
  const { rootfs, stdin } = prepare(t, [
    [
      { name: 'usr/lib/', type: 'directory' },
      { name: 'lib', type: 'symlink', linkname: 'usr/lib' },
      { name: 'lib/out', data: content },
      { name: 'in/link', type: 'link', linkname: 'usr/lib/out' },
    ],
  ]);
  const flags = ['--only', 'in', '--max-entries', '6', '--max-bytes', String(content.length)];
  const { status, stderr } = await md('md-unpack', [...flags, rootfs], { stdin });
  assert.equal(status, 0, stderr);
});

test('--only finds the target of a link where a lower layer has a directory', async (t) => {
  const { rootfs, stdin } = prepare(t, [
    [{ name: 'a/', type: 'directory' }],
    [
      { name: 'first', data: 'x' },
      { name: 'a', type: 'link', linkname: 'first' },
      { name: 'in/link', type: 'link', linkname: 'a' },
    ],
  ]);
  const { status, stderr } = await md('md-unpack', ['--only', 'in', rootfs], { stdin });
  assert.deepEqual([status, stderr], [0, '']);
  assert.equal(readFileSync(join(rootfs, 'in/link'), 'utf8'), 'x');
});

test('--only of a hard link to nothing, or to what has no end, is refused as such', async (t) => {
  for (const [entries, why] of [
    [[{ name: 'in/link', type: 'link', linkname: 'none' }], /in\/link: it is a hard link to none, which is not there/],
    [[{ name: 'in/link', type: 'link', linkname: 'in/none' }], /it is a hard link to in\/none, which is not there/],
    [
      [{ name: 'in/link', type: 'link', linkname: `in/${'n'.repeat(256)}` }],
      /it is a hard link to in\/n+, which is not there/,
    ],
    [
      [
        { name: 'p', type: 'symlink', linkname: 'p/x' },
        { name: 'in/link', type: 'link', linkname: 'p/f' },
      ],
      /its hard links refer to other hard links without end/,
    ],
  ] as [TarEntry[], RegExp][]) {
    const { directory, rootfs, stdin } = prepare(t, [entries]);
    const { status, stderr } = await md('md-unpack', ['--only', 'in', rootfs], { stdin });
    assert.equal(status, 65, stderr);
    assert.match(stderr, why);
    assert.deepEqual(readdirSync(directory), ['layers']);
  }
});

test('--only of what the image does not have, or not under this name, is refused', async (t) => {
  const { directory, rootfs, stdin } = prepare(t, stack);
  for (const path of ['nothing', 'etc/passwd', 'bin/sh', 'etc/motd/x', `etc/${'n'.repeat(256)}`]) {
    const { status, stderr } = await md('md-unpack', ['--only', 'etc/motd', '--only', path, rootfs], { stdin });
    assert.equal(status, 64, path);
    assert.match(
      stderr,
      new RegExp(`^md-unpack: --only ${path}: the image has nothing of this name; it may lie behind`),
    );
    assert.deepEqual(readdirSync(directory), ['layers']);
  }
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
  utimesSync(at('etc'), 1000.0625, 1000.0625);
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
    'etc mtime 1000.062500000 1000.000000000',
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

test('--verify tells of each property of each kind of entry that has changed', {
  skip: needsRoot || needs('setfattr'),
}, async (t) => {
  const xattrs = { 'user.a': 'v' };
  const { rootfs, stdin } = prepare(t, [
    [
      { name: './', type: 'directory', mtime: 0 },
      { name: 'd/', type: 'directory', mtime: 0, xattrs },
      { name: 'd/f', data: 'x', mtime: 0, xattrs },
      { name: 'd/h', type: 'link', linkname: 'd/f' },
      { name: 'implied/x', data: 'x', mtime: 0 },
      { name: 'l', type: 'symlink', linkname: 'd/f', mtime: 0 },
      { name: 'p', type: 'fifo', mtime: 0 },
      { name: 'c', type: 'char', major: 1, minor: 3, mtime: 0 },
    ],
  ]);
  const all = ['.', 'd', 'd/f', 'l', 'p', 'c'];
  const changes: [paths: string[], difference: string, change: string][] = [
    [all, 'owner', 'chown -h 5 "$1"'],
    [all, 'owner', 'chgrp -h 5 "$1"'],
    [all, 'mtime', 'touch -h -d @0.000000001 "$1"'],
    [all.filter((path) => path !== 'l').concat('implied'), 'mode', 'chmod 1711 "$1"'],
    [all, 'xattrs', 'setfattr -h -n trusted.a -v 1 "$1"'],
    [['d', 'd/f'], 'xattrs', 'setfattr -n user.a -v w "$1"'],
    [['d', 'd/f'], 'xattrs', 'setfattr -x user.a "$1"'],
    [['d/f'], 'content', 'printf y >"$1"; touch -d @0 d/f'],
    [['l'], 'target', 'ln -sfn d/F l; touch -h -d @0 l .'],
    [['c'], 'device', 'rm c; mknod -m 644 c c 1 5; touch -d @0 c .'],
    [['d/h'], 'link', 'cp -a d/h t; mv t d/h; touch -d @0 d .'],
  ];
  for (const [paths, difference, change] of changes) {
    await md('md-unpack', ['--force', rootfs], { stdin });
    for (const path of paths) {
      const { stderr } = await shell(change, [path], { cwd: rootfs });
      assert.equal(stderr, '');
    }
    const result = await md('md-unpack', ['--verify', rootfs], { stdin });
    const names = paths.flatMap((path) => (path === 'd/f' ? ['d/f', 'd/h'] : [path]));
    const found = jsonLines(result.stdout).map((it) => `${it.path} ${it.difference}`);
    assert.deepEqual(found.sort(), names.map((name) => `${name} ${difference}`).sort(), change);
    assert.equal(result.status, 65);
  }
});

test('--verify tells names that differ from what they look like', async (t) => {
  const { rootfs, stdin } = prepare(t, [[{ name: 'l', type: 'symlink', linkname: Buffer.from('\xe9', 'latin1') }]]);
  assert.equal((await md('md-unpack', [rootfs], { stdin })).status, 0);
  const { mtimeMs } = lstatSync(join(rootfs, 'l'));
  unlinkSync(join(rootfs, 'l'));
  symlinkSync('\\xe9', join(rootfs, 'l'));
  lutimesSync(join(rootfs, 'l'), mtimeMs / 1000, mtimeMs / 1000);
  const result = await md('md-unpack', ['--verify', rootfs], { stdin });
  assert.equal(result.status, 65, result.stderr);
  assert.deepEqual(jsonLines(result.stdout), [{ path: 'l', difference: 'target', tree: '\\xe9', image: '\\xe9' }]);
});

test('--verify with --only compares these parts', async (t) => {
  const { rootfs, stdin } = prepare(t, stack);
  await md('md-unpack', [rootfs], { stdin });
  // A hard link takes a second pass over the layers, into the same tree.
  const unchanged = await md('md-unpack', ['--verify', '--only', 'usr/bin/bash', rootfs], { stdin });
  assert.deepEqual([unchanged.status, unchanged.stdout], [0, '']);
  for (const path of ['etc/motd', 'etc/new', 'usr/bin/sh']) writeFileSync(join(rootfs, path), 'changed');
  const { stdout } = await md('md-unpack', ['--verify', '--only', 'usr', '--only', 'etc/motd', rootfs], { stdin });
  const found = jsonLines(stdout).filter(({ difference }) => difference === 'size');
  assert.deepEqual(
    found.map(({ path }) => path),
    ['etc/motd', 'usr/bin/bash', 'usr/bin/sh'],
  );
  assert.doesNotMatch(stdout, /extra/);
});

test('--verify with --only says nothing of what a part has brought elsewhere, through a symlink', async (t) => {
  const { rootfs, stdin } = prepare(t, [
    [{ name: 'part/link', type: 'symlink', linkname: '../else' }],
    [{ name: 'part/link/f', data: 'x' }],
    [{ name: '.wh.else' }],
  ]);
  assert.equal((await md('md-unpack', [rootfs], { stdin })).status, 0);
  const { status, stdout } = await md('md-unpack', ['--verify', '--only', 'part', rootfs], { stdin });
  assert.deepEqual([status, stdout], [0, '']);
});

test('--verify passes over what is a hole in both, and finds what is none in one', async (t) => {
  const size = 2 ** 41;
  const map = (...stretches: number[]) => ({ 'GNU.sparse.map': stretches.join(), 'GNU.sparse.size': String(size) });
  const [far, near] = [size - 1, 2 ** 40];
  const hole = { 'GNU.sparse.numblocks': '0', 'GNU.sparse.size': String(size) };
  const { rootfs, stdin } = prepare(t, [
    [
      { name: 'f', data: 'xy', pax: map(near, 1, far, 1) },
      { name: 'hole', data: '', pax: hole },
    ],
  ]);
  const found = async () => jsonLines((await md('md-unpack', ['--verify', rootfs], { stdin })).stdout);
  assert.equal((await md('md-unpack', [rootfs], { stdin })).status, 0);
  assert.deepEqual(await found(), []);
  const file = join(rootfs, 'f');
  for (const [at, old] of [
    [far, 'y'],
    [far - 1, '\0'],
    [near, 'x'],
    [5, '\0'],
  ] as const) {
    for (const [text, expected] of [
      ['z', [{ path: 'f', difference: 'content' }]],
      [old, []],
    ] as const) {
      const fd = openSync(file, 'r+');
      writeSync(fd, text, at);
      closeSync(fd);
      utimesSync(file, 1e9, 1e9);
      assert.deepEqual(await found(), expected);
    }
  }
});

test('--verify takes layer lines made by hand', async (t) => {
  const { rootfs, layers } = prepare(t, stack);
  const stdin = layers.map(({ path }) => `${JSON.stringify({ layer: { path } })}\n`).join('');
  await md('md-unpack', [rootfs], { stdin });
  assert.deepEqual(
    await md('md-unpack', ['--verify', rootfs], { stdin }).then(({ status, stdout }) => [status, stdout]),
    [0, ''],
  );
  unlinkSync(join(rootfs, 'bin'));
  assert.match((await md('md-unpack', ['--verify', rootfs], { stdin })).stdout, /"bin","difference":"missing"/);
  assert.equal((await md('md-unpack', ['--verify'], { stdin })).status, 64);
});

test('--verify of what is not there is refused before a layer comes', async (t) => {
  const { directory, rootfs, stdin } = prepare(t, stack);
  const { status, stderr } = await md('md-unpack', ['--verify', rootfs], { stdin: `${stdin.split('\n')[0]}\n` });
  assert.deepEqual([status, stderr], [74, `md-unpack: ${rootfs}: no such file or directory (ENOENT)\n`]);
  assert.deepEqual(readdirSync(directory), ['layers']);
});
