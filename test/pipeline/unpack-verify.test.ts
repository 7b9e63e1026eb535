/**
 * md-unpack --verify of a tree beside which nothing can be made, so that the image is unpacked in $TMPDIR; and of one
 * that changes meanwhile.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, existsSync, lstatSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { injecting } from '../support/injected-call.js';
import { until } from '../support/rootfs.js';
import { binDir, cleanEnv, jsonLines, md, needs, needsRoot, run, shell } from '../support/run.js';
import type { TarEntry } from '../support/tar.js';
import { prepare, type Stack } from '../support/unpacking.js';

const user = { uid: 65534, gid: 65534 };
const stack: TarEntry[][] = [
  [
    { name: './', type: 'directory', mode: 0o755 },
    { name: 'd/', type: 'directory', mode: 0o555 },
    { name: 'd/f', data: 'x', mode: 0o4755, xattrs: { 'user.a': 'v' } },
  ],
  [{ name: 'd/g', data: 'x' }],
];

/**
 * A tree that the user has unpacked, in a directory that is root's since then, and an empty directory of the user's.
 */
async function closedTree(t: TestContext, layers: Stack = stack) {
  const prepared = prepare(t, layers);
  const { directory, rootfs, stdin } = prepared;
  chmodSync(directory, 0o755);
  chownSync(directory, user.uid, user.gid);
  assert.equal((await md('md-unpack', [rootfs], { stdin, ...user })).status, 0);
  chownSync(directory, 0, 0);
  const temporary = join(directory, 'tmp');
  mkdirSync(temporary);
  chownSync(temporary, user.uid, user.gid);
  return { ...prepared, temporary, env: { TMPDIR: temporary } };
}

test('a tree in a directory that the user may not write to, or not even read, is compared in $TMPDIR', {
  skip: needsRoot,
}, async (t) => {
  const { directory, rootfs, stdin, temporary, env } = await closedTree(t);
  for (const mode of [0o755, 0o711]) {
    chmodSync(directory, mode);
    const { status, stdout, stderr } = await md('md-unpack', ['--verify', rootfs], { stdin, env, ...user });
    assert.deepEqual([status, stdout, stderr], [0, '', '']);
    assert.deepEqual(readdirSync(temporary), []);
  }
  writeFileSync(join(rootfs, 'd/g'), 'changed');
  const { status, stdout } = await md('md-unpack', ['--verify', rootfs], { stdin, env, ...user });
  assert.equal(status, 65);
  assert.deepEqual([...new Set(jsonLines(stdout).map(({ path }) => path))], ['d/g']);
  assert.deepEqual(readdirSync(temporary), []);
});

