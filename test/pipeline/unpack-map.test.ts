/** md-unpack --map: the image's own owners without root, in a user namespace with subordinate ids. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { childrenOf, isRunning } from '../support/processes.js';
import { busybox, needsBusybox, until } from '../support/rootfs.js';
import { afterwards, cleanEnv, jsonLines, killAfterwards, md, needs, run } from '../support/run.js';
import {
  firstId,
  type Grants,
  needsSubordinate,
  outside,
  type SubordinateUser,
  subordinateUser,
  user,
} from '../support/subordinate.js';
import type { TarEntry } from '../support/tar.js';
import { compareTrees, describeTree } from '../support/tree.js';
import { type Prepared, prepare, type Stack } from '../support/unpacking.js';

const skip = needsSubordinate;

const image: Stack = [
  [
    { name: './', type: 'directory', mode: 0o755 },
    { name: 'roots', data: 'x' },
    { name: 'users', data: 'x', uid: 1000, gid: 50, mode: 0o4755 },
    { name: 'last', data: 'x', uid: 65535, gid: 65535 },
    { name: 'd/', type: 'directory', uid: 7, gid: 8, mode: 0o2700 },
    { name: 'd/in/', type: 'directory', uid: 7, gid: 8, mode: 0 },
    { name: 'd/in/file', data: 'x', uid: 9, mode: 0 },
    { name: 'd/gone', data: 'x', uid: 9 },
    { name: 'link', type: 'symlink', linkname: 'x', uid: 9, gid: 9 },
    { name: 'pipe', type: 'fifo', uid: 9, gid: 9 },
    { name: 'hard', type: 'link', linkname: 'users' },
    { name: 'again', data: 'x', uid: 1 },
  ],
  [{ name: 'again', data: 'y', gid: 5 }, { name: 'd/.wh.gone' }, { name: 'd/in/more', data: 'z', uid: 33, gid: 33 }],
];

interface Mapped extends Prepared, SubordinateUser {
  unpack: (args: string[], stdin?: string) => ReturnType<typeof run>;
}

/** Layers that the user may read, and md-unpack --map as that user. The tree is to be `rootfs` in the user's home. */
function mapped(t: TestContext, stack: Stack, options: Grants = {}): Mapped {
  const prepared = prepare(t, stack);
  chmodSync(prepared.directory, 0o755);
  const who = subordinateUser(t, options);
  const rootfs = join(who.home, 'rootfs');
  // What another process has left in the environment means nothing.
  const env = { MD_UNPACK_MAPPED_BY: '1' };
  const unpack = (args: string[], stdin = prepared.stdin) =>
    run(who.command('md-unpack', ['--map', ...args]), { stdin, cwd: who.home, env });
  return { ...prepared, ...who, rootfs, unpack };
}

test('an ordinary user with subordinate ids gets the owners that root gets', { skip }, async (t) => {
  const { rootfs, home, stdin, directory, unpack } = mapped(t, image);
  const { status, stdout, stderr } = await unpack([rootfs]);
  assert.equal(stderr, '');
  assert.equal(status, 0);
  assert.equal(jsonLines(stdout)[0]?.rootfs, rootfs);
  const byRoot = join(directory, 'by-root');
  assert.equal((await md('md-unpack', [byRoot], { stdin })).status, 0);
  const expected = describeTree(byRoot);
  for (const file of expected.values()) file.owner = outside(file.owner);
  assert.deepEqual(compareTrees(describeTree(rootfs), expected), []);
  assert.equal(describeTree(rootfs).get('users')?.owner, outside('1000:50'));
  assert.deepEqual(readdirSync(home).sort(), ['rootfs', 'rootfs.json']);
});

test('an ordinary user with subordinate ids is told how to have owners', { skip }, async (t) => {
  const { home, command, rootfs, stdin } = mapped(t, image);
  const { status, stderr } = await run(command('md-unpack', [rootfs]), { stdin, cwd: home });
  const record = `${rootfs}.unset.jsonl`;
  assert.equal(
    stderr,
    `md-unpack: not permitted, so left out: 10 owners (--map --force sets them); ${record} lists them\n`,
  );
  assert.equal(status, 0);
});

