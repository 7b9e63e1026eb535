/** Bad luck and bad will that are no escape: a disk that is full, limits, runs that were killed, lines that lie. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { byteString } from '../../lib/tar/bytes.js';
import type { Entry, EntryType, TarSink } from '../../lib/tar/entry.js';
import { Selection } from '../../lib/unpack/layers/selection.js';
import { chmodAt } from '../../lib/unpack/tree/directory.js';
import { entryFailure } from '../../lib/unpack/tree/entry-failure.js';
import { MissingTarget } from '../../lib/unpack/tree/entry-maker.js';
import { removeTree } from '../../lib/unpack/tree/remove-tree.js';
import { digestOf } from '../support/content.js';
import { hasOverlay } from '../support/peers.js';
import { until } from '../support/rootfs.js';
import {
  afterwards,
  binDir,
  cleanEnv,
  jsonLines,
  killAfterwards,
  md,
  needs,
  needsRoot,
  run,
  scratch,
  shell,
} from '../support/run.js';
import type { TarEntry } from '../support/tar.js';
import { type Prepared, prepare } from '../support/unpacking.js';

/** The trees that are being made in a directory: their names, once they have those that they keep. */
const staged = (directory: string): string[] =>
  readdirSync(directory).filter((name) => /^\.rootfs\.md-unpack-[0-9]+$/.test(name));
const modeOf = (path: string) => lstatSync(path).mode & 0o7777;
const file = (name: string, size: number): TarEntry => ({ name, data: Buffer.alloc(size, 'x') });

test('a full disk in the middle of a layer is one line, status 74, and leaves nothing', {
  skip: needsRoot || needs('unshare'),
}, async (t) => {
  const { directory, stdin } = prepare(t, [[file('a', 3_000_000), file('b', 3_000_000)]]);
  mkdirSync(join(directory, 'disk'));
  // The mount lives and dies with the shell.
  const script = `mount -t tmpfs -o size=4m none "$1" && md-unpack "$1/rootfs" >/dev/null; echo $?; ls -A "$1"`;
  const result = await shell(`unshare -m sh -c '${script}' sh "$1"`, [join(directory, 'disk')], { stdin });
  assert.equal(result.stdout, '74\n');
  assert.match(result.stderr, /^md-unpack: layer 0 .*b: no space left on device \(ENOSPC\)\n$/);
});

test('a disk without inodes left is one line that says where to look', {
  skip: needsRoot || needs('unshare'),
}, async (t) => {
  const { directory, stdin } = prepare(t, [Array.from({ length: 20 }, (_, i) => file(`f${i}`, 1))]);
  mkdirSync(join(directory, 'disk'));
  const script = `mount -t tmpfs -o nr_inodes=12 none "$1" && md-unpack "$1/rootfs" >/dev/null; echo $?; ls -A "$1"`;
  const result = await shell(`unshare -m sh -c '${script}' sh "$1"`, [join(directory, 'disk')], { stdin });
  assert.equal(result.stdout, '74\n');
  assert.match(
    result.stderr,
    /^md-unpack: layer 0 .*: no space left on device \(ENOSPC\); df .* df -i how many inodes\n$/,
  );
});

for (const [flag, value, entries, why] of [
  ['--max-entries', '3', [file('a', 1), file('b', 1), file('c', 1), file('d', 1)], /too many entries; --max-entries/],
  ['--max-bytes', '1000', [file('a', 600), file('b', 600)], /too many bytes; --max-bytes/],
  ['--max-depth', '3', [file('a/b/c/d/e', 1)], /more than 3 directories deep/],
] as const) {
  test(`${flag} is kept over all layers, and leaves nothing`, async (t) => {
    const { directory, rootfs, stdin } = prepare(
      t,
      entries.map((entry) => [entry]),
    );
    const result = await md('md-unpack', [flag, value, rootfs], { stdin });
    assert.equal(result.status, 65);
    assert.match(result.stderr, why);
    assert.deepEqual(readdirSync(directory), ['layers']);
    const listing = await md('md-unpack', ['--list', flag, value], { stdin });
    assert.deepEqual([listing.status, listing.stderr], [65, result.stderr]);
  });
}

test('extended attributes are counted by --max-bytes: an archive has room for a megabyte of them in a few hundred bytes', async (t) => {
  const entry = (name: string): TarEntry => ({ ...file(name, 100), xattrs: { 'user.md': 'x'.repeat(400) } });
  const { directory, rootfs, stdin } = prepare(t, [[entry('a')], [entry('b'), entry('c')]]);
  const result = await md('md-unpack', ['--max-bytes', '1499', rootfs], { stdin });
  assert.equal(result.status, 65);
  assert.match(result.stderr, /too many bytes; --max-bytes/);
  assert.deepEqual(readdirSync(directory), ['layers']);
  for (const [limit, status] of [
    ['1499', 65],
    ['1500', 0],
  ] as const) {
    assert.equal((await md('md-unpack', ['--list', '--max-bytes', limit], { stdin })).status, status);
  }
});

