import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { makeRoot, needsContainer, until } from '../support/rootfs.js';
import { binDir, cleanEnv, jsonLines, md, needs, needsRoot, run, shell } from '../support/run.js';
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
  assert.equal(readFileSync(join(rootfs, 'etc/keep'), 'utf8'), 'kept\n');
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

test('a DIR.json that is not the document of a tree is kept, with --force and without a document of its own too', async (t) => {
  const { rootfs, stdin, directory } = prepare(t, layers);
  const byHand = `${stdin.split('\n')[1]}\n`;
  for (const text of ['{"name":"of a package"}', '["rootfs"]', 'null', 'no JSON', '']) {
    writeFileSync(`${rootfs}.json`, text);
    for (const [flags, input] of [
      [[], stdin],
      [['--force'], stdin],
      [[], byHand],
    ] as const) {
      const refused = await md('md-unpack', [...flags, rootfs], { stdin: input });
      assert.equal(refused.status, 64, refused.stderr);
      assert.match(refused.stderr, /^md-unpack: \S+rootfs\.json: it is there, and is not the document.*; move it away/);
      assert.equal(readFileSync(`${rootfs}.json`, 'utf8'), text);
      assert.deepEqual(readdirSync(directory).sort(), ['layers', 'rootfs.json']);
    }
  }
});

test('the document of a tree that was removed gives way to that of a new one', async (t) => {
  const { rootfs, stdin } = prepare(t, layers);
  assert.equal((await md('md-unpack', [rootfs], { stdin })).status, 0);
  rmSync(rootfs, { recursive: true });
  const result = await md('md-unpack', [rootfs], { stdin });
  assert.equal(result.status, 0, result.stderr);
  assert.deepEqual(readdirSync(rootfs), ['bin', 'etc']);
});

test('a directory in the place of a file beside the tree is refused before anything is unpacked', async (t) => {
  for (const name of ['rootfs.json', 'rootfs.unset.jsonl']) {
    const { rootfs, stdin, directory } = prepare(t, layers);
    mkdirSync(join(directory, name));
    const result = await md('md-unpack', ['--force', rootfs], { stdin });
    assert.equal(result.status, 64, result.stderr);
    assert.match(result.stderr, new RegExp(`/${name}: it is there, and is no regular file`));
    assert.deepEqual(readdirSync(directory).sort(), ['layers', name]);
  }
});