test('what even the namespace cannot have is on record: devices, and ids that are not in it', { skip }, async (t) => {
  const xattrs = { 'security.capability': Buffer.from('0100000200200000000000000000000000000000', 'hex') };
  const { rootfs, unpack } = mapped(t, [
    [
      { name: 'null', type: 'char', major: 1, minor: 3, mode: 0o666 },
      { name: 'far', data: 'x', uid: 70_000 },
      { name: 'ping', data: 'x', uid: 1, xattrs },
    ],
  ]);
  const { status, stderr } = await unpack([rootfs]);
  assert.equal(status, 0, stderr);
  assert.match(stderr, /^md-unpack: not permitted, so left out: 1 owner, 1 device; .*\n$/);
  assert.deepEqual(jsonLines(readFileSync(`${rootfs}.unset.jsonl`, 'utf8')), [
    { path: 'far', uid: 70_000, gid: 0 },
    { path: 'null', uid: 0, gid: 0, mode: 0o666, device: { type: 'char', major: 1, minor: 3 } },
  ]);
});

test('a directory whose owner cannot be had does not stay with the one of an earlier layer', { skip }, async (t) => {
  const directory = (uid: number): TarEntry => ({ name: 'd/', type: 'directory', uid });
  const { rootfs, unpack } = mapped(t, [[directory(7)], [directory(70_000)]]);
  assert.equal((await unpack([rootfs])).status, 0);
  assert.equal(describeTree(rootfs).get('d')?.owner, outside('0:0'));
  assert.deepEqual(jsonLines(readFileSync(`${rootfs}.unset.jsonl`, 'utf8')), [{ path: 'd', uid: 70_000, gid: 0 }]);
});

/**
 * An access control list by which its owner, and users or groups by their ids, read and write: linux/posix_acl_xattr.h.
 */
function acl(...named: [tag: 'user' | 'group', id: number][]): Buffer {
  const none = 0xffffffff;
  const of = (tag: 'user' | 'group') => named.filter(([it]) => it === tag).map(([, id]): number[] => [tags[tag], id]);
  const entries = [[0x01, none], ...of('user'), [0x04, none], ...of('group'), [0x10, none], [0x20, none]];
  const bytes = Buffer.alloc(4 + 8 * entries.length);
  bytes.writeUInt32LE(2);
  for (const [i, [tag, id]] of entries.entries()) {
    bytes.writeUInt16LE(tag!, 4 + 8 * i);
    bytes.writeUInt16LE(6, 6 + 8 * i);
    bytes.writeUInt32LE(id!, 8 + 8 * i);
  }
  return bytes;
}
const tags = { user: 0x02, group: 0x08 };

/** Version 3, of the user namespace whose root is `rootid`: linux/capability.h. */
function capability(rootid: number): Buffer {
  const bytes = Buffer.from('010000030020000000000000000000000000000000000000', 'hex');
  bytes.writeUInt32LE(rootid, 20);
  return bytes;
}

test('attributes that name ids which are not in the namespace are on record, the others are set', {
  skip: skip || needs('getfattr'),
}, async (t) => {
  const access = (value: Buffer) => ({ xattrs: { 'system.posix_acl_access': value } });
  const far = 70_000;
  const { rootfs, unpack } = mapped(t, [
    [
      { name: 'near', data: 'x', mode: 0o666, ...access(acl(['user', 5], ['group', 6])) },
      { name: 'far', data: 'x', mode: 0o640, ...access(acl(['user', 5], ['user', far])) },
      { name: 'd/', type: 'directory', xattrs: { 'system.posix_acl_default': acl(['group', far]), 'trusted.a': 'b' } },
      { name: 'ours', data: 'x', xattrs: { 'security.capability': capability(0) } },
      { name: 'theirs', data: 'x', xattrs: { 'security.capability': capability(far), 'user.a': 'b' } },
    ],
  ]);
  const { status, stderr } = await unpack([rootfs]);
  assert.equal(status, 0, stderr);
  assert.match(stderr, /^md-unpack: not permitted, so left out: 3 sets of extended attributes; .*\n$/);
  assert.deepEqual(jsonLines(readFileSync(`${rootfs}.unset.jsonl`, 'utf8')), [
    { path: 'd', xattrs: { 'system.posix_acl_default': acl(['group', far]).toString('base64'), 'trusted.a': 'Yg==' } },
    { path: 'far', xattrs: { 'system.posix_acl_access': acl(['user', 5], ['user', far]).toString('base64') } },
    { path: 'theirs', xattrs: { 'security.capability': capability(far).toString('base64') } },
  ]);
  const tree = describeTree(rootfs);
  const found = ['near', 'far', 'd', 'ours', 'theirs'].map((path) => [path, tree.get(path)?.xattrs]);
  const near = acl(['user', firstId + 4], ['group', firstId + 5]).toString('hex');
  assert.deepEqual(found, [
    ['near', `system.posix_acl_access=0x${near}`],
    ['far', undefined],
    ['d', undefined],
    ['ours', `security.capability=0x${capability(user).toString('hex')}`],
    ['theirs', 'user.a=0x62'],
  ]);
  assert.equal((await unpack(['--verify', rootfs])).stdout, '');
});