test('directories that entries bring one by one are counted by --max-depth too', async (t) => {
  const entries = ['a', 'a/b', 'a/b/c', 'a/b/c/d', 'a/b/c/d/e'].map((name): TarEntry => ({ name, type: 'directory' }));
  const { directory, rootfs, stdin } = prepare(t, [entries]);
  const result = await md('md-unpack', ['--max-depth', '3', rootfs], { stdin });
  assert.equal(result.status, 65);
  assert.match(result.stderr, /more than 3 directories deep/);
  assert.deepEqual(readdirSync(directory), ['layers']);
  const listing = await md('md-unpack', ['--list', '--max-depth', '3'], { stdin });
  assert.deepEqual([listing.status, listing.stderr], [65, result.stderr]);
});

const device = (major: number, minor: number): TarEntry => ({ name: 'dev', type: 'char', major, minor });
for (const [what, entry, why] of [
  ['a symlink to nothing', { name: 'l', type: 'symlink', linkname: '' }, /: l: a symlink to nothing\n$/],
  ['a symlink to a name that is too long', { name: 'l', type: 'symlink', linkname: 'n/'.repeat(2048) }, /longer than/],
  [
    'a hard link to such a name',
    { name: 'l', type: 'link', linkname: 'n/'.repeat(2049) },
    /longer than the kernel takes/,
  ],
  ['a name that is too long', { name: 'n/'.repeat(2049) }, /longer than the kernel takes/],
  ['a device whose major number is too large', device(4096, 0), /: dev: device numbers 4096, 0 are out of range\n$/],
  ['a device whose minor number is too large', device(0, 2 ** 20), /: dev: device numbers 0, 1048576 are out of/],
  [
    'a root that is not a directory',
    { name: './', type: 'symlink', linkname: 'x' },
    /root of the tree: the layer makes it a symlink/,
  ],
] as const) {
  test(`--list refuses ${what}, as unpacking does`, async (t) => {
    const { rootfs, stdin } = prepare(t, [[entry]]);
    const unpacking = await md('md-unpack', [rootfs], { stdin });
    const listing = await md('md-unpack', ['--list'], { stdin });
    assert.match(unpacking.stderr, why);
    assert.deepEqual([listing.status, listing.stderr, unpacking.status], [65, unpacking.stderr, 65]);
  });
}

test('what keeps just within the limits is unpacked, and listed', async (t) => {
  const directories = ['./', 'a/', 'a/b/'].map((name): TarEntry => ({ name, type: 'directory' }));
  const hole = sparse('a/b/f', [[0, 10]], 1_000_000);
  const hidden = ['.wh..wh.plnk/x/y/1.2', 'a/b/c/.wh.gone'].map((name) => ({ name }));
  const { rootfs, stdin } = prepare(t, [[...directories, hole], hidden]);
  const limits = ['--max-entries', '6', '--max-bytes', '10', '--max-depth', '2'];
  for (const flags of [['--list'], [rootfs]]) {
    const { status, stderr } = await md('md-unpack', [...limits, ...flags], { stdin });
    assert.deepEqual([status, stderr], [0, '']);
  }
});

test('a directory without an entry of its own counts for --max-entries', async (t) => {
  const { directory, stdin } = prepare(t, [[{ name: 'a/b/c' }], [{ name: 'a/d/e' }]]);
  const unpackUpTo = (entries: number) =>
    md('md-unpack', ['--max-entries', String(entries), join(directory, String(entries))], { stdin });
  const [within, beyond] = [await unpackUpTo(5), await unpackUpTo(4)];
  assert.equal(within.status, 0, within.stderr);
  assert.match(
    beyond.stderr,
    /^md-unpack: layer 1 \(\w+\): archive: too many entries; --max-entries sets the limit\n$/,
  );
  assert.equal(beyond.status, 65);
});

/** A sparse file in the PAX format 0.1, its content all `x`. */
function sparse(name: string, stretches: [offset: number, length: number][], size: number): TarEntry {
  const data = 'x'.repeat(stretches.reduce((sum, [, length]) => sum + length, 0));
  return { name, data, pax: { 'GNU.sparse.map': stretches.flat().join(','), 'GNU.sparse.size': String(size) } };
}

test('--list hashes holes, up to a bound for the whole image: beyond it a file has no digest', async (t) => {
  const MiB = 2 ** 20;
  const { stdin } = prepare(t, [
    [
      sparse('small', [[3, 2]], 100_000),
      sparse('petabyte', [[0, 1]], 2 ** 50),
      sparse('petabyte-first', [[2 ** 50, 1]], 2 ** 50 + 1),
      sparse('large', [], 200 * MiB),
    ],
    [sparse('too-much', [], 200 * MiB), sparse('last', [], 10), { name: 'plain', data: 'x' }],
  ]);
  const { status, stdout, stderr } = await md('md-unpack', ['--list'], { stdin });
  assert.deepEqual([status, stderr], [0, '']);
  const small = Buffer.concat([Buffer.alloc(3), Buffer.from('xx'), Buffer.alloc(100_000 - 5)]);
  assert.deepEqual(
    jsonLines(stdout).map(({ path, size, digest }) => [path, size, digest]),
    [
      ['small', 100_000, digestOf(small)],
      ['petabyte', 2 ** 50, undefined],
      ['petabyte-first', 2 ** 50 + 1, undefined],
      ['large', 200 * MiB, digestOf(Buffer.alloc(200 * MiB))],
      ['too-much', 200 * MiB, undefined],
      ['last', 10, digestOf(Buffer.alloc(10))],
      ['plain', 1, digestOf('x')],
    ],
  );
});

