/** md-unpack as an ordinary user. The tests run as root and give that up, so that they run the same for everyone. */
import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { injecting } from '../support/injected-call.js';
import { jsonLines, md, needs, needsRoot, run, scratch } from '../support/run.js';
import { describeTree } from '../support/tree.js';
import { prepare, type Stack } from '../support/unpacking.js';

const user = { uid: 65534, gid: 65534 };

async function unpackAsUser(t: TestContext, stack: Stack) {
  const prepared = prepare(t, stack);
  chmodSync(prepared.directory, 0o755);
  chownSync(prepared.directory, user.uid, user.gid);
  const result = await md('md-unpack', [prepared.rootfs], { stdin: prepared.stdin, ...user });
  return { ...prepared, result };
}

test('everything lands owned by the user, and the owners are on record', { skip: needsRoot }, async (t) => {
  const { rootfs, result } = await unpackAsUser(t, [
    [
      { name: './', type: 'directory', uid: 2, gid: 3 },
      { name: 'roots', data: 'x' },
      { name: 'mine', data: 'x', uid: 1000, gid: 50, mode: 0o4755 },
      { name: 'd/', type: 'directory', uid: 7, gid: 8, mode: 0o2755 },
      { name: 'link', type: 'symlink', linkname: 'x', uid: 9, gid: 9 },
      { name: 'again', data: 'x', uid: 1 },
      { name: 'gone', data: 'x', uid: 1 },
      { name: 'hard', type: 'link', linkname: 'mine' },
      { name: 'back/', type: 'directory', uid: 7 },
    ],
    [{ name: 'again', data: 'y' }, { name: '.wh.gone' }, { name: 'back/', type: 'directory' }],
  ]);
  assert.equal(result.status, 0, result.stderr);
  for (const [path, { owner }] of describeTree(rootfs)) assert.equal(owner, '65534:65534', path);
  assert.equal(describeTree(rootfs).get('mine')?.mode, '4755');
  assert.equal(describeTree(rootfs).get('d')?.mode, '2755');
  const record = `${rootfs}.unset.jsonl`;
  assert.deepEqual(jsonLines(readFileSync(record, 'utf8')), [
    { path: '.', uid: 2, gid: 3 },
    { path: 'd', uid: 7, gid: 8 },
    { path: 'hard', uid: 1000, gid: 50 },
    { path: 'link', uid: 9, gid: 9 },
    { path: 'mine', uid: 1000, gid: 50 },
  ]);
  assert.equal(jsonLines(result.stdout)[0]?.unset, record);
  // As with tar nothing is said of it, since nothing would help.
  assert.equal(result.stderr, '');
});

test('an owner is on record for the path that a file has, where a symlink took the place of its directory', {
  skip: needsRoot,
}, async (t) => {
  const { rootfs, result } = await unpackAsUser(t, [
    [
      { name: 'a/', type: 'directory' },
      { name: 'b/', type: 'directory' },
    ],
    [{ name: 'a/y' }, { name: 'a', type: 'symlink', linkname: 'b' }, { name: 'a/x', uid: 7, gid: 7 }],
  ]);
  assert.equal(result.status, 0, result.stderr);
  assert.deepEqual(jsonLines(readFileSync(`${rootfs}.unset.jsonl`, 'utf8')), [{ path: 'b/x', uid: 7, gid: 7 }]);
});

test('a document names the record of a single thing as well, and comes into its place after it', {
  skip: needsRoot || needs('strace'),
}, async (t) => {
  const { directory, rootfs, stdin } = prepare(t, [[{ name: 'f', data: 'x', uid: 7 }]]);
  chmodSync(directory, 0o777);
  const record = `${rootfs}.unset.jsonl`;
  const killed = [...injecting('renameat2:signal=SIGKILL', 'rootfs.json'), 'md-unpack', rootfs];
  await run(killed, { stdin, ...user });
  assert.deepEqual([existsSync(record), existsSync(`${rootfs}.json`)], [true, false]);
  const { stdout } = await md('md-unpack', ['--force', rootfs], { stdin, ...user });
  assert.equal(jsonLines(stdout)[0]?.unset, record);
});