test('attributes that no kernel takes are refused in the namespace as they are outside', { skip }, async (t) => {
  for (const [name, value] of [
    ['system.posix_acl_access', acl(['user', 5]).subarray(0, -2)],
    ['system.posix_acl_access', acl(['user', 5], ['user', 5]).fill(7, 4, 6)],
    ['system.posix_acl_access', acl(['group', 0xffffffff])],
    ['security.capability', Buffer.alloc(24)],
    ['security.capability', capability(70_000).fill(9, 3, 4)],
  ] as const) {
    const { rootfs, home, unpack } = mapped(t, [[{ name: 'f', data: 'x', xattrs: { [name]: value } }]]);
    const { status, stderr } = await unpack([rootfs]);
    assert.equal(status, 65, stderr);
    assert.match(stderr, new RegExp(`f: xattr ${name}: invalid argument \\(EINVAL\\)\n$`));
    assert.deepEqual(readdirSync(home), []);
  }
});

test('all ranges of the user count, one after the other, and what they have in common once', { skip }, async (t) => {
  const files = [1, 10, 11, 20, 21, 25, 26].map((uid): TarEntry => ({ name: `u${uid}`, data: 'x', uid, gid: uid }));
  const { rootfs, unpack } = mapped(t, [files], {
    ranges: [
      [firstId, 10],
      [firstId + 100, 10],
      [firstId + 5, 0],
      [firstId + 95, 20],
    ],
  });
  const { status, stderr } = await unpack([rootfs]);
  assert.equal(status, 0, stderr);
  const tree = describeTree(rootfs);
  const owners = files.map(({ name }) => tree.get(String(name))?.owner);
  const expected = [0, 9, 100, 109, 95, 99, 110].map((id) => `${firstId + id}:${firstId + id}`);
  assert.deepEqual(owners, expected);
});

test('of more ranges than the kernel has room for the first ones count, and looking at them takes no time', {
  skip,
}, async (t) => {
  const files: TarEntry[] = [{ name: 'f', data: 'x', uid: 100, gid: 100 }];
  // There is room for so many bytes, and for so many lines, which are short where the ids are small.
  for (const first of [firstId, 200]) {
    const ranges = Array.from({ length: 20_000 }, (_, n): [number, number] => [first + 2 * n, 1]);
    const { rootfs, unpack } = mapped(t, [files], { ranges });
    const { status, stderr, timedOut } = await unpack([rootfs]);
    assert.equal(timedOut, false);
    assert.equal(status, 0, stderr);
    assert.equal(describeTree(rootfs).get('f')?.owner, `${first + 198}:${first + 198}`);
  }
});

test('md-isolate --userns range sees the owners as the image has them', { skip: skip || needsBusybox }, async (t) => {
  const programs: TarEntry[] = [
    { name: 'bin/busybox', data: readFileSync(busybox), mode: 0o755 },
    ...['sh', 'stat'].map((name) => ({ name: `bin/${name}`, type: 'symlink' as const, linkname: 'busybox' })),
    ...['dev/', 'proc/', 'sys/', 'etc/', 'tmp/'].map((name) => ({ name, type: 'directory' as const, mode: 0o755 })),
  ];
  const { rootfs, command, unpack } = mapped(t, [programs, ...image]);
  assert.equal((await unpack([rootfs])).status, 0);
  const script = 'stat -c "%n %u:%g %a" roots users last d d/in/file d/in/more link pipe';
  const { stdout, stderr } = await run(command('md-isolate', ['--userns', 'range', rootfs, 'sh', '-c', script]));
  assert.equal(stderr, '');
  assert.deepEqual(stdout.trim().split('\n'), [
    'roots 0:0 644',
    'users 1000:50 4755',
    'last 65535:65535 644',
    'd 7:8 2700',
    'd/in/file 9:0 0',
    'd/in/more 33:33 644',
    'link 9:9 777',
    'pipe 9:9 644',
  ]);
});

