/**
 * What md-unpack finds on the disk: at DIR and beside it, in the store, and of a filesystem that has ways of its own.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { digestOf } from '../support/content.js';
import { injecting } from '../support/injected-call.js';
import { makeRoot, needsContainer, until } from '../support/rootfs.js';
import { binDir, cleanEnv, killAfterwards, md, needs, needsRoot, run } from '../support/run.js';
import { describeTree } from '../support/tree.js';
import { prepare, type Stack, twoLayers, unpackPrepared } from '../support/unpacking.js';

test('a DIR that is not empty is refused, and --force replaces it', async (t) => {
  const { rootfs, stdin, directory } = prepare(t, twoLayers);
  mkdirSync(rootfs);
  writeFileSync(join(rootfs, 'precious'), 'mine');
  const refused = await md('md-unpack', [rootfs], { stdin });
  assert.equal(refused.status, 64);
  assert.match(refused.stderr, /^md-unpack: .*not empty.*--force replaces it and deletes what is in it\n$/);
  assert.deepEqual(readdirSync(rootfs), ['precious']);
  assert.equal((await md('md-unpack', ['--force', rootfs], { stdin })).status, 0);
  assert.deepEqual(readdirSync(rootfs), ['bin', 'etc']);
  assert.deepEqual(readdirSync(directory).sort(), ['layers', 'rootfs', 'rootfs.json']);
});

test('a DIR that is a symbolic link is refused as one, wherever it leads, and stays', async (t) => {
  const { rootfs, stdin, directory } = prepare(t, twoLayers);
  for (const target of ['layers', 'nowhere']) {
    symlinkSync(target, rootfs);
    const { status, stderr } = await md('md-unpack', ['--force', rootfs], { stdin });
    assert.equal(status, 64);
    assert.match(stderr, /^md-unpack: \S+rootfs: it is a symbolic link; name what it leads to, or remove it\n$/);
    assert.deepEqual(readdirSync(directory).sort(), ['layers', 'rootfs']);
    unlinkSync(rootfs);
  }
});

test('of a DIR in no directory the message says what would make one', async (t) => {
  const { stdin, directory } = prepare(t, twoLayers);
  const { status, stderr } = await md('md-unpack', [join(directory, 'a/b')], { stdin });
  assert.equal(status, 74);
  assert.equal(stderr, `md-unpack: ${join(directory, 'a')}: no such file or directory (ENOENT); mkdir -p makes it\n`);
});

test('a directory around DIR that is exchanged for a link leads nothing elsewhere', async (t) => {
  const { stdin, directory } = prepare(t, twoLayers);
  const [around, moved, elsewhere] = ['around', 'moved', 'elsewhere'].map((name) => join(directory, name));
  for (const made of [around!, elsewhere!]) mkdirSync(made);
  const child = spawn(join(binDir, 'md-unpack'), [join(around!, 'tree')], {
    env: cleanEnv(),
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  killAfterwards(t, child);
  const [first = '', ...layers] = stdin.split('\n');
  child.stdin.write(`${first}\n`);
  await until(() => readdirSync(around!).length > 0, 10);
  renameSync(around!, moved!);
  symlinkSync('elsewhere', around!);
  child.stdin.end(layers.join('\n'));
  const [status] = await once(child, 'close');
  assert.equal(status, 0);
  assert.deepEqual(readdirSync(elsewhere!), []);
  assert.deepEqual(readdirSync(moved!).sort(), ['tree', 'tree.json']);
});

test('a FIFO that comes in the place of DIR.json while it is looked at is not waited for', async (t) => {
  const { rootfs, stdin, directory } = prepare(t, twoLayers);
  const [fifo, file] = [join(directory, 'fifo'), join(directory, 'file')];
  execFileSync('mkfifo', [fifo]);
  writeFileSync(file, '{}');
  const script =
    'for (;;) for (const it of process.argv.slice(2)) { fs.linkSync(it, it + 2); fs.renameSync(it + 2, process.argv[1]); }';
  const swapper = spawn(process.execPath, ['-e', script, `${rootfs}.json`, fifo, file], { stdio: 'ignore' });
  killAfterwards(t, swapper);
  await until(() => existsSync(`${rootfs}.json`));
  for (let tries = 0; tries < 10; tries++) {
    const { status, stderr, timedOut } = await md('md-unpack', ['--force', rootfs], { stdin });
    assert.ok(!timedOut, 'it waits for a writer');
    assert.notEqual(status, 70, stderr);
  }
});

test('a DIR.json that is not the document of a tree is kept, with --force and without a document of its own too', async (t) => {
  const { rootfs, stdin, directory } = prepare(t, twoLayers);
  const byHand = `${stdin.split('\n')[1]}\n`;
  for (const text of [
    '{"name":"of a package"}',
    '{"rootfs":"/","image":"a"}',
    '{"rootfs":"/","config":{}}',
    '["rootfs"]',
    'null',
    'no JSON',
    '',
  ]) {
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
  const { rootfs, stdin } = prepare(t, twoLayers);
  assert.equal((await md('md-unpack', [rootfs], { stdin })).status, 0);
  rmSync(rootfs, { recursive: true });
  const result = await md('md-unpack', [rootfs], { stdin });
  assert.equal(result.status, 0, result.stderr);
  assert.deepEqual(readdirSync(rootfs), ['bin', 'etc']);
});

test('a directory in the place of a file beside the tree is refused before anything is unpacked', async (t) => {
  for (const name of ['rootfs.json', 'rootfs.unset.jsonl']) {
    const { rootfs, stdin, directory } = prepare(t, twoLayers);
    mkdirSync(join(directory, name));
    const result = await md('md-unpack', ['--force', rootfs], { stdin });
    assert.equal(result.status, 64, result.stderr);
    assert.match(result.stderr, new RegExp(`/${name}: it is there, and is not a regular file`));
    assert.deepEqual(readdirSync(directory).sort(), ['layers', name]);
  }
});

test('a document that cannot be put in its place takes the tree back, and the old one stays', async (t) => {
  const { rootfs, stdin, directory } = prepare(t, twoLayers);
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
    assert.match((await stderr).join(''), /^md-unpack: \S+rootfs\.json: it is there, and is not a regular file\n$/);
    assert.deepEqual(readdirSync(directory).sort(), ['layers', ...(old ? ['rootfs'] : []), 'rootfs.json']);
    if (old) assert.deepEqual(readdirSync(rootfs), ['old']);
    rmSync(`${rootfs}.json`, { recursive: true });
  }
});

test('where a file beside the old tree cannot be replaced or removed, that tree and all that belongs to it stay', {
  skip: needs('strace'),
}, async (t) => {
  const { rootfs, stdin, directory } = prepare(t, twoLayers);
  const byHand = `${stdin.split('\n')[1]}\n`;
  for (const [call, input, file] of [
    ['renameat2', stdin, 'rootfs.json'],
    ['unlinkat', byHand, 'rootfs.json'],
    ['renameat2', stdin, 'rootfs.unset.jsonl'],
  ] as const) {
    for (const record of ['{"path":"old","uid":1}\n', undefined]) {
      mkdirSync(rootfs);
      writeFileSync(join(rootfs, 'old'), '');
      const document = '{"image":"old","config":{},"rootfs":"/"}';
      writeFileSync(`${rootfs}.json`, document);
      if (record) writeFileSync(`${rootfs}.unset.jsonl`, record);
      const strace = injecting(`${call}:error=EPERM`, file);
      const { status, stdout, stderr } = await run([...strace, 'md-unpack', '--force', rootfs], { stdin: input });
      assert.ok(stderr.startsWith(`md-unpack: ${join(directory, file)}: operation not permitted (EPERM)`), stderr);
      assert.equal(status, 77, stdout);
      assert.deepEqual(readdirSync(rootfs), ['old']);
      assert.equal(readFileSync(`${rootfs}.json`, 'utf8'), document);
      const beside = ['layers', 'rootfs', 'rootfs.json', ...(record ? ['rootfs.unset.jsonl'] : [])];
      assert.deepEqual(readdirSync(directory).sort(), beside);
      if (record) assert.equal(readFileSync(`${rootfs}.unset.jsonl`, 'utf8'), record);
      for (const ending of ['', '.json', '.unset.jsonl'])
        rmSync(`${rootfs}${ending}`, { recursive: true, force: true });
    }
  }
});

test('where the old tree cannot be taken back either it is not removed, and the next run completes the new one', {
  skip: needs('strace'),
}, async (t) => {
  const { rootfs, stdin, directory } = prepare(t, twoLayers);
  mkdirSync(rootfs);
  writeFileSync(join(rootfs, 'old'), '');
  // The last ones: the document, after the tree, and then the tree again.
  const strace = injecting('renameat2:error=EIO:when=6+');
  const failed = await run([...strace, 'md-unpack', '--force', rootfs], { stdin });
  assert.equal(failed.status, 74);
  const [, beside] = /taking back what was there before: \S+ .*; (\S+) may be that/.exec(failed.stderr) ?? [];
  assert.deepEqual(readdirSync(beside ?? ''), ['old'], failed.stderr);
  assert.deepEqual(readdirSync(rootfs).sort(), ['bin', 'etc']);
  assert.equal((await md('md-unpack', [rootfs], { stdin })).status, 64);
  assert.equal(JSON.parse(readFileSync(`${rootfs}.json`, 'utf8')).rootfs, rootfs);
  assert.deepEqual(readdirSync(directory).sort(), ['layers', 'rootfs', 'rootfs.json']);
});

test('a tree that a container runs in is not replaced', { skip: needsContainer }, async (t) => {
  const tree = makeRoot(t);
  const { stdin } = prepare(t, twoLayers);
  const begin = (said: string, script: string) => {
    const container = spawn(join(binDir, 'md-isolate'), [tree, 'sh', '-c', `echo > ${said}; ${script}`], {
      stdio: ['pipe', 'ignore', 'inherit'],
      env: cleanEnv(),
    });
    killAfterwards(t, container);
    return container;
  };
  const why = `md-unpack: ${tree}: a container runs in it; end it first, or name another directory; lslocks tells which process has locked this one\n`;
  const first = begin('first', 'cat');
  await until(() => existsSync(join(tree, 'first')));
  // Before a layer comes.
  const refused = await md('md-unpack', ['--force', tree], { stdin: `${stdin.split('\n')[0]}\n` });
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
  const { rootfs, stdin } = prepare(t, twoLayers);
  assert.equal((await md('md-unpack', [rootfs], { stdin })).status, 0);
  // Of the locks, the first is asked for at the start, the second is the run's own, the third comes before the
  // exchange.
  for (const which of [1, 3]) {
    const strace = injecting(`flock:error=EAGAIN:when=${which}`);
    const { status, stderr } = await run([...strace, 'md-unpack', '--force', rootfs], { stdin });
    assert.deepEqual([status, stderr], [0, '']);
  }
});

test('nor is one that a busy machine lets wait while it has the lock', { skip: needs('flock') }, async (t) => {
  const { rootfs, stdin } = prepare(t, twoLayers);
  assert.equal((await md('md-unpack', [rootfs], { stdin })).status, 0);
  const other = spawn('flock', [rootfs, 'sh', '-c', 'echo held; sleep 0.5'], { stdio: ['ignore', 'pipe', 'inherit'] });
  killAfterwards(t, other);
  await once(other.stdout, 'data');
  const { status, stderr } = await md('md-unpack', ['--force', rootfs], { stdin });
  assert.deepEqual([status, stderr], [0, '']);
});

test('a filesystem that takes no hard links makes no layer a bad one', { skip: needs('strace') }, async (t) => {
  const { rootfs, stdin } = prepare(t, [
    [
      { name: 'f', data: 'x' },
      { name: 'l', type: 'link', linkname: 'f' },
    ],
  ]);
  const strace = injecting('linkat:error=EPERM');
  const { status, stderr } = await run([...strace, 'md-unpack', rootfs], { stdin });
  assert.equal(status, 77, stderr);
  assert.match(stderr, /l: operation not permitted \(EPERM\); its filesystem lacks it, as FAT /);
});

test('a name that its filesystem does not take makes no layer a bad one', { skip: needs('strace') }, async (t) => {
  const { directory, rootfs, stdin } = prepare(t, [[{ name: 'l', type: 'symlink', linkname: 'f' }]]);
  const { ENAMETOOLONG, EILSEQ, ENOSYS, EOPNOTSUPP, EIO } = constants.errno;
  for (const [errno, hint] of [
    [ENAMETOOLONG, 'its filesystem takes no such name'],
    [EILSEQ, 'its filesystem takes no such name'],
    [ENOSYS, 'its filesystem lacks it'],
    [EOPNOTSUPP, 'its filesystem lacks it'],
    [EIO, 'the disk is faulty, or its filesystem lacks it'],
  ] as const) {
    const strace = injecting(`symlinkat:error=${errno}`);
    const { status, stderr } = await run([...strace, 'md-unpack', rootfs], { stdin });
    assert.match(stderr, new RegExp(`^md-unpack: layer 0 .*: l: [^;]*; ${hint}.*: ext4.*\\n$`));
    assert.equal(status, 74);
    assert.deepEqual(readdirSync(directory), ['layers']);
  }
});

for (const [what, layers, call, path] of [
  ['a directory above an entry cannot be made', [[{ name: 'above/f' }]], 'mkdirat:error=EIO:when=2+', undefined],
  [
    'a directory of a lower layer cannot be opened',
    [[{ name: 'merged/f' }], [{ name: 'merged/', type: 'directory' }]],
    'openat:error=EIO:when=1',
    'merged',
  ],
  [
    // The directory that the file replaces makes it look for the target anew.
    'the directory of what a hard link names cannot be opened',
    [
      [
        { name: 'there/f' },
        { name: 'r/', type: 'directory' },
        { name: 'r' },
        { name: 'l', type: 'link', linkname: 'there/f' },
      ],
    ],
    'openat2:error=EIO:when=3',
    'there',
  ],
] as [string, Stack, string, string | undefined][]) {
  test(`where ${what}, no layer is a bad one, and nothing else takes its place`, {
    skip: needs('strace'),
  }, async (t) => {
    const { directory, rootfs, stdin } = prepare(t, layers);
    const { status, stderr } = await run([...injecting(call, path), 'md-unpack', rootfs], { stdin });
    assert.match(stderr, /^md-unpack: layer \d .*: i\/o error \(EIO\)/);
    assert.equal(status, 74);
    assert.deepEqual(readdirSync(directory), ['layers']);
  });
}

test('attributes that are more than a filesystem takes are told from a full disk', {
  skip: needs('strace'),
}, async (t) => {
  const { rootfs, stdin } = prepare(t, [[{ name: 'f', xattrs: { 'user.a': 'v' } }]]);
  const strace = injecting('fsetxattr:error=ENOSPC');
  const { status, stderr } = await run([...strace, 'md-unpack', rootfs], { stdin });
  assert.match(
    stderr,
    /f: xattr user\.a: no space left on device \(ENOSPC\); unless the disk is full, .* ext4 takes 4 KB /,
  );
  assert.equal(status, 74);
});

test('a disk that does not tell the attributes of a directory does not leave it those of a lower layer', {
  skip: needs('strace'),
}, async (t) => {
  const { directory, rootfs, stdin } = prepare(t, [
    [{ name: 'd/', type: 'directory', xattrs: { 'user.low': 'v' } }],
    [{ name: 'd/', type: 'directory' }],
  ]);
  const { status, stderr } = await run([...injecting('flistxattr:error=EIO'), 'md-unpack', rootfs], { stdin });
  assert.match(stderr, /^md-unpack: layer 1 \(\w+\): d\/?: i\/o error \(EIO\)/);
  assert.equal(status, 74);
  assert.deepEqual(readdirSync(directory), ['layers']);
});

test('a disk that fails or is full at the tree itself, and not at an entry, is named by DIR', {
  skip: needs('strace'),
}, async (t) => {
  const { directory, rootfs, stdin } = prepare(t, [[{ name: 'f', data: 'x' }]]);
  // Removing what it was tried with, which btrfs may refuse when it is full; and the mode of the tree at the end.
  for (const what of ['unlinkat:error=ENOSPC:when=2', 'fchmod:error=ENOSPC:when=3+']) {
    const { status, stderr } = await run([...injecting(what), 'md-unpack', rootfs], { stdin });
    assert.deepEqual([status, stderr], [74, `md-unpack: ${rootfs}: no space left on device (ENOSPC)\n`]);
    assert.deepEqual(readdirSync(directory), ['layers']);
  }
});

test('--force on a disk that fails or is full at the exchange does not ask for --force', {
  skip: needs('strace'),
}, async (t) => {
  const { directory, rootfs, stdin } = prepare(t, [[{ name: 'f', data: 'x' }]]);
  mkdirSync(rootfs);
  writeFileSync(join(rootfs, 'old'), '');
  const strace = injecting('renameat2:error=ENOSPC:when=4');
  const { status, stderr } = await run([...strace, 'md-unpack', '--force', rootfs], { stdin });
  assert.deepEqual([status, stderr], [74, `md-unpack: ${rootfs}: no space left on device (ENOSPC)\n`]);
  assert.deepEqual([readdirSync(directory).sort(), readdirSync(rootfs)], [['layers', 'rootfs'], ['old']]);
});

test('owners and modes that a filesystem takes and does not keep are told of', { skip: needs('strace') }, async (t) => {
  const { rootfs, stdin } = prepare(t, [[{ name: 'f', data: 'x' }]]);
  const strace = injecting('fchmod,fchown:retval=0');
  const { status, stderr } = await run([...strace, 'md-unpack', rootfs], { stdin });
  const lost = needsRoot ? 'modes' : 'owners and modes';
  assert.match(stderr, new RegExp(`^md-unpack: \\S+/rootfs: its filesystem keeps no ${lost}, so .*; ext4, .*\n$`));
  assert.equal(status, 0);
});

test('a part that cannot be looked up on a failing disk is not one that the image lacks', {
  skip: needs('strace'),
}, async (t) => {
  // The file in the place of a directory makes it look for the other one anew.
  const { rootfs, stdin } = prepare(t, [[{ name: 'w/f' }, { name: 'w/d/', type: 'directory' }, { name: 'w/d' }]]);
  const only = ['--only', 'w/f', '--only', 'w/d'];
  const strace = injecting('openat2:error=EIO:when=3', 'w');
  const { status, stderr } = await run([...strace, 'md-unpack', ...only, rootfs], { stdin });
  assert.equal(stderr, `md-unpack: ${rootfs}: i/o error (EIO)\n`);
  assert.equal(status, 74);
});

test('a good layer that another process puts in the place of a bad one does not go with that', async (t) => {
  const prepared = prepare(t, [[{ name: 'f', data: 'x' }]]);
  const { path } = prepared.layers[0]!;
  const seen: boolean[] = [];
  writeFileSync(`${path}.new`, readFileSync(path));
  writeFileSync(path, 'no archive');
  const onBadLayer = async (_: unknown, isStillThere: () => boolean) => {
    seen.push(isStillThere());
    renameSync(`${path}.new`, path);
    seen.push(isStillThere());
    rmSync(path);
    seen.push(isStillThere());
    return 'hint';
  };
  await assert.rejects(unpackPrepared(prepared, { onBadLayer }), /; hint$/);
  assert.deepEqual(seen, [true, false, false]);
});

test('they are tried with no file beside the tree, which another user may have put there', async (t) => {
  const { rootfs, stdin } = prepare(t, [[{ name: 'f', data: 'x' }]]);
  const { stderr } = await md('md-unpack', ['-x', rootfs], { stdin });
  // The last one that is opened is that of the tree.
  const [, lock, after = ''] = /[\s\S]*openat\(\d+, "[^"]*\.lock", .* = (\d+)\n([\s\S]*)/.exec(stderr) ?? [];
  assert.match(after, /fchmod\(/);
  assert.doesNotMatch(after, new RegExp(`fch(?:mod|own)\\(${lock},`));
});

test('a bad layer of an image goes from the store, to be fetched again; one from elsewhere, or made by hand, stays', async (t) => {
  const { directory, rootfs, stdin, layers: announced } = prepare(t, [[{ name: 'f', data: 'x' }]]);
  const { path: elsewhere, digest } = announced[0]!;
  const good = readFileSync(elsewhere);
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
    assert.doesNotMatch(stderr, /it stays where it is/);
    assert.deepEqual(all.filter(existsSync), files);
    assert.equal(/it was damaged in the store, and is removed: pull the image again$/m.test(stderr), files.length < 3);
  }
  // One that came so from the registry would come so again.
  writeFileSync(inStore, good);
  const forged = from(inStore).replaceAll(announced[0]!.diffID, digestOf('other content'));
  const { stderr } = await md('md-unpack', [rootfs], { stdin: forged, env: { MD_HOME: home } });
  assert.match(stderr, /: diffID: expected sha256:\w+, got sha256:\w+$/m);
  assert.ok(!existsSync(inStore));
  // Nothing is wrong with one that is more than the user allows.
  writeFileSync(inStore, good);
  const limited = await md('md-unpack', ['--max-entries', '0', rootfs], {
    stdin: from(inStore),
    env: { MD_HOME: home },
  });
  assert.equal(limited.status, 65, limited.stderr);
  assert.ok(existsSync(inStore));
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
  const strace = injecting('mknodat:error=EPERM');
  const { status, stderr } = await run([...strace, 'md-unpack', rootfs], { stdin });
  assert.match(
    stderr,
    /^md-unpack: layer 0 .*: pipe: operation not permitted \(EPERM\); its filesystem lacks it, .*\n$/,
  );
  assert.equal(status, 77);
  assert.deepEqual(readdirSync(directory), ['layers']);
});

test('where a filesystem gives root what it makes to another user, as NFS may, the message says so', {
  skip: needs('strace'),
}, async (t) => {
  const { directory, rootfs, stdin } = prepare(t, twoLayers);
  const strace = injecting('fchown:error=EPERM');
  const { status, stderr } = await run([...strace, 'md-unpack', rootfs], { stdin });
  assert.match(
    stderr,
    /^md-unpack: \S+\/rootfs: its filesystem gives to another user what .*root_squash.*; unpack as .*\n$/,
  );
  assert.equal(status, 77);
  assert.deepEqual(readdirSync(directory), ['layers']);
});

test('a capability that root lacks to give a tree its owners and modes is named', {
  skip: needsRoot || needs('setpriv'),
}, async (t) => {
  const { directory, rootfs, stdin } = prepare(t, [
    [
      { name: 'd', type: 'directory', uid: 7, mode: 0o755 },
      { name: 'd/f', data: 'x' },
    ],
  ]);
  for (const lacking of ['FOWNER', 'DAC_OVERRIDE']) {
    const flags = ['--bounding-set', '--inh-caps'].map((flag) => `${flag}=-${lacking.toLowerCase()}`);
    const { status, stderr } = await run(['setpriv', ...flags, 'md-unpack', rootfs], { stdin });
    assert.match(stderr, new RegExp(`: d.*; root is without CAP_${lacking} here: --cap-add ${lacking} gives it to `));
    assert.equal(status, 77);
    assert.deepEqual(readdirSync(directory), ['layers']);
  }
});

test('where root cannot make files of other groups set-group-ID a warning says so', {
  skip: needsRoot || needs('setpriv'),
}, async (t) => {
  const { rootfs, stdin } = prepare(t, [[{ name: 'f', data: 'x', gid: 7, mode: 0o2755 }]]);
  const command = ['setpriv', '--bounding-set=-fsetid', '--inh-caps=-fsetid', 'md-unpack', rootfs];
  const { status, stderr } = await run(command, { stdin });
  assert.match(stderr, /^md-unpack: programs that are set-group-ID, .* root is without CAP_FSETID here: .*\n$/);
  assert.deepEqual([status, statSync(join(rootfs, 'f')).mode & 0o7777], [0, 0o755]);
});

test('where a tree cannot take the place of another one, --force says so before it unpacks', {
  skip: needs('strace'),
}, async (t) => {
  const { directory, rootfs, stdin } = prepare(t, [[{ name: 'pipe', type: 'fifo' }]]);
  mkdirSync(rootfs);
  const before = readdirSync(directory);
  // The first rename gives the growing tree its name.
  const strace = [...injecting('renameat2:error=EINVAL:when=2'), '-e', 'trace=all', '-e', 'inject=mknodat:error=EIO'];
  const forced = () => run([...strace, 'md-unpack', '--force', rootfs], { stdin });
  assert.match((await forced()).stderr, /: pipe: .*\(EIO\); .*\n$/, 'an empty one needs no exchange');
  writeFileSync(join(rootfs, 'old'), '');
  const { status, stderr } = await forced();
  assert.match(stderr, /rootfs: its filesystem cannot exchange it .*\(EINVAL\); remove it first\n$/);
  assert.equal(status, 74);
  assert.deepEqual([readdirSync(directory), readdirSync(rootfs)], [before, ['old']]);
});

test('where names that differ only in case are one, a warning says so', {
  skip: needsRoot || needs('mkntfs', 'lowntfs-3g', 'unshare'),
}, async (t) => {
  const { directory, rootfs, stdin } = prepare(t, [[{ name: 'README' }, { name: 'readme' }]]);
  assert.equal((await md('md-unpack', [rootfs], { stdin })).stderr, '');
  const script = `cd "$1" && truncate -s 2M disk && mkntfs -q -F disk >/dev/null 2>&1 && mkdir on &&
    lowntfs-3g -o ignore_case disk on 2>/dev/null || exit 99
    md-unpack on/tree && ls on/tree; umount on`;
  const { status, stdout, stderr } = await run(['unshare', '-m', 'sh', '-c', script, 'sh', directory], { stdin });
  if (status === 99) return t.skip('nothing can be mounted by FUSE here');
  assert.match(stderr, /^md-unpack: .*\/on\/tree: on its filesystem names that differ only in case are one: .*\n/);
  assert.match(stderr, /\nmd-unpack: .*\/on\/tree: its filesystem keeps no owners and modes, so .*\n$/);
  assert.match(stdout, /\nreadme\n$/);
});

test('an owner that the other side of a network refuses is put on record, as one that the kernel does', {
  skip: needsRoot || needs('strace'),
}, async (t) => {
  const { rootfs, stdin } = prepare(t, [
    [
      { name: 'f', data: 'x', uid: 5 },
      { name: 'g', data: 'x', uid: 5 },
    ],
  ]);
  // The first one, of the root, is let through; strace counts by thread.
  const strace = injecting('fchown:error=EACCES:when=2+');
  const { status, stderr } = await run([...strace, 'md-unpack', rootfs], { stdin });
  assert.match(stderr, /^md-unpack: not permitted, so left out: [12] owners?; \S+ lists (it|them)\n$/);
  assert.equal(status, 0);
});

test('where root is kept out of what another user has mounted, the message says who may', {
  skip: needsRoot || needs('unshare', 'bindfs', 'setpriv'),
}, async (t) => {
  const { directory, stdin } = prepare(t, twoLayers);
  // With a device of its own, since the machine's may be for root alone.
  const script = `cd "$1" && chmod 755 . && mknod fuse c 10 229 && chmod 666 fuse && mount --bind fuse /dev/fuse && mkdir of on &&
    chown 65534 of on && setpriv --reuid 65534 --clear-groups bindfs --no-allow-other of on >/dev/null 2>&1 || exit 99
    md-unpack on/tree >/dev/null; echo $?; md-isolate on/tree; echo $?; md-isolate -v ./on:/v / true; echo $?; umount on`;
  const { status, stdout, stderr } = await run(['unshare', '-m', 'sh', '-c', script, 'sh', directory], { stdin });
  if (status === 99) return t.skip('no other user can mount by FUSE here');
  assert.equal(stdout, '77\n125\n125\n');
  const hints = stderr
    .split('\n')
    .filter((line) => /\(EACCES\); root is kept out .*: run this as that user$/.test(line));
  assert.equal(hints.length, 3, stderr);
});

test('what the caller may not enter is called no mount of another user by root of a user namespace', {
  skip: needsRoot || needs('unshare', 'setpriv'),
}, async (t) => {
  const { directory, stdin } = prepare(t, twoLayers);
  const nobody = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups', 'unshare', '-r'];
  mkdirSync(join(directory, 'closed'), { mode: 0o700 });
  const { status, stderr } = await run([...nobody, 'md-unpack', join(directory, 'closed/in/tree')], { stdin });
  assert.match(stderr, /^md-unpack: \S+: permission denied \(EACCES\)\n$/);
  assert.equal(status, 77);
});

test('of a directory that takes only additions, or is immutable, the message says what allows changes', {
  skip: needsRoot || needs('strace'),
}, async (t) => {
  const { directory, rootfs, stdin } = prepare(t, twoLayers);
  // The first one is that of the growing tree, the second one puts it into its place.
  for (const which of [1, 2]) {
    const strace = injecting(`renameat2:error=EPERM:when=${which}`);
    const { status, stderr } = await run([...strace, 'md-unpack', rootfs], { stdin });
    assert.match(
      stderr,
      /^md-unpack: \S+rootfs: operation not permitted \(EPERM\); where lsattr -a .* allows changes\n$/,
    );
    assert.equal(status, 77);
    assert.deepEqual(readdirSync(directory), ['layers']);
  }
});

test('where what is meant for a symlink happens to what it leads to, as on sshfs, links get no owner and no times', {
  skip: needsRoot || needs('strace'),
}, async (t) => {
  const { directory, rootfs, stdin } = prepare(t, [
    [
      { name: 'l', type: 'symlink', linkname: 'f', uid: 5, mtime: 1000, xattrs: { 'security.selinux': 'label' } },
      { name: 'm', type: 'symlink', linkname: 'f', mtime: 1000 },
    ],
  ]);
  // Times that are set by name are those of links: the first one is a trial.
  const trace = join(directory, 'trace');
  const inject = ['-e', 'trace=fchownat,utimensat', '-e', 'inject=utimensat:error=ENOENT:when=1'];
  const unpack = ['strace', '-f', '-qq', '-o', trace, ...inject, 'md-unpack'];
  const { status, stderr } = await run([...unpack, rootfs], { stdin });
  assert.match(
    stderr,
    /^md-unpack: \S+\/rootfs: its filesystem cannot set owners and times of symbolic links, as sshfs/,
  );
  assert.match(stderr, /\nmd-unpack: not permitted, so left out: 1 owner; .*\n$/);
  assert.equal(status, 0);
  assert.doesNotMatch(readFileSync(trace, 'utf8'), /"[lm]"/);
  assert.deepEqual(readdirSync(rootfs), ['l', 'm']);
  // No difference of that tree, either, from one that is made later.
  const verified = await run([...unpack, '--verify', rootfs], { stdin });
  assert.deepEqual([verified.status, verified.stdout], [0, '']);
});

test('a tree inherits neither the group nor an access control list of the directory around it', {
  skip: needsRoot || needs('setfattr'),
}, async (t) => {
  const { directory, rootfs, stdin } = prepare(t, [[{ name: 'implied/f', data: 'x', mode: 0o640 }]]);
  chownSync(directory, 0, 50);
  chmodSync(directory, 0o2775);
  // Everybody may do everything in what is made there: acl(5).
  const acl = `0x02000000${['01', '04', '20'].map((tag) => `${tag}000700ffffffff`).join('')}`;
  const { status } = await run(['setfattr', '-n', 'system.posix_acl_default', '-v', acl, directory]);
  if (status !== 0) return t.skip('this filesystem has no access control lists');
  assert.equal((await md('md-unpack', [rootfs], { stdin })).status, 0);
  const found = [...describeTree(rootfs)].map(([path, { owner, mode, xattrs }]) => [path, owner, mode, xattrs]);
  assert.deepEqual(found, [
    ['.', '0:0', '0755', undefined],
    ['implied', '0:0', '0755', undefined],
    ['implied/f', '0:0', '0640', undefined],
  ]);
});

test('where files take the group of their directory, they have their own all the same', {
  skip: needsRoot || needs('unshare', 'mkfs.ext4'),
}, async (t) => {
  const file = (name: string) => ({ name, data: 'x' });
  const { directory, stdin } = prepare(t, [
    [file('d/a'), file('e'), { name: './', type: 'directory', gid: 6 }, file('f')],
    [file('d/b'), { name: 'd/', type: 'directory', gid: 5 }, file('d/c')],
  ]);
  const script = `cd "$1" && truncate -s 16M disk && mkfs.ext4 -q disk && mkdir on && mount -o loop,grpid disk on || exit 99
    md-unpack on/tree >/dev/null && cd on/tree && stat -c %g d d/* . e f`;
  const { status, stdout } = await run(['unshare', '-m', 'sh', '-c', script, 'sh', directory], { stdin });
  if (status === 99) return t.skip('no file can be mounted here');
  assert.deepEqual([status, stdout], [0, '5\n0\n0\n0\n6\n0\n0\n']);
});

test('no tree takes the place of an encrypted directory, and of one that is locked the message says so', {
  skip: needsRoot || needs('unshare', 'mkfs.ext4', 'e4crypt'),
}, async (t) => {
  const { directory, stdin } = prepare(t, [[{ name: 'new', data: 'x' }]]);
  const script = `cd "$1" && truncate -s 16M disk && mkfs.ext4 -q -O encrypt disk && mkdir on &&
    mount -o loop disk on 2>/dev/null && mkdir on/t && e4crypt set_policy 0123456789abcdef on/t >/dev/null || exit 99
    cat >lines; for dir in on/t on/t/in; do md-unpack --force $dir <lines >/dev/null; echo $?; done
    MD_HOME=on/t/home md-unpack <lines >/dev/null; echo $?; ls -A on/t`;
  const { status, stdout, stderr } = await run(['unshare', '-m', 'sh', '-c', script, 'sh', directory], { stdin });
  if (status === 99) return t.skip('no encrypted directory can be made here');
  const [whole, inside, home] = stderr.split('\n');
  assert.match(whole!, /^md-unpack: \S+on\/t: it is encrypted, and a tree in its .*; name a directory in it$/);
  assert.match(inside!, /^md-unpack: on\/t\/in: required key not available \(ENOKEY\); it is encrypted, and locked: /);
  assert.match(home!, /^md-unpack: \S*on\/t\/home\S*: required key not available \(ENOKEY\); /);
  assert.equal(stdout, '64\n74\n74\n');
});

test('an empty subvolume of btrfs is not called one that is not empty, and gives way to --force', {
  skip: needsRoot || needs('unshare', 'mkfs.btrfs', 'btrfs'),
}, async (t) => {
  const { directory, stdin } = prepare(t, [[{ name: 'new', data: 'x' }]]);
  const script = `cd "$1" && truncate -s 120M disk && mkfs.btrfs -q disk >/dev/null 2>&1 && mkdir on &&
    mount -o loop disk on 2>/dev/null || exit 99
    btrfs -q subvolume create on/t && cat >lines || exit 98
    for flag in --path --force; do md-unpack $flag on/t <lines >/dev/null; echo $?; done; ls on/t`;
  const { status, stdout, stderr } = await run(['unshare', '-m', 'sh', '-c', script, 'sh', directory], { stdin });
  if (status === 99) return t.skip('no btrfs can be mounted here');
  assert.deepEqual([status, stdout], [0, '64\n0\nnew\n']);
  assert.match(stderr, /^md-unpack: \S+on\/t: it is a subvolume of btrfs, .*; name a directory in it; .*\n$/);
});

test('a read-only subvolume of btrfs in an old tree stands in the way once', {
  skip: needsRoot || needs('unshare', 'mkfs.btrfs', 'btrfs'),
}, async (t) => {
  const { directory, stdin } = prepare(t, [[{ name: 'new', data: 'x' }]]);
  const script = `cd "$1" && truncate -s 120M disk && mkfs.btrfs -q disk >/dev/null 2>&1 && mkdir on &&
    mount -o loop disk on 2>/dev/null || exit 99
    mkdir on/t && btrfs -q subvolume create on/t/s && touch on/t/s/f && btrfs property set on/t/s ro true || exit 98
    cat >lines; for run in 1 2; do md-unpack --force on/t <lines >/dev/null; echo $?; done; ls on/t`;
  const { status, stdout, stderr } = await run(['unshare', '-m', 'sh', '-c', script, 'sh', directory], { stdin });
  if (status === 99) return t.skip('no btrfs can be mounted here');
  assert.deepEqual([status, stdout], [0, '74\n0\nnew\n']);
  assert.match(stderr, /^md-unpack: .*on\/t: removing .*\/s\/f: read-only file system \(EROFS\)\n$/);
});

test('a file is written out before its attributes are set: a write that FUSE keeps until then takes capabilities away', async (t) => {
  const { rootfs, stdin } = prepare(t, [[{ name: 'f', data: 'x', xattrs: { 'user.a': 'v' } }]]);
  const { status, stderr } = await md('md-unpack', ['-x', rootfs], { stdin });
  assert.equal(status, 0);
  const calls = stderr.split('\n').map((line) => line.slice(0, line.indexOf('(')));
  const at = (name: string) => calls.lastIndexOf(name, calls.indexOf('fsetxattr'));
  assert.ok(at('write') > 0 && at('fchmod') > at('write'), stderr);
});
