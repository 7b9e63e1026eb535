import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { jsonLines, md, shell } from '../support/run.js';
import { prepare, twoLayers } from '../support/unpacking.js';

test('md-unpack puts the tree at DIR and its document on stdout and beside it', async (t) => {
  const { rootfs, stdin, directory } = prepare(t, twoLayers);
  const result = await md('md-unpack', [rootfs], { stdin });
  assert.equal(result.stderr, '');
  assert.equal(result.status, 0);
  assert.deepEqual(readdirSync(rootfs), ['bin', 'etc']);
  assert.deepEqual(readdirSync(join(rootfs, 'etc')), ['keep']);
  assert.equal(readFileSync(join(rootfs, 'etc/keep'), 'utf8'), 'kept\n');
  const [document] = jsonLines(result.stdout);
  assert.equal(document?.rootfs, rootfs);
  assert.deepEqual(JSON.parse(readFileSync(`${rootfs}.json`, 'utf8')), document);
  // Who may read the tree may run it.
  assert.deepEqual(
    [rootfs, `${rootfs}.json`].map((path) => statSync(path).mode & 0o777),
    [0o755, 0o644],
  );
  assert.deepEqual(readdirSync(directory).sort(), ['layers', 'rootfs', 'rootfs.json']);
});

test('the document keeps unknown fields, and loses all secrets and the manifest', async (t) => {
  const { rootfs, stdin } = prepare(t, twoLayers);
  const [first = '', ...rest] = stdin.split('\n');
  // As md-manifest writes it, with layers from elsewhere than md-fetch-layer.
  const secrets = { authorization: 'Bearer s3cret', login: { username: 'me', password: 's3cret' } };
  const changed = JSON.stringify({ ...JSON.parse(first), ...secrets, note: 'of my own' });
  // That of a layer has the name of something of this program's own.
  const layers = rest.join('\n').replaceAll('{"layer":{', '{"layer":{"blobDigest":5,');
  const result = await md('md-unpack', [rootfs], { stdin: `${changed}\n${layers}` });
  assert.equal(result.status, 0, result.stderr);
  assert.equal(jsonLines(result.stdout)[0]?.note, 'of my own');
  assert.doesNotMatch(result.stdout + readFileSync(`${rootfs}.json`, 'utf8'), /s3cret|authorization|login|"manifest"/);
});

test('an upstream that was killed after some of the layers leaves no tree', async (t) => {
  const { rootfs, stdin, directory } = prepare(t, twoLayers);
  const result = await md('md-unpack', [rootfs], { stdin: `${stdin.split('\n').slice(0, 2).join('\n')}\n` });
  assert.equal(result.status, 65);
  assert.match(result.stderr, /stdin: it ended after 1 of 2 layers/);
  assert.deepEqual(readdirSync(directory), ['layers']);
});

test('a failure of an earlier stage is passed on in silence, and leaves no tree', async (t) => {
  const { rootfs, stdin, directory } = prepare(t, twoLayers);
  const [document, layer] = stdin.split('\n');
  const error = JSON.stringify({ error: { command: 'md-fetch-layer', code: 69, message: 'gone' } });
  const result = await md('md-unpack', [rootfs], { stdin: `${document}\n${layer}\n${error}\n` });
  assert.equal(result.status, 69);
  assert.equal(result.stderr, '');
  assert.equal(result.stdout, `${error}\n`);
  assert.deepEqual(readdirSync(directory), ['layers']);
});

test('a layer that is not what its diffID says leaves no tree', async (t) => {
  const { rootfs, stdin, directory, layers: files } = prepare(t, twoLayers);
  const other = prepare(t, [[{ name: 'evil', data: 'x' }]]);
  writeFileSync(files[1]!.path, readFileSync(other.layers[0]!.path));
  const result = await md('md-unpack', [rootfs], { stdin });
  assert.equal(result.status, 65);
  assert.match(result.stderr, /diffID: expected sha256:[0-9a-f]{64}, got sha256:/);
  assert.deepEqual(readdirSync(directory), ['layers']);
  assert.equal(existsSync(rootfs), false);
});

test('when stdout cannot be written the tree stays, whole and with its document, and the error says so', async (t) => {
  const { rootfs, stdin, directory } = prepare(t, twoLayers);
  const byHand = `${stdin.split('\n')[1]}\n`;
  for (const [input, flags, files] of [
    [stdin, '', ['layers', 'rootfs', 'rootfs.json']],
    [stdin, '--path --force', ['layers', 'rootfs', 'rootfs.json']],
    [byHand, '--force', ['layers', 'rootfs']],
  ] as const) {
    const result = await shell(`md-unpack ${flags} "$1" > /dev/full`, [rootfs], { stdin: input });
    assert.equal(result.status, 74);
    assert.equal(
      result.stderr,
      'md-unpack: writing to stdout: no space left on device (ENOSPC); ' +
        `the tree is complete, and stays at ${rootfs}\n`,
    );
    assert.deepEqual(readdirSync(directory).sort(), files);
    assert.ok(existsSync(join(rootfs, 'etc/keep')));
  }
});