test('--map takes a mapped tree as it is: it verifies, replaces and, with an empty layer, removes it', {
  skip,
}, async (t) => {
  const { rootfs, home, unpack } = mapped(t, image);
  assert.equal((await unpack([rootfs])).status, 0);
  const verified = await unpack(['--verify', rootfs]);
  assert.deepEqual([verified.status, verified.stdout, verified.stderr], [0, '', '']);
  const again = await unpack(['--force', rootfs]);
  assert.deepEqual([again.status, again.stderr], [0, '']);
  assert.deepEqual(readdirSync(home).sort(), ['rootfs', 'rootfs.json']);
  writeFileSync(join(home, 'empty'), '');
  const gone = await unpack(['--force', rootfs], '{"layer":{"path":"empty"}}\n');
  assert.deepEqual([gone.status, gone.stderr], [0, '']);
  assert.deepEqual(readdirSync(home).sort(), ['empty', 'rootfs']);
  assert.deepEqual(readdirSync(rootfs), []);
});

test('without --map a mapped tree cannot be replaced: the error says so before a layer comes, and what can', {
  skip,
}, async (t) => {
  const { rootfs, command, stdin, unpack } = mapped(t, image);
  assert.equal((await unpack([rootfs])).status, 0);
  const { status, stderr } = await run(command('md-unpack', ['--force', rootfs]), {
    stdin: `${stdin.split('\n')[0]}\n`,
  });
  assert.equal(status, 77);
  assert.match(
    stderr,
    /^md-unpack: .*\/rootfs: it holds directories of other users.*; what --map has unpacked, only --map removes\n$/,
  );
  assert.equal((await unpack(['--verify', rootfs])).status, 0);
  assert.equal((await unpack(['--force', rootfs])).status, 0);
  assert.deepEqual(readdirSync(join(rootfs, '..')).sort(), ['rootfs', 'rootfs.json']);
});

test('without --map a mapped tree that lets nobody look into it is not exchanged first and refused then', {
  skip,
}, async (t) => {
  const { rootfs, home, command, stdin, unpack } = mapped(t, [
    [
      { name: './', type: 'directory', uid: 7, gid: 8, mode: 0o700 },
      { name: 'd/file', data: 'x', uid: 9 },
    ],
  ]);
  assert.equal((await unpack([rootfs])).status, 0);
  const { status, stderr } = await run(command('md-unpack', ['--force', rootfs]), { stdin });
  assert.equal(status, 77);
  assert.match(
    stderr,
    /^md-unpack: .*\/rootfs: it holds directories of other users.*; what --map has unpacked, only --map removes\n$/,
  );
  assert.equal(describeTree(rootfs).get('.')?.owner, outside('7:8'));
  assert.deepEqual(readdirSync(home).sort(), ['rootfs', 'rootfs.json']);
});

test('without --map a mapped tree of which all can be removed is replaced', { skip }, async (t) => {
  const { rootfs, command, unpack, stdin } = mapped(t, [
    [
      { name: 'd/empty/', type: 'directory', uid: 7, gid: 8 },
      { name: 'open/', type: 'directory', uid: 7, gid: 8, mode: 0o777 },
      { name: 'open/file', data: 'x', uid: 9, mode: 0 },
      { name: 'own/', type: 'directory', mode: 0 },
      { name: 'own/file', data: 'x', uid: 9 },
    ],
  ]);
  assert.equal((await unpack([rootfs])).status, 0);
  const { status, stderr } = await run(command('md-unpack', ['--force', rootfs]), { stdin });
  assert.equal(status, 0, stderr);
  assert.deepEqual(readdirSync(join(rootfs, '..')).sort(), ['rootfs', 'rootfs.json', 'rootfs.unset.jsonl']);
});