test('a hole beyond what any file has is the fault of the archive', async (t) => {
  // ext4 has files of up to 16 TiB; tmpfs, which is /tmp on Debian 13, XFS and btrfs have them of up to 8 EiB.
  const { status } = await run(['truncate', '-s', String(2 ** 53 - 1), join(scratch(t), 'probe')]);
  if (status === 0) return t.skip('this filesystem has such files');
  for (const stretches of [[], [[2 ** 53 - 2, 1]]] as [number, number][][]) {
    const { directory, rootfs, stdin } = prepare(t, [[sparse('vast', stretches, 2 ** 53 - 1)]]);
    const { status, stderr } = await md('md-unpack', [rootfs], { stdin });
    assert.equal(status, 65);
    assert.match(stderr, /: vast: file too large \(EFBIG\)$/m);
    assert.deepEqual(readdirSync(directory), ['layers']);
  }
});

test('a file too large for the disk alone is the fault of the disk', () => {
  const error = Object.assign(new Error('m'), { code: 'EFBIG' });
  assert.deepEqual(
    [2 ** 32, 2 ** 45].map((size) => entryFailure(error, 'f', size).status),
    [74, 65],
  );
});

test('a name too long for the kernel is refused', async (t) => {
  for (const name of ['n'.repeat(256), `${'d/'.repeat(2100)}f`]) {
    const { directory, rootfs, stdin } = prepare(t, [[{ name, data: 'x' }]]);
    const result = await md('md-unpack', [rootfs], { stdin });
    assert.equal(result.status, 65, result.stderr);
    assert.deepEqual(readdirSync(directory), ['layers']);
  }
});

/** md-unpack that has got so many lines of its input, once its growing tree has `name`; and the other lines. */
async function begun(t: TestContext, { directory, rootfs, stdin }: Prepared, count = 1, name = '') {
  const child = spawn(join(binDir, 'md-unpack'), [rootfs], { env: cleanEnv(), stdio: ['pipe', 'ignore', 'ignore'] });
  killAfterwards(t, child);
  const lines = stdin.split(/(?<=\n)/);
  child.stdin.write(lines.splice(0, count).join(''));
  await until(() => staged(directory).some((tree) => existsSync(join(directory, tree, name))), 5);
  return { child, rest: lines.join('') };
}

test('a run that was killed leaves no DIR, and the next one removes what it left', async (t) => {
  const prepared = prepare(t, [[file('a', 1000)]]);
  const { directory, rootfs, stdin } = prepared;
  // The layers are still to come: the temporary tree is there, and stays there.
  const { child } = await begun(t, prepared);
  child.kill('SIGKILL');
  await once(child, 'close');
  assert.equal(existsSync(rootfs), false);
  assert.deepEqual(staged(directory).length, 1);
  assert.equal((await md('md-unpack', [rootfs], { stdin })).status, 0);
  assert.deepEqual(readdirSync(directory).sort(), ['layers', 'rootfs', 'rootfs.json']);
});

for (const [what, signal, wanted] of [
  ['is interrupted', 'SIGINT', 130],
  ['is told to stop', 'SIGTERM', 143],
  ['loses its terminal', 'SIGHUP', 129],
] as const) {
  test(`a run that ${what} removes what it began`, async (t) => {
    const prepared = prepare(t, [[file('a', 1000)]]);
    const { child } = await begun(t, prepared);
    child.kill(signal);
    assert.deepEqual(await once(child, 'close'), [wanted, null]);
    assert.deepEqual(readdirSync(prepared.directory), ['layers']);
  });
}

test('a run that loses its reader removes what it began', { skip: needs('mkfifo') }, async (t) => {
  const { directory, stdin } = prepare(t, [[file('a', 1000)]]);
  const script = `mkfifo lines; exec 3<>lines; printf '%s\\n' "$1" >&3
    md-unpack rootfs <lines 3<&- | until ls -A | grep -q 'md-unpack-.*lock'; do sleep 0.1; done; rm lines; ls -A`;
  const result = await shell(script, [stdin.split('\n')[0]!], { cwd: directory });
  assert.deepEqual([result.timedOut, result.stdout, result.stderr], [false, 'layers\n', '']);
});

test('signals that go on coming do not end the clearing away', async (t) => {
  const many = Array.from({ length: 5000 }, (_, i) => file(`f${i}`, 0));
  const prepared = prepare(t, [many, [file('more', 1)]]);
  const { child } = await begun(t, prepared, 2, 'f4999');
  const closed = once(child, 'close');
  // Again and again, so that one comes while the tree is being removed.
  while (child.exitCode === null && child.signalCode === null) {
    child.kill('SIGTERM');
    await sleep(1);
  }
  assert.deepEqual(await closed, [143, null]);
  assert.deepEqual(readdirSync(prepared.directory), ['layers']);
});