test('an owner who is the user is not on record, in later layers neither', { skip: needsRoot }, async (t) => {
  const mine = { name: 'd/', type: 'directory', ...user };
  const { rootfs, result } = await unpackAsUser(t, [[{ ...mine, name: './' }, mine], [mine]]);
  assert.deepEqual([result.status, result.stderr], [0, '']);
  assert.equal(existsSync(`${rootfs}.unset.jsonl`), false);
});

test('devices are left out and listed, FIFOs are made', { skip: needsRoot }, async (t) => {
  const { rootfs, stdin, result } = await unpackAsUser(t, [
    [
      { name: 'null', type: 'char', major: 1, minor: 3, mode: 0o666 },
      { name: 'pipe', type: 'fifo' },
      { name: 'link-to-null', type: 'link', linkname: 'null' },
      { name: Buffer.from('\xe9', 'latin1'), type: 'char', major: 1, minor: 3, mode: 0o666 },
    ],
  ]);
  assert.equal(result.status, 0, result.stderr);
  assert.deepEqual(readdirSync(rootfs), ['pipe']);
  const device = { uid: 0, gid: 0, mode: 0o666, device: { type: 'char', major: 1, minor: 3 } };
  assert.deepEqual(jsonLines(readFileSync(`${rootfs}.unset.jsonl`, 'utf8')), [
    { path: 'link-to-null', ...device },
    { path: 'null', ...device },
    { path: '\\xe9', pathBase64: '6Q==', ...device },
  ]);
  assert.match(result.stderr, /: not permitted, so left out: 3 devices; /);
  const part = await md('md-unpack', ['--force', '--only', 'null', rootfs], { stdin, ...user });
  assert.equal(part.status, 0, part.stderr);
});

test('a device that later layers hide or replace is not listed', { skip: needsRoot }, async (t) => {
  const device = (name: string) => ({ name, type: 'char', major: 1, minor: 3 });
  const { rootfs, result } = await unpackAsUser(t, [
    [
      device('a'),
      device('d/b'),
      device('c'),
      device('e'),
      device('f'),
      device('g/g'),
      device('h/i/h'),
      device('k/k'),
      device('l'),
    ],
    [
      { name: '.wh.a' },
      { name: '.wh.d' },
      { name: 'c', data: 'x' },
      // Made into a directory, emptied, replaced and made again, replaced by a symlink to a directory.
      { name: 'f/x', data: 'x' },
      { name: 'g/.wh..wh..opq' },
      { name: 'h', data: 'x' },
      { name: 'h/i/x', data: 'x' },
      { name: 'k', type: 'symlink', linkname: '.' },
      { name: 'l', data: 'x', xattrs: { 'user.a': 'b' } },
    ],
  ]);
  assert.equal(result.status, 0, result.stderr);
  assert.deepEqual(
    jsonLines(readFileSync(`${rootfs}.unset.jsonl`, 'utf8')).map(({ path }) => path),
    ['e'],
  );
});

test('attributes that need a privilege are left out and listed, others are set', { skip: needsRoot }, async (t) => {
  const xattrs = {
    'security.capability': Buffer.from('0100000200200000000000000000000000000000', 'hex'),
    'user.a': 'b',
  };
  const { rootfs, result } = await unpackAsUser(t, [[{ name: 'ping', data: 'x', xattrs }]]);
  assert.equal(result.status, 0, result.stderr);
  assert.match(describeTree(rootfs).get('ping')?.xattrs ?? '', /^user.a=0x62$/);
  const value = xattrs['security.capability'].toString('base64');
  assert.deepEqual(jsonLines(readFileSync(`${rootfs}.unset.jsonl`, 'utf8')), [
    { path: 'ping', xattrs: { 'security.capability': value } },
  ]);
});