test('a failure in the namespace is told once, with its status, and leaves nothing', { skip }, async (t) => {
  const { rootfs, home, stdin, unpack } = mapped(t, image);
  const cut = stdin.trimEnd().split('\n').slice(0, -1).join('\n');
  const { status, stdout, stderr } = await unpack([rootfs], `${cut}\n`);
  assert.equal(status, 65);
  assert.match(stderr, /^md-unpack: stdin: it ended after 1 of 2 layers[^\n]*\n$/);
  assert.equal(stdout.trim().split('\n').length, 1);
  const passedOn = await unpack([rootfs], '{"error":{"command":"md-token","code":69,"message":"no"}}\n');
  assert.deepEqual([passedOn.status, passedOn.stderr], [69, '']);
  assert.deepEqual(readdirSync(home), []);
});

for (const signal of ['SIGTERM', 'SIGINT', 'SIGKILL'] as const) {
  test(`${signal} to md-unpack --map leaves nothing, neither a file nor a process`, { skip }, async (t) => {
    const { rootfs, home, stdin, command } = mapped(t, image);
    // A FIFO that stays open after the death of its reader: the end of stdin is not what ends the child.
    const fifo = join(home, '../fifo');
    execFileSync('mkfifo', [fifo]);
    const fd = openSync(fifo, 'r+');
    afterwards(t, () => closeSync(fd));
    const [program = '', ...args] = command('md-unpack', ['--map', rootfs]);
    const child = spawn(program, args, { env: cleanEnv(), stdio: [fd, 'ignore', 'ignore'] });
    killAfterwards(t, child);
    const ended = new Promise((resolve) => child.once('exit', (code, by) => resolve(by ?? code)));
    // Not the last layer, so that it waits.
    writeSync(fd, stdin.trimEnd().split('\n').slice(0, -1).join('\n').concat('\n'));
    await until(() => readdirSync(home).some((name) => existsSync(join(home, name, 'again'))));
    const [inner] = childrenOf(child.pid!);
    child.kill(signal);
    assert.equal(await ended, { SIGTERM: 143, SIGINT: 130, SIGKILL: 'SIGKILL' }[signal]);
    // Only the kernel tells the child of a death by SIGKILL, and nobody waits for it then.
    if (signal === 'SIGKILL') await until(() => !isRunning(inner!));
    assert.ok(!isRunning(inner!));
    assert.deepEqual(readdirSync(home), []);
  });
}

test('what a killed process left in the namespace, the next run removes', { skip }, async (t) => {
  const { rootfs, home, unpack } = mapped(t, image);
  assert.equal((await unpack([rootfs])).status, 0);
  await run(['mv', rootfs, join(home, '.rootfs.md-unpack-4194305')]);
  assert.equal((await unpack([rootfs])).status, 0);
  assert.deepEqual(readdirSync(home).sort(), ['rootfs', 'rootfs.json']);
});