test('the temporary tree of a run that is still at work is left alone', async (t) => {
  const prepared = prepare(t, [[file('a', 1000)]]);
  const { directory, rootfs, stdin } = prepared;
  const { child, rest } = await begun(t, prepared);
  assert.equal((await md('md-unpack', [rootfs], { stdin })).status, 0);
  assert.equal(staged(directory).length, 1);
  child.stdin.end(rest);
  // The other one was faster, and its tree is not overwritten.
  assert.equal((await once(child, 'close'))[0], 64);
  assert.deepEqual(readdirSync(directory).sort(), ['layers', 'rootfs', 'rootfs.json']);
});

test('nobody else can go into a tree while it grows, where directories for everybody have no sticky bit yet', async (t) => {
  const dir = (name: string, mode: number): TarEntry => ({ name, type: 'directory', mode });
  const prepared = prepare(t, [[dir('./', 0o755), dir('tmp/', 0o1777)], [file('a', 1)]]);
  const { directory, rootfs } = prepared;
  const { child, rest } = await begun(t, prepared, 2, 'tmp');
  assert.equal(modeOf(join(directory, staged(directory)[0]!)), 0o700);
  child.stdin.end(rest);
  assert.equal((await once(child, 'close'))[0], 0);
  assert.deepEqual([modeOf(rootfs), modeOf(join(rootfs, 'tmp'))], [0o755, 0o1777]);
});