test('a tree on a mount that is read-only is compared in $TMPDIR, and beside it where it can be written to', {
  skip: needsRoot || needs('unshare', 'mount'),
}, async (t) => {
  const { directory, rootfs, stdin } = prepare(t, stack);
  assert.equal((await md('md-unpack', [rootfs], { stdin })).status, 0);
  for (const name of ['tmp', 'at']) mkdirSync(join(directory, name));
  const verify = (flags: string) => {
    const script = `mount --bind "$1" "$1/at" && mount -o remount,bind,${flags} "$1/at" || exit
      exec md-unpack -x --verify "$1/at/rootfs"`;
    const argv = `unshare --mount --propagation private sh -c '${script}' sh "$1"`;
    return shell(argv, [directory], { stdin, env: { TMPDIR: join(directory, 'tmp') } });
  };
  for (const flags of ['ro', 'rw']) {
    const { status, stdout, stderr } = await verify(flags);
    assert.deepEqual([status, stdout], [0, ''], stderr.slice(-300));
    assert.equal(/"\.md-verify\.md-unpack-/.test(stderr), flags === 'ro');
    assert.deepEqual(readdirSync(join(directory, 'tmp')), []);
  }
});

test('what the tree in $TMPDIR could not have, the one at DIR may have or not, but nothing else in its place', {
  skip: needsRoot || needs('unshare', 'mount', 'setpriv', 'setfattr', 'mknod'),
}, async (t) => {
  const attributes = { 'user.a': 'v', 'trusted.b': 'w' };
  const { directory, rootfs, stdin } = prepare(t, [
    [
      { name: './', type: 'directory', mode: 0o755, xattrs: { 'user.root': 'v' } },
      { name: 'd/', type: 'directory', uid: 5, xattrs: attributes },
      { name: 'd/f', data: 'x', uid: 5, gid: 6, xattrs: attributes },
      { name: 'd/g', data: 'x' },
      { name: 'c', type: 'char', major: 1, minor: 3, uid: 5 },
    ],
  ]);
  for (const path of [directory, join(directory, 'layers')]) chmodSync(path, 0o755);
  mkdirSync(join(directory, 'tmp'));
  // A filesystem without extended attributes, and a user who may give nothing away and make no device.
  const argv = `unshare --mount --propagation private sh -c '
    mount -t ramfs ramfs "$1/tmp" && chmod 1777 "$1/tmp" || exit
    TMPDIR="$1/tmp" exec setpriv --reuid=65534 --regid=65534 --clear-groups md-unpack --verify "$1/rootfs"' sh "$1"`;
  const changes: [change: string, found: string[]][] = [
    [':', []],
    ['setfattr -n security.selinux -v x d d/f', []],
    ['rm c; chown 65534:65534 . d d/f; for f in . d d/f; do setfattr -x user.a $f; done; touch -d @1000000000 . d', []],
    ['setfattr -n user.a -v other d/f', ['d/f xattrs']],
    ['setfattr -n user.b -v v d d/f', ['d xattrs', 'd/f xattrs']],
    ['chown 6:6 d/f d/g', ['d/f owner', 'd/g owner']],
    ['chown 5:5 d/f', ['d/f owner']],
    ['rm c; mknod -m 600 c c 1 5; touch -d @1000000000 .', ['c owner', 'c mode', 'c device']],
    ['rm c; mkdir c; touch -d @1000000000 .', ['c type']],
  ];
  for (const [change, expected] of changes) {
    assert.equal((await md('md-unpack', ['--force', rootfs], { stdin })).status, 0);
    await shell(change, [], { cwd: rootfs });
    const { status, stdout, stderr } = await shell(argv, [directory], { stdin });
    const found = jsonLines(stdout).map(({ path, difference }) => `${path} ${difference}`);
    assert.deepEqual([found, status, stderr], [expected, expected.length > 0 ? 65 : 0, ''], change);
  }
});

test('a tree in a directory with the flag of immutable files is compared in $TMPDIR', {
  skip: needsRoot || needs('chattr'),
}, async (t) => {
  const { directory, rootfs, stdin } = prepare(t, stack);
  const temporary = join(directory, 'tmp');
  mkdirSync(temporary);
  assert.equal((await md('md-unpack', [rootfs], { stdin })).status, 0);
  if ((await run(['chattr', '+i', directory])).status !== 0) return t.skip('this filesystem has no such flag');
  try {
    const { status, stderr } = await md('md-unpack', ['--verify', rootfs], { stdin, env: { TMPDIR: temporary } });
    assert.deepEqual([status, stderr], [0, '']);
  } finally {
    await run(['chattr', '-i', directory]);
  }
});

test('without TMPDIR it is /var/tmp', { skip: needsRoot }, async (t) => {
  const { rootfs, stdin } = await closedTree(t);
  for (const TMPDIR of [undefined, '']) {
    const { stderr } = await md('md-unpack', ['-x', '--verify', rootfs], { stdin, env: { TMPDIR }, ...user });
    assert.match(stderr, /^openat2?\(AT_FDCWD, "\/var\/tmp", /m);
  }
});

for (const [signal, status] of [
  ['SIGTERM', 143],
  // Of a terminal that is closed.
  ['SIGHUP', 129],
  ['SIGKILL', null],
] as const) {
  test(`nobody else can go into $TMPDIR's tree while it is compared, and ${signal} is no reason for it to stay`, {
    skip: needsRoot,
  }, async (t) => {
    const { rootfs, stdin, temporary, env } = await closedTree(t);
    const child = spawn(join(binDir, 'md-unpack'), ['--verify', rootfs], {
      env: { ...cleanEnv(), ...env },
      stdio: ['pipe', 'ignore', 'inherit'],
      ...user,
    });
    const closed = once(child, 'close');
    // Not the last layer, so that it waits.
    child.stdin.write(`${stdin.split('\n').slice(0, 2).join('\n')}\n`);
    const around = () => join(temporary, readdirSync(temporary).find((name) => /-[0-9]+$/.test(name)) ?? 'none');
    const inner = () => readdirSync(around()).find((name) => /-[0-9]+$/.test(name)) ?? 'none';
    await until(() => existsSync(around()) && existsSync(join(around(), inner(), 'd/f')));
    const { mode, uid } = lstatSync(around());
    assert.deepEqual([mode & 0o7777, uid], [0o700, user.uid]);
    child.kill(signal);
    assert.equal((await closed)[0], status);
    if (signal === 'SIGKILL') {
      assert.notDeepEqual(readdirSync(temporary), []);
      assert.equal((await md('md-unpack', ['--verify', rootfs], { stdin, env, ...user })).status, 0);
    }
    assert.deepEqual(readdirSync(temporary), []);
  });
}

test('a layer that is bad leaves nothing in $TMPDIR', { skip: needsRoot }, async (t) => {
  const { rootfs, stdin, layers, temporary, env } = await closedTree(t);
  writeFileSync(layers[1]!.path, 'no archive');
  const { status } = await md('md-unpack', ['--verify', rootfs], { stdin, env, ...user });
  assert.equal(status, 65);
  assert.deepEqual(readdirSync(temporary), []);
});

test('where $TMPDIR is closed too, the error says what it is needed for', { skip: needsRoot }, async (t) => {
  const { rootfs, stdin, temporary, env } = await closedTree(t);
  const first = `${stdin.split('\n')[0]}\n`;
  chownSync(temporary, 0, 0);
  const hint = 'nothing can be made beside DIR, so the image is unpacked there: TMPDIR names another place';
  for (const [place, status, why] of [
    [temporary, 77, 'permission denied (EACCES)'],
    [join(temporary, 'none'), 74, 'no such file or directory (ENOENT)'],
  ] as const) {
    const result = await md('md-unpack', ['--verify', rootfs], { stdin: first, env: { TMPDIR: place }, ...user });
    assert.deepEqual([result.status, result.stderr], [status, `md-unpack: ${place}: ${why}; ${hint}\n`]);
  }
  chmodSync(rootfs, 0);
  chownSync(rootfs, 0, 0);
  const result = await md('md-unpack', ['--verify', rootfs], { stdin: first, env, ...user });
  assert.deepEqual([result.status, result.stderr], [77, `md-unpack: ${rootfs}: permission denied (EACCES)\n`]);
});

test('a FIFO that a container puts in the place of a file at that moment is not opened', {
  skip: needs('mkfifo'),
}, async (t) => {
  const { directory, rootfs, stdin } = prepare(t, [[{ name: 'file', data: 'x' }]]);
  assert.equal((await md('md-unpack', [rootfs], { stdin })).status, 0);
  const [hook, fifo] = [join(directory, 'hook.cjs'), join(directory, 'fifo')];
  await run(['mkfifo', fifo]);
  // The name becomes bytes for each call: the first asks what it is in the tree, the second what it is in the image.
  writeFileSync(
    hook,
    `const { renameSync } = require('node:fs');
    const { from } = Buffer;
    let calls = 0;
    Buffer.from = (...args) => {
      if (args[0] === 'file' && args[1] === 'latin1' && ++calls === 2) renameSync('${fifo}', '${join(rootfs, 'file')}');
      return from(...args);
    };`,
  );
  const env = { NODE_OPTIONS: `--require=${hook}` };
  const { status, stderr } = await md('md-unpack', ['--verify', rootfs], { stdin, env });
  assert.match(stderr, /^md-unpack: file: it was exchanged just now; end what changes the tree first\n$/);
  assert.equal(status, 75);
});

test('what a failing disk does not tell is an error, and no difference', { skip: needs('strace') }, async (t) => {
  const { rootfs, stdin } = prepare(t, [[{ name: 'it', data: 'x' }]]);
  assert.equal((await md('md-unpack', [rootfs], { stdin })).status, 0);
  const verify = [...injecting('statx:error=EIO:when=1', 'it'), 'md-unpack', '--verify', rootfs];
  const { status, stderr } = await run(verify, { stdin });
  assert.equal(stderr, `md-unpack: ${rootfs}: i/o error (EIO)\n`);
  assert.equal(status, 74);
});

test('nor are attributes that it does not tell', { skip: needs('strace') }, async (t) => {
  const { rootfs, stdin } = prepare(t, [[{ name: 'it', data: 'x', xattrs: { 'user.a': 'v' } }]]);
  assert.equal((await md('md-unpack', [rootfs], { stdin })).status, 0);
  for (const call of ['llistxattr', 'lgetxattr']) {
    const verify = [...injecting(`${call}:error=EIO:when=1`), 'md-unpack', '--verify', rootfs];
    const { status, stdout, stderr } = await run(verify, { stdin });
    assert.deepEqual([stderr, stdout.replace(/^\{"error".*\n/, '')], [`md-unpack: ${rootfs}: i/o error (EIO)\n`, '']);
    assert.equal(status, 74);
  }
});

test('hard links are no difference where a filesystem remembers for a while how many names a file had', {
  skip: needsRoot || needs('unshare', 'bindfs'),
}, async (t) => {
  const { directory, stdin } = prepare(t, [[{ name: 'a' }, { name: 'b', type: 'link', linkname: 'a' }]]);
  const script = `cd "$1" && mkdir of on && cat >lines && bindfs -o attr_timeout=3600 of on 2>/dev/null || exit 99
    md-unpack on/t <lines >/dev/null && umount on && bindfs -o attr_timeout=3600 of on && md-unpack --verify on/t <lines; status=$?; umount on; exit $status`;
  const { status, stdout, stderr } = await run(['unshare', '-m', 'sh', '-c', script, 'sh', directory], { stdin });
  if (status === 99) return t.skip('nothing can be mounted by FUSE here');
  assert.deepEqual([status, stdout, stderr], [0, '', '']);
});

test('files of two filesystems are told apart where their inodes have the same number', {
  skip: needsRoot || needs('unshare'),
}, async (t) => {
  const both = ['a', 'b'].flatMap((dir): TarEntry[] => [
    { name: `${dir}/`, type: 'directory' },
    { name: `${dir}/x` },
    { name: `${dir}/y`, type: 'link', linkname: `${dir}/x` },
  ]);
  const { rootfs, stdin } = prepare(t, [both]);
  assert.equal((await md('md-unpack', [rootfs], { stdin })).status, 0);
  const script = `cd "$1" && for dir in a b; do
      cp -a $dir copy && mount -t tmpfs -o mode=755 none $dir && cp -a copy/. $dir && rm -r copy || exit 99
    done
    stat -c %i a/x b/x >&2 && exec md-unpack --verify "$1"`;
  const { stdout, stderr } = await run(['unshare', '-m', 'sh', '-c', script, 'sh', rootfs], { stdin });
  const [first, second] = stderr.trim().split('\n');
  assert.equal(first, second, 'the test needs two files with the same number');
  assert.deepEqual(jsonLines(stdout), []);
});