test('attributes of files and directories that their owner may not write to are set, access control lists too', {
  skip: needsRoot || needs('getfattr'),
}, async (t) => {
  // Owner r-x, group r-x, others r-x, and user 5 rwx within a mask of r-x.
  const acl = '0200000001000500ffffffff020007000500000004000500ffffffff10000500ffffffff20000500ffffffff';
  const xattrs = { 'user.a': 'v' };
  const { rootfs, result } = await unpackAsUser(t, [
    [
      { name: 'ro', data: 'x', mode: 0o444, xattrs },
      { name: 'none', data: 'x', mode: 0, xattrs },
      { name: 'su', data: 'x', mode: 0o4555, xattrs },
      { name: 'd/', type: 'directory', mode: 0o555, xattrs },
      { name: 'e/', type: 'directory', mode: 0o555, xattrs: { 'system.posix_acl_access': Buffer.from(acl, 'hex') } },
      { name: 'e/f', data: 'x' },
    ],
  ]);
  assert.deepEqual([result.status, result.stderr], [0, '']);
  const tree = describeTree(rootfs);
  const found = ['ro', 'none', 'su', 'd', 'e'].map((path) => [path, tree.get(path)?.mode, tree.get(path)?.xattrs]);
  assert.deepEqual(found, [
    ['ro', '0444', 'user.a=0x76'],
    ['none', '0000', 'user.a=0x76'],
    ['su', '4555', 'user.a=0x76'],
    ['d', '0555', 'user.a=0x76'],
    ['e', '0555', `system.posix_acl_access=0x${acl}`],
  ]);
});

test('directories that their owner may not write, or not even enter, are filled, changed and left so', {
  skip: needsRoot,
}, async (t) => {
  const { rootfs, directory, stdin, result } = await unpackAsUser(t, [
    [
      { name: 'd/', type: 'directory', mode: 0o555 },
      { name: 'd/none/', type: 'directory', mode: 0 },
      { name: 'd/none/f', data: 'x', mode: 0 },
      { name: 'd/none/sub/', type: 'directory', mode: 0 },
      { name: 'd/old', data: 'x' },
    ],
    [{ name: 'd/none/g', data: 'y' }, { name: 'd/.wh.old' }],
  ]);
  assert.equal(result.status, 0, result.stderr);
  const described = describeTree(rootfs);
  assert.deepEqual([...described.keys()], ['.', 'd', 'd/none', 'd/none/f', 'd/none/g', 'd/none/sub']);
  const modes = ['d', 'd/none', 'd/none/sub'].map((path) => described.get(path)?.mode);
  assert.deepEqual(modes, ['0555', '0000', '0000']);
  const again = await md('md-unpack', ['--force', rootfs], { stdin, ...user });
  assert.equal(again.status, 0, again.stderr);
  assert.deepEqual(readdirSync(directory).sort(), ['layers', 'rootfs', 'rootfs.json']);
});

test('--verify finds access control lists as they are in a tree that nobody has changed', {
  skip: needsRoot,
}, async (t) => {
  // Owner rw-, group r--, others r--, and user 5 rwx within a mask of r--.
  const acl = '0200000001000600ffffffff020007000500000004000400ffffffff10000400ffffffff20000400ffffffff';
  const xattrs = { 'system.posix_acl_access': Buffer.from(acl, 'hex') };
  const { rootfs, stdin } = await unpackAsUser(t, [[{ name: 'f', data: 'x', mode: 0o644, xattrs }]]);
  const { status, stdout } = await md('md-unpack', ['--verify', rootfs], { stdin, ...user });
  assert.deepEqual([status, stdout], [0, '']);
});

test('a tree with directories that their owner may read and not search is replaced', { skip: needsRoot }, async (t) => {
  const { rootfs, stdin } = await unpackAsUser(t, [
    [
      { name: 'd/', type: 'directory', mode: 0o444 },
      { name: 'd/e/f', data: 'x' },
    ],
  ]);
  const { status, stderr } = await md('md-unpack', ['--force', rootfs], { stdin, ...user });
  assert.deepEqual([status, stderr], [0, '']);
});