test('nor from the moment on that it is made', async (t) => {
  const { rootfs, stdin } = prepare(t, [[file('a', 1)]]);
  const { stderr } = await md('md-unpack', ['-x', rootfs], { stdin });
  assert.deepEqual(stderr.match(/(?<=^mkdirat\(\d+, "\.rootfs\.md-unpack-\w+", )\w+/gm), ['0700']);
});

test('the mode of a symlink that has come in the place of something else is not that of its target', async (t) => {
  const directory = scratch(t);
  writeFileSync(join(directory, 'target'), '', { mode: 0o600 });
  symlinkSync('target', join(directory, 'link'));
  const fd = openSync(directory, 'r');
  assert.ok(chmodAt(fd, Buffer.from('link'), 0o4777) < 0);
  assert.equal(chmodAt(fd, Buffer.from('target'), 0o640), 0);
  closeSync(fd);
  assert.equal(modeOf(join(directory, 'target')), 0o640);
});

test('layers out of order, too many, of another digest: each is refused', async (t) => {
  const prepared = prepare(t, [[file('a', 1)], [file('b', 1)]]);
  const [first, one, two] = prepared.stdin.trim().split('\n') as [string, string, string];
  // A field that nobody knows makes no line of the document a layer.
  const document = first.replace('{', '{"layer":{},');
  const changed = two.replace(/"diffID":"sha256:[0-9a-f]{64}"/, `"diffID":"sha256:${'0'.repeat(64)}"`);
  for (const [lines, why] of [
    [[document, two, one], /layer.index: expected 0, got 1/],
    [[document, one, one], /layer.index: expected 1, got 0/],
    [[document, one, two, two], /the manifest has 2 layers, and more came/],
    [[document, one, changed], /layer.diffID: expected/],
    [[document, one, two.replace('"size":', '"size":1')], /layer.size: expected/],
    [[document, one, '{"layer":{}}'], /layer on stdin: the field layer.index is missing/],
    [[document, one, 'nonsense'], /line 3 of stdin: it is not JSON/],
  ] as const) {
    const result = await md('md-unpack', [prepared.rootfs], { stdin: `${lines.join('\n')}\n` });
    assert.equal(result.status, 65);
    assert.match(result.stderr, why);
    assert.deepEqual(readdirSync(prepared.directory), ['layers']);
  }
});

test('a layer that is a FIFO is refused, and not waited for', { skip: needs('mkfifo') }, async (t) => {
  const { directory, rootfs, stdin, layers } = prepare(t, [[file('a', 1)]]);
  await run(['mkfifo', join(directory, 'fifo')]);
  const path = JSON.stringify(join(directory, 'fifo'));
  const result = await md('md-unpack', [rootfs], { stdin: stdin.replace(JSON.stringify(layers[0]!.path), path) });
  assert.equal(result.status, 65, result.stderr);
  assert.match(result.stderr, /it is not a regular file/);
  assert.deepEqual(readdirSync(directory).sort(), ['fifo', 'layers']);
});

test('a layer that cannot be looked up by its path is no fault of the program', async (t) => {
  const { rootfs } = prepare(t, []);
  const stdin = JSON.stringify({ layer: { path: `/${'n'.repeat(300)}` } });
  for (const argument of [rootfs, '--list']) {
    const { status, stderr } = await md('md-unpack', [argument], { stdin });
    assert.match(stderr, /^md-unpack: \/n+: [a-z ]+ \(ENAMETOOLONG\)\n$/);
    assert.equal(status, 74);
  }
});

test('what is mounted at DIR or in it is not emptied: it is refused before a layer comes, with --force too', {
  skip: needsRoot || needs('unshare'),
}, async (t) => {
  const { directory, stdin } = prepare(t, [[file('a', 1)]]);
  mkdirSync(join(directory, 'in/sub dir'), { recursive: true });
  mkdirSync(join(directory, 'in-beside'));
  const [document] = stdin.split('\n');
  for (const [mount, why] of [
    ['in', 'something is mounted there; name a directory below it'],
    ['in/sub dir', 'something is mounted at sub dir in it; unmount it first'],
  ]) {
    const script = `cd "$1"; mount -t tmpfs none in-beside; mount -t tmpfs none "$2"; echo x >"$2/precious"
      echo "$3" | md-unpack --force in >/dev/null; echo $?; cat "$2/precious"; ls -A`;
    const result = await shell(`unshare -m sh -c '${script}' sh "$1" "$2" "$3"`, [directory, mount!, document!]);
    assert.equal(result.stderr, `md-unpack: ${join(directory, 'in')}: ${why}\n`);
    assert.equal(result.stdout, '64\nx\nin\nin-beside\nlayers\n');
  }
});

test('what is mounted in a tree once it is being removed stays, and the error is told once', {
  skip: needsRoot || needs('unshare'),
}, async (t) => {
  const { directory, stdin } = prepare(t, [[file('a', 1)]]);
  mkdirSync(join(directory, 'in/sub'), { recursive: true });
  // The layer comes after the mount.
  const script = `cd "$1"
    { echo "$2" | head -n 1; until ls -d .in.md-unpack-*.lock; do sleep 0.1; done >/dev/null 2>&1
      mount -t tmpfs none in/sub; echo x >in/sub/precious; echo "$2" | tail -n +2; } | md-unpack --force in >/dev/null
    echo $?; ls in; cat .in.md-unpack-*/sub/precious`;
  const result = await shell(`unshare -m sh -c '${script}' sh "$1" "$2"`, [directory, stdin]);
  assert.match(result.stderr, /^md-unpack: .*\(EXDEV\); something is mounted there: unmount it\n$/);
  assert.equal(result.stdout, '74\na\nx\n');
});

for (const [what, end, status, told] of [
  ['a signal', 'kill $!', 143, []],
  ['a failure', 'echo \'{"layer":{"path":"/none"}}\'', 74, ['/none: no such file or directory (ENOENT)']],
] as const) {
  test(`what cannot be removed after ${what} is told in a line beside it, and not in its place`, {
    skip: needsRoot || needs('unshare'),
  }, async (t) => {
    const { directory, layers } = prepare(t, [[file('sub/a', 1)]]);
    const first = JSON.stringify({ layer: { path: layers[0]?.path } });
    // The reader of the pipe is started first, so that it is the one that $! names.
    const script = `cd "$1"; mkfifo lines; md-unpack in <lines >/dev/null & exec 3>lines; echo "$2" >&3
      until ls .in.md-unpack-*/sub/a; do sleep 0.1; done >/dev/null 2>&1
      mount -t tmpfs none .in.md-unpack-*/sub; ${end} >&3; wait $!; echo $?`;
    const result = await run(['unshare', '-m', 'sh', '-c', script, 'sh', directory, first]);
    assert.equal(result.stdout, `${status}\n`);
    const left = /^md-unpack: cleaning up: .*\/in: removing \.in\.md-unpack-\d+\/sub: .*\(EXDEV\); .* unmount it$/;
    const lines = result.stderr.trimEnd().split('\n');
    assert.match(lines[0]!, left);
    assert.deepEqual(
      lines.slice(1),
      told.map((line) => `md-unpack: ${line}`),
    );
  });
}

test('a file of an old tree that the kernel keeps is named, and stands in the way of no later run', {
  skip: needsRoot || needs('chattr'),
}, async (t) => {
  const { directory, rootfs, stdin } = prepare(t, [[file('d/f', 1)]]);
  assert.equal((await md('md-unpack', [rootfs], { stdin })).status, 0);
  const kept = join(rootfs, 'd/f');
  if ((await run(['chattr', '+i', kept])).status !== 0) return t.skip('this filesystem has no such flag');
  const old = () => readdirSync(directory).find((name) => /^\.rootfs\.md-unpack-\d+$/.test(name)) ?? 'rootfs';
  try {
    const { status, stderr } = await md('md-unpack', ['--force', rootfs], { stdin });
    const why = 'operation not permitted (EPERM); where lsattr -a shows an i or an a, chattr -ia allows changes';
    assert.equal(stderr, `md-unpack: ${rootfs}: removing ${old()}/d/f: ${why}\n`);
    assert.equal(status, 77);
    assert.equal((await md('md-unpack', ['--force', rootfs], { stdin })).status, 0);
  } finally {
    await run(['chattr', '-i', join(directory, old(), 'd/f')]);
  }
  assert.equal((await md('md-unpack', ['--force', rootfs], { stdin })).status, 0);
  assert.deepEqual(readdirSync(directory).sort(), ['layers', 'rootfs', 'rootfs.json']);
});

test('a tree is removed however deep a container has made it', async (t) => {
  const { directory, rootfs, stdin } = prepare(t, [[file('a', 1)]]);
  mkdirSync(join(rootfs, 'closed', ...Array.from({ length: 300 }, () => 'd')), { recursive: true });
  writeFileSync(join(rootfs, 'closed', ...Array.from({ length: 300 }, () => 'd'), 'file'), '');
  chmodSync(join(rootfs, 'closed'), 0o500);
  const { status, stderr } = await shell('ulimit -n 256; md-unpack --force "$1"', [rootfs], { stdin });
  assert.equal(stderr, '');
  assert.equal(status, 0);
  assert.deepEqual([readdirSync(directory), readdirSync(rootfs)], [['layers', 'rootfs', 'rootfs.json'], ['a']]);
});

test('a tree is removed however deep it is where no directory of it can be moved', {
  skip: needsRoot || needs('unshare') || (!hasOverlay() && 'the kernel has no overlay filesystem'),
}, async (t) => {
  const { directory, stdin } = prepare(t, [[file('a', 1)]]);
  mkdirSync(join(directory, 'disk'));
  // On btrfs a container can make a subvolume, out of which nothing can be moved either.
  const script = `cd "$1"; mount -t tmpfs none .; cd "$1"
    mkdir -p "lower/.in.md-unpack-5/$2" upper work on
    mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work,redirect_dir=off none on
    ulimit -n 256; md-unpack on/in >/dev/null; echo $?; ls -A on`;
  const args = [join(directory, 'disk'), 'd/'.repeat(300)];
  const { stdout, stderr } = await shell(`unshare -m sh -c '${script}' sh "$@"`, args, { stdin });
  assert.deepEqual([stderr, stdout], ['', '0\nin\nin.json\n']);
});

test('where a directory is moved away while it is emptied, nothing is removed in the place where it is then', (t) => {
  const directory = scratch(t);
  const names = Array.from({ length: 100 }, (_, i) => `d${i}`);
  mkdirSync(join(directory, 'tree', ...names), { recursive: true });
  writeFileSync(join(directory, 'tree', ...names, 'last'), '');
  mkdirSync(join(directory, 'elsewhere'));
  writeFileSync(join(directory, 'elsewhere/precious'), '');
  const fd = openSync(directory, 'r');
  afterwards(t, () => closeSync(fd));
  // The name becomes bytes when the file is to be removed.
  const { from } = Buffer;
  t.mock.method(Buffer, 'from', (...args: Parameters<typeof from>) => {
    if (String(args[0]) === 'last')
      renameSync(join(directory, 'tree', ...names.slice(0, 20)), join(directory, 'elsewhere/d19'));
    return from(...args);
  });
  assert.throws(() => removeTree(fd, byteString('tree')), /removing tree\/d0.*: directory not empty/);
  assert.deepEqual(readdirSync(join(directory, 'elsewhere')).sort(), ['d19', 'precious']);
});

test('a tree is removed however full a container has made it: names go as they are read', async (t) => {
  const { directory, rootfs, stdin } = prepare(t, [[file('a', 1)]]);
  mkdirSync(join(rootfs, 'full'), { recursive: true });
  for (let i = 0; i < 300; i++) writeFileSync(join(rootfs, 'full', String(i).padEnd(255, 'n')), '');
  const { status, stderr } = await md('md-unpack', ['-x', '--force', rootfs], { stdin });
  assert.equal(status, 0);
  const calls = stderr
    .split('\n')
    .flatMap((line) => /^(getdents64|unlinkat)\(.*(?:n{200}|= [1-9])/.exec(line)?.[1] ?? []);
  assert.match(calls.join(' '), /getdents64( unlinkat){50,} getdents64( unlinkat){50,}/);
  assert.deepEqual([readdirSync(directory), readdirSync(rootfs)], [['layers', 'rootfs', 'rootfs.json'], ['a']]);
});

test('of a tree that stands in the way no more names are read than one call gives, however many a container has made', {
  // An ordinary user has to look whether they can be removed.
  skip: needsRoot,
}, async (t) => {
  const { rootfs, stdin } = prepare(t, [[file('a', 1)]]);
  mkdirSync(rootfs);
  for (let i = 0; i < 300; i++) writeFileSync(join(rootfs, String(i).padEnd(255, 'n')), '');
  const refused = await md('md-unpack', ['-x', rootfs], { stdin });
  assert.match(refused.stderr, /it is there and not empty/);
  const forced = await md('md-unpack', ['-x', '--force', rootfs], { stdin });
  const [before = ''] = forced.stderr.split('.spare"');
  // The buffer has 32 KiB, and the names 80.
  for (const trace of [refused.stderr, before]) assert.equal(trace.match(/^getdents64.* = 3[0-9]{4}$/gm)?.length, 1);
});

test('a tree that its filesystem cannot exchange stays, and the error says that it is no matter of --force', {
  skip: needsRoot || needs('unshare') || (!hasOverlay() && 'the kernel has no overlay filesystem'),
}, async (t) => {
  const { directory, stdin } = prepare(t, [[file('a', 1)]]);
  mkdirSync(join(directory, 'disk'));
  const script = `cd "$1"; mount -t tmpfs none .; cd "$1"
    mkdir -p lower/in upper work on; echo x >lower/in/old
    mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work,redirect_dir=off none on
    md-unpack --force on/in >/dev/null; echo $?; ls -A on on/in`;
  const { stdout, stderr } = await shell(`unshare -m sh -c '${script}' sh "$1"`, [join(directory, 'disk')], { stdin });
  assert.match(stderr, /disk\/on\/in: its filesystem cannot exchange it .*\(EXDEV\); remove it first\n$/);
  assert.equal(stdout, '74\non:\nin\n\non/in:\nold\n');
});

test('where there is no /proc the error says so', { skip: needsRoot || needs('unshare', 'mount') }, async (t) => {
  const script = `unshare --mount --propagation private sh -c 'mount -t tmpfs none /proc && exec md-unpack --force "$1"' sh "$1"`;
  for (const isThere of [false, true]) {
    const { directory, rootfs, stdin } = prepare(t, [[file('f', 1)]]);
    if (isThere) mkdirSync(rootfs);
    const { status, stderr } = await shell(script, [rootfs], { stdin });
    assert.equal(status, 74);
    assert.equal(
      stderr,
      'md-unpack: /proc: it is not mounted, and nothing else tells where open files are; mount -t proc proc /proc\n',
    );
    assert.deepEqual(readdirSync(directory), isThere ? ['layers', 'rootfs'] : ['layers']);
  }
});

test('a DIR of no name is refused, and is not the working directory', async (t) => {
  const { directory, stdin } = prepare(t, [[file('a', 1)]]);
  for (const flags of [[], ['--force'], ['--verify']]) {
    const { status, stderr } = await md('md-unpack', [...flags, ''], { stdin, cwd: directory });
    assert.deepEqual([status, stderr], [64, 'md-unpack: command line: DIR is empty\n']);
    assert.deepEqual(readdirSync(directory), ['layers']);
  }
});

test('a DIR that is a file or a symlink is refused, with --force too', async (t) => {
  const { directory, rootfs, stdin } = prepare(t, [[file('a', 1)]]);
  writeFileSync(join(directory, 'file'), 'mine');
  symlinkSync(directory, join(directory, 'link'));
  for (const name of ['file', 'link']) {
    for (const flags of [[], ['--force']]) {
      const result = await md('md-unpack', [...flags, join(directory, name)], { stdin });
      assert.equal(result.status, 64, result.stderr);
    }
  }
  assert.equal((await md('md-unpack', [join(directory, 'none/rootfs')], { stdin })).status, 74);
  assert.equal(existsSync(rootfs), false);
  assert.deepEqual(readdirSync(directory).sort(), ['file', 'layers', 'link']);
});

test('an archive that asks for the same to be hidden again and again is looked through once', async (t) => {
  const count = 100;
  const names = Array.from({ length: count }, (_, i) => i);
  const nested = (depth: number) => 'a/'.repeat(depth);
  const cases: [name: string, hidden: (i: number) => string][] = [
    ['an opaque marker', () => 'a/.wh..wh..opq'],
    ['a whiteout', () => '.wh.a'],
    ['whiteouts from the top down', (i) => `${nested(i)}.wh.a`],
    ['markers from the top down', (i) => `${nested(i + 1)}.wh..wh..opq`],
    ['markers from the bottom up', (i) => `${nested(count - i)}.wh..wh..opq`],
  ];
  for (const [name, hidden] of cases) {
    const files = names.map((i) => file(`${nested(i + 1)}f`, 1));
    const { rootfs, stdin } = prepare(t, [[file('a/old', 1)], [...files, ...names.map((i) => file(hidden(i), 0))]]);
    const result = await md('md-unpack', ['-x', rootfs], { stdin });
    assert.equal(result.status, 0, result.stderr.slice(-500));
    // A directory is read by two calls, the second of which finds the end.
    const reads = result.stderr.match(/^getdents64\(/gm) ?? [];
    assert.ok(reads.length <= 2 * count + 10, `${name}: ${reads.length} calls of getdents64`);
    assert.ok(!existsSync(join(rootfs, 'a/old')), name);
  }
});

test('an archive that leads hard links through the same symlink again and again has each worked out once', () => {
  const selection = new Selection(['wanted']);
  const nothing: TarSink = { entry: () => {}, content: () => {}, hole: () => {}, end: () => {} };
  const without: TarSink = {
    ...nothing,
    entry: (entry) => {
      if (entry.type === 'hardlink') throw new MissingTarget(entry);
    },
  };
  const entry = (type: EntryType, path: string, target: string): Entry => ({
    ...{ type, path, target, mode: 0, uid: 0, gid: 0, size: 0 },
    ...{ mtime: { seconds: 0, nanoseconds: 0 }, major: 0, minor: 0, xattrs: undefined },
  });
  const count = 20_000;
  const before = process.cpuUsage().user;
  const first = selection.sink(without);
  for (let i = 0; i < count; i++) first.entry(entry('hardlink', `wanted/${i}`, `link/${i}`));
  assert.ok(selection.needsPass());
  const came: string[] = [];
  const spare: TarSink = { ...nothing, entry: ({ path }) => came.push(path) };
  const second = selection.sink(without, spare);
  for (let i = 0; i < count; i++) second.entry(entry('symlink', 'link', i % 2 ? 'one' : '/other'));
  // What each of them leads to was found all the same.
  came.length = 0;
  for (const path of ['one/7', 'other/7', 'another/7']) second.entry(entry('file', path, ''));
  assert.deepEqual(came, ['one/7', 'other/7']);
  assert.ok(process.cpuUsage().user - before < 10e6, 'it took more than ten seconds of the processor');
});

const littleMemory = { NODE_OPTIONS: '--max-old-space-size=32' };
const longPath = `${'n'.repeat(250)}/`.repeat(14);
const directories = (count: number, prefix: string): TarEntry[] =>
  Array.from({ length: count }, (_, i) => ({ name: `${longPath}${prefix}${i}/`, type: 'directory' }));

test('more names than there is memory for are an error, and no crash', async (t) => {
  const { directory, rootfs, stdin } = prepare(t, [directories(10_000, 'd')]);
  const result = await md('md-unpack', [rootfs], { stdin, env: littleMemory });
  assert.equal(result.status, 65, result.stderr.slice(0, 500));
  assert.match(result.stderr, /its names take more memory than there is; NODE_OPTIONS=--max-old-space-size=MIB sets/);
  assert.deepEqual(readdirSync(directory), ['layers']);
});

test('names that are gone take no memory', async (t) => {
  const stack = Array.from({ length: 8 }, (_, i) => [
    { name: `.wh.${'n'.repeat(250)}`, data: '' },
    ...directories(700, `${i}-`),
  ]);
  const { rootfs, stdin } = prepare(t, stack);
  const result = await md('md-unpack', [rootfs], { stdin, env: littleMemory });
  assert.equal(result.status, 0, result.stderr.slice(0, 500));
  assert.equal(readdirSync(join(rootfs, longPath)).length, 700);
});

test('a record that is longer than memory allows is written, and no crash', { skip: needsRoot }, async (t) => {
  // Six characters stand for each of these in the record.
  const long = `${'\x01'.repeat(250)}/`.repeat(15);
  const entries = Array.from({ length: 1700 }, (_, i): TarEntry => ({ name: `${long}${i}`, data: '', uid: 5 }));
  const { directory, rootfs, stdin } = prepare(t, [entries]);
  const user = { uid: 65534, gid: 65534 };
  chmodSync(directory, 0o755);
  chownSync(directory, user.uid, user.gid);
  const result = await md('md-unpack', [rootfs], { stdin, env: littleMemory, ...user });
  assert.equal(result.status, 0, result.stderr.slice(0, 500));
  assert.equal(readFileSync(`${rootfs}.unset.jsonl`, 'utf8').split('\n').length, entries.length + 1);
});

test('a directory of more names than there is memory for is emptied, but for what its own layer brings', async (t) => {
  const names = Array.from({ length: 50_000 }, (_, i) => `${'n'.repeat(240)}${i}`);
  // Far from each other, so that some are in a later part of what is read: directories, which stay where they were.
  const isOwn = (i: number) => i % 15_000 === 0;
  const entry = (name: string, i: number): TarEntry =>
    isOwn(i) ? { name: `d/${name}/`, type: 'directory' } : { name: `d/${name}` };
  const own = names.map(entry).filter((_, i) => isOwn(i));
  // A disk takes far longer to make so many names.
  const inMemory = existsSync('/dev/shm') ? '/dev/shm' : undefined;
  const { rootfs, stdin } = prepare(t, [names.map(entry), [...own, { name: 'd/.wh..wh..opq' }]], inMemory);
  const result = await md('md-unpack', [rootfs], { stdin, env: littleMemory });
  assert.equal(result.status, 0, result.stderr.slice(-500));
  assert.deepEqual(readdirSync(join(rootfs, 'd')).sort(), names.filter((_, i) => isOwn(i)).sort());
});

test('more names in a directory of a tree than there is memory for are an error of --verify, and no crash', async (t) => {
  const { directory, rootfs } = prepare(t, []);
  mkdirSync(rootfs);
  for (let i = 0; i < 25_000; i++) writeFileSync(join(rootfs, `${'n'.repeat(240)}${i}`), '');
  writeFileSync(join(directory, 'empty'), '');
  const stdin = `${JSON.stringify({ layer: { path: join(directory, 'empty') } })}\n`;
  const result = await md('md-unpack', ['--verify', rootfs], { stdin, env: littleMemory });
  assert.match(result.stderr, /rootfs: its names take more memory than there is; NODE_OPTIONS=/);
  assert.equal(result.status, 65);
  assert.deepEqual(readdirSync(directory).sort(), ['empty', 'layers', 'rootfs']);
});