test('without subordinate ids --map fails with the cause, and a remedy that takes no ids of others', {
  skip,
}, async (t) => {
  const { rootfs, home, unpack } = mapped(t, image, { ranges: [] });
  const { status, stdout, stderr } = await unpack([rootfs]);
  assert.equal(status, 77);
  assert.equal(
    stderr,
    'md-unpack: --map: /etc/subuid and /etc/subgid grant md-test-user no ids; ' +
      'sudo usermod --add-subuids 165536-231071 --add-subgids 165536-231071 md-test-user\n',
  );
  assert.match(stdout, /^\{"error":\{"command":"md-unpack","code":77,/);
  assert.deepEqual(readdirSync(home), []);
  // Those of others are in any order.
  const others = mapped(t, image, { lines: ['more:231072:65536', 'less:165536:65536'] });
  assert.match(
    (await others.unpack([others.rootfs])).stderr,
    /--add-subuids 296608-362143 --add-subgids 296608-362143 /,
  );
});

test('without newuidmap --map fails and names the package', { skip }, async (t) => {
  const { rootfs, stdin, command } = mapped(t, image);
  const empty = join(rootfs, '../empty');
  mkdirSync(empty);
  const [env, ...argv] = ['env', `PATH=${empty}`, ...command('md-unpack', ['--map', rootfs]).slice(-4)];
  const words = command('md-unpack', []).slice(0, -2);
  const { status, stderr } = await run([...words, env!, ...argv], { stdin });
  assert.equal(status, 77);
  assert.equal(stderr, 'md-unpack: --map: the program newuidmap is not installed; it is in the package uidmap\n');
});

test('where user namespaces are forbidden --map says what forbids them', {
  skip: skip || needs('unshare'),
}, async (t) => {
  const { rootfs, home, stdin, directory } = mapped(t, image);
  const grants = join(directory, 'grants');
  // Among them the one id that there is here.
  writeFileSync(grants, 'root:0:65535\n');
  chownSync(home, 0, 0);
  // Root of a namespace, whose own limit does not concern the host.
  const script = [
    'echo 0 > /proc/sys/user/max_user_namespaces || exit',
    'for file in subuid subgid; do mount --bind "$1" /etc/$file || exit; done',
    'exec md-unpack --map "$2"',
  ].join('\n');
  const { status, stderr } = await run(
    ['unshare', '--user', '--map-root-user', '--mount', 'sh', '-c', script, 'sh', grants, rootfs],
    { stdin },
  );
  assert.equal(status, 77);
  assert.match(
    stderr,
    /^md-unpack: --map: clone\(CLONE_NEWUSER\|SIGCHLD\): .*; user\.max_user_namespaces is 0 on this host: .*\n$/,
  );
});

test('a tree of the store that was unpacked without --map is said to lack owners, until --force', {
  skip,
}, async (t) => {
  // A device that is left out lacks more than an owner, and gets none by --map.
  const device: TarEntry = { name: 'null', type: 'char', major: 1, minor: 3 };
  const { home, command, stdin, keepIn } = mapped(t, [...image, [device]]);
  const env = { MD_HOME: join(home, 'store') };
  keepIn(env.MD_HOME, user);
  const unpack = (...args: string[]) => run(command('md-unpack', ['--path', ...args]), { stdin, env });
  const tree = (await unpack()).stdout.trim();
  const said = `${tree} was there already, without the owners that ${tree}.unset.jsonl lists; --map --force sets them`;
  assert.equal((await unpack('--map')).stderr, `md-unpack: ${said}\n`);
  rmSync(`${tree}.unset.jsonl`);
  const unread = await unpack('--map');
  assert.equal(unread.status, 0, unread.stderr);
  assert.match(unread.stderr, /^md-unpack: .* and may lack owners: .*\(ENOENT\); --map --force sets them\n$/);
  assert.match((await unpack('--map', '--force')).stderr, /^md-unpack: not permitted, so left out: 1 device; .*\n$/);
  assert.equal((await unpack('--map')).stderr, '');
});

test('without HOME the store is in the home directory of the caller, and not of root', { skip }, async (t) => {
  const { home, stdin, command, keepIn } = mapped(t, image);
  keepIn(join(home, '.local/share/md'), user);
  const env = { HOME: undefined, MD_HOME: undefined, XDG_DATA_HOME: undefined };
  const { status, stdout, stderr } = await run(command('md-unpack', ['--map', '--path']), { stdin, env });
  assert.equal(status, 0, stderr);
  assert.equal(dirname(stdout.trim()), join(home, '.local/share/md/rootfs'));
});

test('root may map as well, to the ids that /etc/subuid gives root', { skip }, async (t) => {
  const { rootfs, home, directory, stdin } = mapped(t, image);
  const grants = join(directory, 'grants');
  writeFileSync(grants, 'root:1600000000:65536\n');
  const script = 'for file in subuid subgid; do mount --bind "$1" /etc/$file || exit; done; exec md-unpack --map "$2"';
  chownSync(home, 0, 0);
  const { status, stderr } = await run(
    ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', script, 'sh', grants, rootfs],
    { stdin },
  );
  assert.equal(status, 0, stderr);
  const tree = describeTree(rootfs);
  assert.deepEqual(
    ['roots', 'users'].map((path) => tree.get(path)?.owner),
    ['0:0', '1600000999:1600000049'],
  );
});

test('-x shows how the namespace is made', { skip }, async (t) => {
  const { rootfs, unpack } = mapped(t, image);
  const { stderr } = await unpack(['-x', rootfs]);
  assert.match(stderr, /^clone\(CLONE_NEWUSER\|SIGCHLD\) = \d+$/m);
  assert.match(stderr, /^\[child\] setresuid\(0, 0, 0\) = 0$/m);
  assert.match(stderr, /^\[child\] execve\(.* = 0$/m);
  assert.match(stderr, /^fchown(at)?\(.*1000, 50.* = 0$/m);
});