test('a tree in which another user has something is not replaced, and stays whole, unless that is an empty directory or open to all', {
  skip: needsRoot,
}, async (t) => {
  const { directory, rootfs, stdin } = prepare(t, [[{ name: 'f', data: 'x' }]]);
  chmodSync(directory, 0o777);
  const theirs = join(rootfs, 'theirs');
  const force = () => md('md-unpack', ['--force', rootfs], { stdin, ...user });
  for (const [mode, content, may] of [
    [0o755, true, false],
    [0o666, true, false],
    [0o700, true, false],
    [0o777, true, true],
    [0o755, false, true],
  ] as const) {
    assert.equal((await force()).status, 0);
    mkdirSync(theirs);
    if (content) writeFileSync(join(theirs, 'file'), '');
    chmodSync(theirs, mode);
    const before = describeTree(rootfs);
    const { status, stderr } = await force();
    assert.equal(status, may ? 0 : 77, `${mode.toString(8)} ${stderr}`);
    if (may) continue;
    assert.match(stderr, /: it holds directories of other users, which you may not empty; /);
    assert.deepEqual(describeTree(rootfs), before);
    rmSync(theirs, { recursive: true });
  }
});

test('a tree is looked through for what others have in it, and replaced, however deep it is', {
  skip: needsRoot,
}, async (t) => {
  const { directory, rootfs, stdin } = prepare(t, [[{ name: 'f', data: 'x' }]]);
  chmodSync(directory, 0o777);
  assert.equal((await md('md-unpack', [rootfs], { stdin, ...user })).status, 0);
  const deeper = `for (let i = 0; i < 4_000; i++) { fs.mkdirSync('d'); process.chdir('d'); }`;
  await run([process.execPath, '-e', deeper], { ...user, cwd: rootfs });
  const { status, stderr } = await md('md-unpack', ['--force', rootfs], { stdin, ...user });
  assert.deepEqual([status, stderr, readdirSync(rootfs)], [0, '', ['f']]);
});

test('the directory around what is removed keeps its mode, though its owner could change that', {
  skip: needsRoot,
}, async (t) => {
  const directory = scratch(t);
  writeFileSync(join(directory, 'file'), '');
  chownSync(directory, user.uid, user.gid);
  chmodSync(directory, 0o555);
  const lib = join(import.meta.dirname, '../../lib/unpack/tree');
  const script = `
    const { openSync } = await import('node:fs');
    const { removeTree } = await import('${lib}/remove-tree.js');
    try { removeTree(openSync('${directory}', 'r'), 'file'); } catch ({ code }) { console.log(code); }`;
  const { stdout } = await run([process.execPath, '--input-type=module', '-e', script], user);
  assert.equal(stdout, 'EACCES\n');
  assert.equal(statSync(directory).mode & 0o7777, 0o555);
});

test('--verify names what its user may not read, and compares the rest', { skip: needsRoot }, async (t) => {
  const { rootfs, stdin, result } = await unpackAsUser(t, [
    [
      { name: 'closed/', type: 'directory', mode: 0 },
      { name: 'closed/f', data: 'x', uid: 5 },
      { name: 'list/', type: 'directory', mode: 0o444 },
      { name: 'list/f', data: 'x' },
      { name: 'open', data: 'x' },
      { name: 'shadow', data: 'x', mode: 0 },
      { name: 'twin', type: 'link', linkname: 'shadow' },
    ],
  ]);
  assert.equal(result.status, 0, result.stderr);
  const differences = async () => {
    const { status, stdout, stderr } = await md('md-unpack', ['--verify', rootfs], { stdin, ...user });
    assert.deepEqual([status, stderr], [65, '']);
    return jsonLines(stdout).map(({ path, difference }) => `${path} ${difference}`);
  };
  assert.deepEqual(await differences(), [
    'closed unreadable',
    'list unreadable',
    'shadow unreadable',
    'twin unreadable',
  ]);
  chmodSync(join(rootfs, 'closed'), 0o700);
  chmodSync(join(rootfs, 'shadow'), 0o400);
  assert.deepEqual(await differences(), ['closed mode', 'list unreadable', 'shadow mode', 'twin mode']);
});