test('a process that may open few files unpacks and verifies as well', async (t) => {
  const many = Array.from({ length: 400 }, (_, i) => ({ name: `file-${i}`, data: `${i}\n` }));
  const directories = Array.from({ length: 400 }, (_, i) => ({ name: `d/${i}/f`, data: '' }));
  const { rootfs, stdin } = prepare(t, [[...many, ...directories]]);
  const result = await shell('ulimit -n 100 && exec md-unpack "$1"', [rootfs], { stdin });
  assert.equal(result.stderr, '');
  assert.equal(readdirSync(rootfs).length, 401);
  assert.equal(readdirSync(join(rootfs, 'd')).length, 400);
  assert.equal(readFileSync(join(rootfs, 'file-399'), 'utf8'), '399\n');
  const verified = await shell('ulimit -n 100 && exec md-unpack --verify "$1"', [rootfs], { stdin });
  assert.deepEqual([verified.status, verified.stdout, verified.stderr], [0, '', '']);
});

test('a process that may open too few files says so, and leaves nothing', async (t) => {
  const { directory, rootfs, stdin } = prepare(t, twoLayers);
  const statuses = new Set<number>();
  for (let files = 12; !existsSync(rootfs); files++) {
    const { status, stderr } = await shell(`ulimit -n ${files} && exec md-unpack "$1"`, [rootfs], { stdin });
    if (status === 0) break;
    // With fewer than it needs to start, Node ends in words of its own.
    if (status === 74) assert.match(stderr, /^md-unpack: .*\(EMFILE\); raise the limit: ulimit -n 4096\n$/);
    statuses.add(status);
    assert.deepEqual(readdirSync(directory), ['layers'], `with ${files} files`);
  }
  assert.ok(statuses.has(74));
});

test('a working directory that was removed is not a fault of this program', async (t) => {
  const { directory, stdin } = prepare(t, twoLayers);
  mkdirSync(join(directory, 'gone'));
  const { status, stderr } = await shell('cd "$1" && rmdir "$1" && exec md-unpack tree', [join(directory, 'gone')], {
    stdin,
  });
  // The shell that starts the command may have a line of its own.
  assert.match(
    stderr,
    /^md-unpack: the working directory: no such file or directory \(ENOENT\); it was removed, .*\n$/m,
  );
  assert.equal(status, 74);
});

test('a directory in which the caller stands is refused: it would be removed below the shell', async (t) => {
  const { directory, rootfs, stdin } = prepare(t, twoLayers);
  const here = join(directory, 'here');
  mkdirSync(join(here, 'sub'), { recursive: true });
  symlinkSync(directory, join(directory, 'linked'));
  const refused = /^md-unpack: .*: the working directory is there, and would be removed with it; name another .*\n$/;
  for (const [cwd, args] of [
    [join(here, 'sub'), ['.']],
    [join(here, 'sub'), ['--force', '.']],
    [join(here, 'sub'), ['--force', '..']],
    [here, ['--force', join(directory, 'linked/here')]],
  ] as const) {
    const { status, stderr } = await md('md-unpack', [...args], { stdin, cwd });
    assert.equal(status, 64, args.join(' '));
    assert.match(stderr, refused);
  }
  assert.ok(existsSync(join(here, 'sub')));

  mkdirSync(`${rootfs}-too`);
  const beside = await md('md-unpack', [rootfs], { stdin, cwd: `${rootfs}-too` });
  assert.equal(beside.status, 0, beside.stderr);
});

test('a limit on the size of files is not a fault of the archive, nor of this program', async (t) => {
  // Of the second one the first part is written.
  for (const [limit, data] of [
    ['0', 'x'],
    ['1', 'x'.repeat(5000)],
  ] as const) {
    const { directory, rootfs, stdin } = prepare(t, [[{ name: 'f', data }]]);
    const { status, stderr } = await shell('ulimit -f "$2" && exec md-unpack "$1"', [rootfs, limit], { stdin });
    assert.match(stderr, /^md-unpack: layer 0 .* f: file too large \(EFBIG\); ulimit -f, or the filesystem, .*\n$/);
    assert.equal(status, 74);
    assert.deepEqual(readdirSync(directory), ['layers']);
  }
});

test('-x shows each system call that makes the tree', async (t) => {
  const { rootfs, stdin } = prepare(t, twoLayers);
  const result = await md('md-unpack', ['-x', rootfs], { stdin });
  assert.equal(result.status, 0);
  assert.match(result.stderr, /^openat2\([0-9]+, "etc", \{flags=.*resolve=.*RESOLVE_IN_ROOT.*\) = [0-9]+$/m);
  assert.match(result.stderr, /^unlinkat\([0-9]+, "motd", 0\) = 0$/m);
  assert.match(result.stderr, /^symlinkat\("usr\/bin", [0-9]+, "bin"\) = 0$/m);
  assert.match(result.stderr, /^renameat2\(/m);
});