test('a document that cannot be put in its place takes the tree back, and the old one stays', async (t) => {
  const { rootfs, stdin, directory } = prepare(t, layers);
  const [document = '', ...rest] = stdin.split('\n');
  for (const old of [false, true]) {
    if (old) mkdirSync(rootfs);
    if (old) writeFileSync(join(rootfs, 'old'), '');
    const child = spawn(join(binDir, 'md-unpack'), ['--force', rootfs], { stdio: 'pipe', env: cleanEnv() });
    child.stdin.write(`${document}\n`);
    // It has looked at what is there before it begins.
    await until(() => readdirSync(directory).some((name) => name.startsWith('.rootfs.md-unpack-')), 10);
    mkdirSync(`${rootfs}.json`);
    child.stdin.end(rest.join('\n'));
    const stderr = child.stderr.setEncoding('utf8').toArray();
    const [status] = await once(child, 'close');
    assert.equal(status, 64);
    assert.match((await stderr).join(''), /^md-unpack: \S+rootfs\.json: it is there, and is no regular file\n$/);
    assert.deepEqual(readdirSync(directory).sort(), ['layers', ...(old ? ['rootfs'] : []), 'rootfs.json']);
    if (old) assert.deepEqual(readdirSync(rootfs), ['old']);
    rmSync(`${rootfs}.json`, { recursive: true });
  }
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

test('when stdout cannot be written the tree stays, whole and with its document, and the error says so', async (t) => {
  const { rootfs, stdin, directory } = prepare(t, layers);
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

test('a process that may open few files unpacks as well', async (t) => {
  const many = Array.from({ length: 400 }, (_, i) => ({ name: `file-${i}`, data: `${i}\n` }));
  const directories = Array.from({ length: 400 }, (_, i) => ({ name: `d/${i}/f`, data: '' }));
  const { rootfs, stdin } = prepare(t, [[...many, ...directories]]);
  const result = await shell('ulimit -n 100 && exec md-unpack "$1"', [rootfs], { stdin });
  assert.equal(result.stderr, '');
  assert.equal(readdirSync(rootfs).length, 401);
  assert.equal(readdirSync(join(rootfs, 'd')).length, 400);
  assert.equal(readFileSync(join(rootfs, 'file-399'), 'utf8'), '399\n');
});

test('a process that may open too few files says so, and leaves nothing', async (t) => {
  const { directory, rootfs, stdin } = prepare(t, layers);
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

test('a working directory that was removed is no fault of this program', async (t) => {
  const { directory, stdin } = prepare(t, layers);
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

test('a limit on the size of files is no fault of the archive, nor of this program', async (t) => {
  const { directory, rootfs, stdin } = prepare(t, [[{ name: 'f', data: 'x' }]]);
  const { status, stderr } = await shell('ulimit -f 0 && exec md-unpack "$1"', [rootfs], { stdin });
  assert.match(stderr, /^md-unpack: layer 0 .* f: file too large \(EFBIG\); ulimit -f, or the filesystem, .*\n$/);
  assert.equal(status, 74);
  assert.deepEqual(readdirSync(directory), ['layers']);
});

test('a tree that a container runs in is not replaced', { skip: needsContainer }, async (t) => {
  const tree = makeRoot(t);
  const { stdin } = prepare(t, layers);
  const begin = (said: string, script: string) => {
    const container = spawn(join(binDir, 'md-isolate'), [tree, 'sh', '-c', `echo > ${said}; ${script}`], {
      stdio: ['pipe', 'ignore', 'inherit'],
      env: cleanEnv(),
    });
    t.after(() => container.kill('SIGKILL'));
    return container;
  };
  const why = `md-unpack: ${tree}: a container runs in it; end it first, or name another directory\n`;
  const first = begin('first', 'cat');
  await until(() => existsSync(join(tree, 'first')));
  const refused = await md('md-unpack', ['--force', tree], { stdin });
  assert.deepEqual([refused.status, refused.stderr], [75, why]);
  const ended = once(first, 'exit');
  first.stdin.end();
  assert.deepEqual(await ended, [0, null]);
  // One that begins while the layers come is seen in the end.
  const late = spawn(join(binDir, 'md-unpack'), ['--force', tree], { env: cleanEnv(), stdio: 'pipe' });
  const [lines, closed] = [stdin.trimEnd().split('\n'), once(late, 'close')];
  late.stdin.write(`${lines[0]}\n`);
  await until(() => readdirSync(dirname(tree)).some((name) => name.endsWith('.lock')));
  begin('second', 'cat');
  await until(() => existsSync(join(tree, 'second')));
  late.stdin.end(`${lines.slice(1).join('\n')}\n`);
  assert.deepEqual(await closed, [75, null]);
  assert.deepEqual(readdirSync(dirname(tree)), ['root']);
  assert.ok(existsSync(join(tree, 'second')));
});

test('another run that looks at the tree, or is about to replace it, is not taken for a container', {
  skip: needs('strace'),
}, async (t) => {
  const { rootfs, stdin } = prepare(t, layers);
  assert.equal((await md('md-unpack', [rootfs], { stdin })).status, 0);
  // Of the locks, the first is asked for at the start, the second is the run's own, the third comes before the exchange.
  for (const which of [1, 3]) {
    const strace = ['strace', '-f', '-qq', '-o', '/dev/null', '-e', `inject=flock:error=EAGAIN:when=${which}`];
    const { status, stderr } = await run([...strace, 'md-unpack', '--force', rootfs], { stdin });
    assert.deepEqual([status, stderr], [0, '']);
  }
});

test('a filesystem that takes no hard links makes no layer a bad one', { skip: needs('strace') }, async (t) => {
  const { rootfs, stdin } = prepare(t, [
    [
      { name: 'f', data: 'x' },
      { name: 'l', type: 'link', linkname: 'f' },
    ],
  ]);
  const strace = ['strace', '-f', '-qq', '-o', '/dev/null', '-e', 'inject=linkat:error=EPERM'];
  const { status, stderr } = await run([...strace, 'md-unpack', rootfs], { stdin });
  assert.equal(status, 77, stderr);
  assert.match(stderr, /l: operation not permitted \(EPERM\)/);
});

test('a bad layer of an image goes from the store, to be fetched again; one from elsewhere, or made by hand, stays', async (t) => {
  const { directory, rootfs, stdin, layers: announced } = prepare(t, [[{ name: 'f', data: 'x' }]]);
  const { path: elsewhere, digest } = announced[0]!;
  const home = join(directory, 'home');
  const inStore = join(home, 'oci/blobs', digest.replace(':', '/'));
  const beside = join(home, 'copy');
  const all = [elsewhere, beside, inStore];
  mkdirSync(dirname(inStore), { recursive: true });
  for (const path of all) writeFileSync(path, 'no archive');
  const byHand = `${JSON.stringify({ layer: { path: inStore, digest } })}\n`;
  const from = (path: string) => stdin.replace(JSON.stringify(elsewhere), JSON.stringify(path));
  for (const [input, files] of [
    [byHand, all],
    [from(elsewhere), all],
    [from(beside), all],
    [from(inStore), [elsewhere, beside]],
  ] as const) {
    const { status, stderr } = await md('md-unpack', [rootfs], { stdin: input, env: { MD_HOME: home } });
    assert.equal(status, 65, stderr);
    assert.deepEqual(all.filter(existsSync), files);
  }
  const none = join(directory, 'none');
  assert.equal((await md('md-unpack', [rootfs], { stdin, env: { MD_HOME: none } })).status, 65);
  assert.ok(!existsSync(none));
});

test('a bad layer in a store that can only be read is still told of as what it is', {
  skip: needsRoot || needs('unshare'),
}, async (t) => {
  const { directory, rootfs, stdin, layers: announced } = prepare(t, [[{ name: 'f', data: 'x' }]]);
  const { path, digest } = announced[0]!;
  const inStore = join(directory, 'home/oci/blobs', digest.replace(':', '/'));
  mkdirSync(dirname(inStore), { recursive: true });
  writeFileSync(inStore, 'no archive');
  const script = `mount --bind "$1/home" "$1/home" && mount -o remount,ro,bind "$1/home" && exec md-unpack "$2"`;
  const { status, stderr } = await run(['unshare', '-m', 'sh', '-c', script, 'sh', directory, rootfs], {
    stdin: stdin.replace(JSON.stringify(path), JSON.stringify(inStore)),
    env: { MD_HOME: join(directory, 'home') },
  });
  assert.match(stderr, /^md-unpack: layer 0 .*: archive: .*; it stays where it is: read-only file system \(EROFS\)\n$/);
  assert.equal(status, 65);
});

test('a FIFO that the filesystem cannot have is not left out without a word', { skip: needs('strace') }, async (t) => {
  const { directory, rootfs, stdin } = prepare(t, [[{ name: 'pipe', type: 'fifo' }]]);
  const strace = ['strace', '-f', '-qq', '-o', '/dev/null', '-e', 'inject=mknodat:error=EPERM'];
  const { status, stderr } = await run([...strace, 'md-unpack', rootfs], { stdin });
  assert.match(stderr, /^md-unpack: layer 0 .*: pipe: operation not permitted \(EPERM\)\n$/);
  assert.equal(status, 77);
  assert.deepEqual(readdirSync(directory), ['layers']);
});

test('where files take the group of their directory, they have their own all the same', {
  skip: needsRoot || needs('unshare', 'mkfs.ext4'),
}, async (t) => {
  const file = (name: string) => ({ name, data: 'x' });
  const { directory, stdin } = prepare(t, [
    [file('d/a')],
    [file('d/b'), { name: 'd/', type: 'directory', gid: 5 }, file('d/c')],
  ]);
  const script = `cd "$1" && truncate -s 16M disk && mkfs.ext4 -q disk && mkdir on && mount -o loop,grpid disk on || exit 99
    md-unpack on/tree >/dev/null && cd on/tree && stat -c %g d d/*`;
  const { status, stdout } = await run(['unshare', '-m', 'sh', '-c', script, 'sh', directory], { stdin });
  if (status === 99) return t.skip('no file can be mounted here');
  assert.deepEqual([status, stdout], [0, '5\n0\n0\n0\n']);
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