test('a record of an earlier tree does not stay beside a new one that needs none', { skip: needsRoot }, async (t) => {
  const { rootfs, directory } = await unpackAsUser(t, [[{ name: 'f', data: 'x', uid: 5 }]]);
  assert.ok(readdirSync(directory).includes('rootfs.unset.jsonl'));
  const plain = prepare(t, [[{ name: 'f', data: 'x' }]]);
  chmodSync(plain.directory, 0o755);
  const result = await md('md-unpack', ['--force', join(rootfs)], { stdin: plain.stdin, ...user });
  assert.equal(result.status, 0, result.stderr);
  assert.deepEqual(readdirSync(directory).sort(), ['layers', 'rootfs', 'rootfs.json']);
});

test('a directory that the user may not write to is one line, with status 77', { skip: needsRoot }, async (t) => {
  const { directory, rootfs, stdin } = prepare(t, [[{ name: 'f', data: 'x' }]]);
  chmodSync(directory, 0o755);
  const { status, stderr } = await md('md-unpack', [rootfs], { stdin, ...user });
  assert.equal(status, 77);
  assert.equal(stderr, `md-unpack: ${rootfs}: permission denied (EACCES)\n`);
  assert.deepEqual(readdirSync(directory), ['layers']);
});

test("a store of another user's, who lets nobody look into it, keeps nobody from unpacking", {
  skip: needsRoot,
}, async (t) => {
  const { directory, rootfs, stdin } = prepare(t, [[{ name: 'f', data: 'x' }]]);
  chmodSync(directory, 0o755);
  chownSync(directory, user.uid, user.gid);
  const home = join(directory, 'home');
  mkdirSync(join(home, 'partial'), { recursive: true });
  chmodSync(join(home, 'partial'), 0o700);
  const { status, stderr } = await md('md-unpack', [rootfs], { stdin, ...user, env: { MD_HOME: home } });
  assert.equal(status, 0, stderr);
  assert.deepEqual(readdirSync(rootfs), ['f']);
});

test('a tree whose document cannot be put in its place is taken back, and the old one stays', {
  skip: needsRoot,
}, async (t) => {
  const { directory, rootfs, stdin } = prepare(t, [[{ name: 'new' }]]);
  // Where nobody may replace what is another's: root's document.
  chmodSync(directory, 0o1777);
  writeFileSync(`${rootfs}.json`, JSON.stringify({ image: 'x', config: {}, rootfs }));
  for (const old of [false, true]) {
    if (old) mkdirSync(join(rootfs, 'old'), { recursive: true });
    if (old) chownSync(rootfs, user.uid, user.gid);
    const { status, stderr } = await md('md-unpack', ['--force', rootfs], { stdin, ...user });
    assert.equal(status, 77, stderr);
    assert.deepEqual(readdirSync(directory).sort(), ['layers', ...(old ? ['rootfs'] : []), 'rootfs.json']);
    if (old) assert.deepEqual(readdirSync(rootfs), ['old']);
  }
});

test('a record that is not kept, since the tree cannot be put in its place, is not told of', {
  skip: needsRoot,
}, async (t) => {
  const { directory, rootfs, stdin } = prepare(t, [[{ name: 'f', data: 'x', uid: 5 }]]);
  // Another user's directory, where everybody may make things, is not to be replaced.
  mkdirSync(rootfs);
  chmodSync(directory, 0o1777);
  const { status, stderr } = await md('md-unpack', [rootfs], { stdin, ...user });
  assert.deepEqual([status, stderr], [77, `md-unpack: ${rootfs}: operation not permitted (EPERM)\n`]);
  assert.deepEqual(readdirSync(directory).sort(), ['layers', 'rootfs']);
});
