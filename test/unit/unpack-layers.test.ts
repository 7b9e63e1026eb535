/** The meaning of layers: whiteouts, types that change, links, the root, attributes, devices. */
import assert from 'node:assert/strict';
import { lstatSync, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ENAMETOOLONG } from '../../lib/sys/syscalls/errno.js';
import { SyscallError } from '../../lib/sys/syscalls/syscall.js';
import { unreachable } from '../../lib/unpack/tree/rooted.js';
import { failure } from '../support/failure.js';
import { afterwards, needs, needsRoot, run } from '../support/run.js';
import type { TarEntry } from '../support/tar.js';
import { describeTree } from '../support/tree.js';
import { type Stack, unpack } from '../support/unpacking.js';

const dir = (name: string, more: Partial<TarEntry> = {}): TarEntry => ({ name, type: 'directory', ...more });
const file = (name: string, data: string | Buffer = name, more: Partial<TarEntry> = {}): TarEntry => ({
  name,
  data,
  ...more,
});
const symlink = (name: string, linkname: string): TarEntry => ({ name, type: 'symlink', linkname });
const link = (name: string, linkname: string, more: Partial<TarEntry> = {}): TarEntry => ({
  name,
  type: 'link',
  linkname,
  ...more,
});
const whiteout = (name: string): TarEntry => ({ name, data: '' });

/** The paths of a tree, directories with a slash, without the root. */
function paths(rootfs: string): string[] {
  return [...describeTree(rootfs)]
    .filter(([path]) => path !== '.')
    .map(([path, { type }]) => (type === 'directory' ? `${path}/` : path));
}

async function tree(t: TestContext, stack: Stack): Promise<string> {
  return (await unpack(t, stack)).rootfs;
}

async function fails(t: TestContext, stack: Stack, why: RegExp): Promise<void> {
  await assert.rejects(unpack(t, stack), failure(65, why));
}

const read = (rootfs: string, path: string) => readFileSync(join(rootfs, path), 'latin1');
const modeOf = (path: string) => lstatSync(path).mode & 0o7777;

// Whiteouts touch lower layers only

const lowerABC = [dir('a/'), dir('a/b/'), dir('a/b/c/'), file('a/old'), file('a/b/old'), file('a/b/c/bar')];

test('an opaque marker after a file of its own layer keeps that file and the directories above it', async (t) => {
  const rootfs = await tree(t, [lowerABC, [file('a/b/c/foo'), whiteout('a/.wh..wh..opq')]]);
  assert.deepEqual(paths(rootfs), ['a/', 'a/b/', 'a/b/c/', 'a/b/c/foo']);
});

test('an opaque marker before the files of its own layer hides the same', async (t) => {
  const rootfs = await tree(t, [lowerABC, [whiteout('a/.wh..wh..opq'), file('a/b/c/foo')]]);
  assert.deepEqual(paths(rootfs), ['a/', 'a/b/', 'a/b/c/', 'a/b/c/foo']);
});

test('a whiteout after the file of the same name in its own layer keeps the new file', async (t) => {
  const rootfs = await tree(t, [[file('foo', 'old')], [file('foo', 'new'), whiteout('.wh.foo')]]);
  assert.equal(read(rootfs, 'foo'), 'new');
});

test('a whiteout before the file of the same name in its own layer keeps the new file', async (t) => {
  const rootfs = await tree(t, [[file('foo', 'old')], [whiteout('.wh.foo'), file('foo', 'new')]]);
  assert.equal(read(rootfs, 'foo'), 'new');
});

test('a whiteout of a directory after new files in it hides only what is of the layers below', async (t) => {
  const rootfs = await tree(t, [
    [dir('d/'), dir('d/sub/'), file('d/sub/old'), file('d/old')],
    [file('d/sub/new'), whiteout('.wh.d')],
  ]);
  assert.deepEqual(paths(rootfs), ['d/', 'd/sub/', 'd/sub/new']);
});

test('a file written through a symlink is known by its own name to a whiteout', async (t) => {
  const rootfs = await tree(t, [
    [dir('usr/'), dir('usr/bin/'), file('usr/bin/old'), symlink('bin', 'usr/bin')],
    [file('bin/new'), whiteout('usr/bin/.wh.new'), whiteout('usr/bin/.wh..wh..opq')],
  ]);
  assert.deepEqual(paths(rootfs), ['bin', 'usr/', 'usr/bin/', 'usr/bin/new']);
});

test('a whiteout of a directory hides everything under it', async (t) => {
  const rootfs = await tree(t, [[...lowerABC, file('z')], [whiteout('.wh.a')]]);
  assert.deepEqual(paths(rootfs), ['z']);
});

test('a layer forgets what the layer below it wrote', async (t) => {
  const rootfs = await tree(t, [[file('x')], [file('foo')], [whiteout('.wh.foo')]]);
  assert.deepEqual(paths(rootfs), ['x']);
});

test('a directory that was hidden and filled again by its own layer is kept by a second marker', async (t) => {
  const lower = [dir('d/'), dir('d/e/'), file('d/e/old'), file('d/old')];
  const marker = whiteout('d/.wh..wh..opq');
  const upper = [whiteout('d/e/.wh..wh..opq'), file('d/e/new'), marker, file('d/new'), marker, whiteout('.wh.d')];
  assert.deepEqual(paths(await tree(t, [lower, upper])), ['d/', 'd/e/', 'd/e/new', 'd/new']);
});

test('a directory that was emptied can still be hidden', async (t) => {
  assert.deepEqual(paths(await tree(t, [[file('a/old')], [whiteout('a/.wh..wh..opq'), whiteout('.wh.a')]])), []);
});

test('what one layer has hidden is hidden again in the next, where it has come back', async (t) => {
  const lower = [dir('d/'), file('d/old')];
  const rootfs = await tree(t, [
    lower,
    [whiteout('d/.wh..wh..opq')],
    lower,
    [whiteout('d/.wh..wh..opq'), file('d/new')],
  ]);
  assert.deepEqual(paths(rootfs), ['d/', 'd/new']);
});

// Names of whiteouts

test('a whiteout without a name is an error', (t) =>
  fails(t, [[file('a')], [whiteout('.wh.')]], /whiteout of no name/));

for (const name of ['.wh..', '.wh...']) {
  test(`${name} does not reach the directory itself or its parent`, async (t) => {
    await fails(t, [[dir('d/'), file('d/a'), file('b')], [whiteout(`d/${name}`)]], /whiteout of no name/);
  });
}

test('only the exact name is opaque; a longer one hides a sibling', async (t) => {
  const rootfs = await tree(t, [
    [dir('d/'), file('d/keep'), file('d/.wh..opqX-is-none')],
    [whiteout('d/.wh..wh..opqX')],
  ]);
  assert.deepEqual(paths(rootfs), ['d/', 'd/keep']);
});

test('no whiteout lands on disk, in the base layer neither', async (t) => {
  const rootfs = await tree(t, [[file('a'), whiteout('.wh.b'), dir('d/'), whiteout('d/.wh..wh..opq')]]);
  assert.deepEqual(paths(rootfs), ['a', 'd/']);
});

test('what lies below a whiteout is an error', async (t) => {
  await fails(t, [[dir('.wh.d/'), file('.wh.d/x')]], /below a whiteout/);
  await fails(t, [[file('a/.wh..wh.plnk/1.2')]], /below a whiteout/);
});

test('what the aufs driver kept for itself is passed over', async (t) => {
  const rootfs = await tree(t, [[dir('.wh..wh.plnk/'), file('.wh..wh.plnk/1.2'), whiteout('.wh..wh.aufs'), file('a')]]);
  assert.deepEqual(paths(rootfs), ['a']);
});

test('what the aufs driver kept of files with several names is theirs, and has no name of its own', async (t) => {
  const rootfs = await tree(t, [
    [dir('.wh..wh.plnk/'), file('./.wh..wh.plnk/1.2', 'x', { mode: 0o4755 }), link('a', '.wh..wh.plnk/1.2')],
    [file('.wh..wh.plnk/1.2', 'other'), link('d/b', '/.wh..wh.plnk/1.2'), link('d/c', '.wh..wh.plnk/1.2')],
  ]);
  assert.deepEqual(paths(rootfs), ['a', 'd/', 'd/b', 'd/c']);
  assert.deepEqual(
    ['a', 'd/b', 'd/c'].map((path) => read(rootfs, path)),
    ['x', 'other', 'other'],
  );
  assert.deepEqual(
    ['a', 'd/b', 'd/c'].map((path) => statSync(join(rootfs, path)).nlink),
    [1, 2, 2],
  );
  assert.equal(modeOf(join(rootfs, 'a')), 0o4755);
});

// Whiteouts and symlinks

test('a whiteout of a symlink removes the link and not what it names', async (t) => {
  const rootfs = await tree(t, [[dir('target/'), file('target/x'), symlink('link', 'target')], [whiteout('.wh.link')]]);
  assert.deepEqual(paths(rootfs), ['target/', 'target/x']);
});

test('an opaque marker under a lower symlink does not empty what it names', async (t) => {
  const rootfs = await tree(t, [
    [dir('target/'), file('target/x'), symlink('link', '/target')],
    [whiteout('link/.wh..wh..opq')],
  ]);
  assert.deepEqual(paths(rootfs), ['link', 'target/', 'target/x']);
});

test('a whiteout of what is not there is no error', async (t) => {
  const rootfs = await tree(t, [[file('a')], [whiteout('.wh.b'), whiteout('no/such/.wh.c'), whiteout('a/.wh.d')]]);
  assert.deepEqual(paths(rootfs), ['a']);
});

// Type changes

test('a directory over a directory merges and takes the new attributes', async (t) => {
  const rootfs = await tree(t, [
    [dir('d/', { mode: 0o700, mtime: 1000 }), file('d/x')],
    [dir('d/', { mode: 0o1777, mtime: 2000 })],
  ]);
  assert.deepEqual(paths(rootfs), ['d/', 'd/x']);
  assert.equal(modeOf(join(rootfs, 'd')), 0o1777);
  assert.equal(statSync(join(rootfs, 'd')).mtimeMs, 2_000_000);
});

const kinds: Record<string, TarEntry[]> = {
  file: [file('it', 'new')],
  directory: [dir('it/'), file('it/new')],
  symlink: [symlink('it', 'elsewhere')],
  fifo: [{ name: 'it', type: 'fifo' }],
  'hard link': [file('other', 'new'), link('it', 'other')],
};

for (const [from, before] of Object.entries(kinds)) {
  for (const [to, after] of Object.entries(kinds)) {
    if (from === 'directory' && to === 'directory') continue;
    test(`a ${to} over a ${from} takes its place`, async (t) => {
      const lower = before.map((it) => ({ ...it, ...(it.data === undefined ? {} : { data: 'old' }) }));
      const rootfs = await tree(t, [[dir('it.d/'), ...lower], after]);
      const fresh = await tree(t, [after]);
      const of = (root: string) => [...describeTree(root)].filter(([path]) => path.startsWith('it') && path !== 'it.d');
      assert.deepEqual(of(rootfs), of(fresh));
    });
  }
}

// An entry under what is not a directory

test('a file above an entry gives way to a directory', async (t) => {
  const rootfs = await tree(t, [[file('a')], [file('a/b/c')]]);
  assert.deepEqual(paths(rootfs), ['a/', 'a/b/', 'a/b/c']);
});

test('a symlink to a file above an entry gives way, and the file stays', async (t) => {
  const rootfs = await tree(t, [[file('f', 'kept'), symlink('a', 'f')], [file('a/b')]]);
  assert.deepEqual(paths(rootfs), ['a/', 'a/b', 'f']);
  assert.equal(read(rootfs, 'f'), 'kept');
});

test('directories that no entry brings are made', async (t) => {
  const rootfs = await tree(t, [[file('x/y/z')]]);
  assert.deepEqual(paths(rootfs), ['x/', 'x/y/', 'x/y/z']);
  assert.equal(modeOf(join(rootfs, 'x')), 0o755);
});

// Never through an existing inode

test('replacing one name of a hard link leaves the content of the others', async (t) => {
  const rootfs = await tree(t, [[file('a', 'old'), link('b', 'a')], [file('a', 'new')]]);
  assert.equal(read(rootfs, 'a'), 'new');
  assert.equal(read(rootfs, 'b'), 'old');
  assert.equal(statSync(join(rootfs, 'b')).nlink, 1);
});

test('a file does not go through a symlink of its name', async (t) => {
  const rootfs = await tree(t, [[file('target', 'kept'), symlink('a', 'target')], [file('a', 'new')]]);
  assert.equal(read(rootfs, 'target'), 'kept');
  assert.ok(lstatSync(join(rootfs, 'a')).isFile());
});

// Hard links

test('a hard link reaches a file of a lower layer, from the root, whatever leads its name', async (t) => {
  const rootfs = await tree(t, [
    [dir('d/'), file('d/a')],
    [link('x/b', '/d/a'), link('x/c', '../../d/./a')],
  ]);
  const inode = statSync(join(rootfs, 'd/a')).ino;
  assert.equal(statSync(join(rootfs, 'x/b')).ino, inode);
  assert.equal(statSync(join(rootfs, 'x/c')).ino, inode);
});

test('a hard link to a symlink links the symlink itself', async (t) => {
  const rootfs = await tree(t, [[file('f'), symlink('s', 'f'), link('h', 's')]]);
  assert.equal(readlinkSync(join(rootfs, 'h')), 'f');
  assert.equal(lstatSync(join(rootfs, 'h')).ino, lstatSync(join(rootfs, 's')).ino);
});

test('a missing target is an error that names both', (t) =>
  fails(t, [[link('from', 'nowhere/to')]], /from: it is a hard link to nowhere\/to, which is not there/));

test('a target that is longer than any name is an error of one line', (t) =>
  fails(
    t,
    [[link('a', 'n/'.repeat(100_000))]],
    /^layer 0 \(\w+\): (?:n\/){30}: the name is longer than the kernel takes$/,
  ));

test('the attributes of the link entry are not applied', async (t) => {
  const rootfs = await tree(t, [
    [file('a', 'x', { mode: 0o600, mtime: 1000 }), link('b', 'a', { mode: 0o777, mtime: 5000 })],
  ]);
  assert.equal(modeOf(join(rootfs, 'a')), 0o600);
  assert.equal(statSync(join(rootfs, 'a')).mtimeMs, 1_000_000);
});

test('a hard link to itself leaves the file', async (t) => {
  const rootfs = await tree(t, [[file('a', 'x'), link('a', './a')]]);
  assert.equal(read(rootfs, 'a'), 'x');
});

test('a hard link to a directory is an error', (t) => fails(t, [[dir('d/'), link('l', 'd')]], /cannot have one/));

test('the directories above the target resolve inside the root', async (t) => {
  const rootfs = await tree(t, [[dir('usr/'), file('usr/f'), symlink('u', '/usr'), link('h', 'u/f')]]);
  assert.equal(statSync(join(rootfs, 'h')).ino, statSync(join(rootfs, 'usr/f')).ino);
});

// Symlinks

for (const target of ['../../../../etc/passwd', '/etc/passwd', 'a//b/./..', ' ', '.']) {
  test(`the text of a symlink to ${JSON.stringify(target)} is kept to the letter`, async (t) => {
    const rootfs = await tree(t, [[symlink('link', target)]]);
    assert.equal(readlinkSync(join(rootfs, 'link')), target);
  });
}

for (const target of ['usr/bin', '/usr/bin', '../../usr/bin', '/usr/../usr/./bin']) {
  test(`with bin -> ${target}, bin/sh lands in usr/bin of the root`, async (t) => {
    const rootfs = await tree(t, [[dir('usr/'), dir('usr/bin/'), symlink('bin', target), file('bin/sh')]]);
    assert.deepEqual(paths(rootfs), ['bin', 'usr/', 'usr/bin/', 'usr/bin/sh']);
  });

  test(`with bin -> ${target}, which is not there yet, it is made`, async (t) => {
    const rootfs = await tree(t, [[symlink('bin', target), file('bin/sh')]]);
    assert.deepEqual(paths(rootfs), ['bin', 'usr/', 'usr/bin/', 'usr/bin/sh']);
  });
}

for (const links of [
  [symlink('a', 'a')],
  [symlink('a', 'b'), symlink('b', 'a')],
  [symlink('a', 'b/x'), symlink('b', 'a/y')],
]) {
  test(`a loop of ${links.map(({ name, linkname }) => `${name} -> ${linkname}`).join(', ')} is ELOOP`, async (t) => {
    await fails(t, [[...links, file('a/f')]], /ELOOP/);
    await fails(t, [links, [whiteout('a/.wh.f')]], /ELOOP/);
  });
}

for (const [what, change] of [
  ['in its own layer', (it: TarEntry[], more: TarEntry[]) => [[...it, ...more]]],
  ['in a later layer', (it: TarEntry[], more: TarEntry[]) => [it, more]],
] as const) {
  test(`what comes behind a symlink that was replaced ${what} lands where the new one leads`, async (t) => {
    const before = [dir('a/'), dir('b/'), symlink('l', 'a'), file('l/x')];
    const rootfs = await tree(t, change(before, [symlink('l', 'b'), file('l/y'), symlink('l', 'a'), file('l/z')]));
    assert.deepEqual(paths(rootfs), ['a/', 'a/x', 'a/z', 'b/', 'b/y', 'l']);
  });
}

// The root

for (const name of ['./', '.', '/', '', '../..']) {
  test(`the entry ${JSON.stringify(name)} sets mode and time of the root`, async (t) => {
    const rootfs = await tree(t, [[dir(name, { mode: 0o750, mtime: 1234 }), file('a')]]);
    assert.equal(modeOf(rootfs), 0o750);
    assert.equal(statSync(rootfs).mtimeMs, 1_234_000);
  });

  test(`the entry ${JSON.stringify(name)} as a symlink is an error`, (t) =>
    fails(t, [[{ name, type: 'symlink', linkname: '/etc' }]], /root of the tree/));
}

test('the last entry says whose the root is, also when it gives it back', { skip: needsRoot }, async (t) => {
  const rootfs = await tree(t, [[dir('./', { uid: 5, gid: 6 })], [dir('./')]]);
  assert.equal(describeTree(rootfs).get('.')?.owner, '0:0');
});

test('names with .. and / at their head land inside', async (t) => {
  const { rootfs, directory } = await unpack(t, [[file('../../x'), file('/y'), file('a/../../../z')]]);
  assert.deepEqual(paths(rootfs), ['x', 'y', 'z']);
  assert.deepEqual(readdirSync(directory).sort(), ['layers', 'rootfs', 'rootfs.json']);
});

// Duplicates

test('of two entries of one name the last wins', async (t) => {
  const rootfs = await tree(t, [[file('a', 'first'), file('b'), file('a', 'last')]]);
  assert.equal(read(rootfs, 'a'), 'last');
});

test('the same layer may come twice', async (t) => {
  const layer = [dir('d/'), file('d/a'), link('d/b', 'd/a'), symlink('s', 'd/a')];
  const rootfs = await tree(t, [layer, layer]);
  assert.deepEqual(describeTree(rootfs).get('d/a')?.links, '2: d/a d/b');
});

// The order of attributes

const needsXattrs = needs('getfattr');

test('setuid and capabilities survive the change of owner', { skip: needsRoot || needsXattrs }, async (t) => {
  // cap_net_raw=ep, revision 2: linux/capability.h, struct vfs_cap_data.
  const capability = Buffer.from('0100000200200000000000000000000000000000', 'hex');
  const rootfs = await tree(t, [
    [
      file('su', 'x', { mode: 0o4755, uid: 1, gid: 2 }),
      file('ping', 'x', { mode: 0o755, uid: 3, gid: 4, xattrs: { 'security.capability': capability } }),
      file('both', 'x', { mode: 0o6755, uid: 3, gid: 4, xattrs: { 'security.capability': capability } }),
    ],
  ]);
  const described = describeTree(rootfs);
  assert.deepEqual([described.get('su')?.mode, described.get('su')?.owner], ['4755', '1:2']);
  assert.equal(described.get('both')?.mode, '6755');
  for (const name of ['ping', 'both'])
    assert.match(described.get(name)?.xattrs ?? '', new RegExp(capability.toString('hex')), name);
});

test('a merged directory loses the attributes that its new entry does not have', {
  skip: needsXattrs,
}, async (t) => {
  const rootfs = await tree(t, [
    [dir('d/', { xattrs: { 'user.old': 'x', 'user.both': 'x' } })],
    [dir('d/', { xattrs: { 'user.both': 'y', 'user.new': 'z' } })],
  ]);
  assert.equal(describeTree(rootfs).get('d')?.xattrs, 'user.both=0x79 user.new=0x7a');
});

test('security.selinux and what overlayfs keeps for itself are left out', { skip: needsXattrs }, async (t) => {
  const xattrs = {
    'security.selinux': 'x',
    'trusted.overlay.opaque': 'y',
    'user.overlay.redirect': '/etc',
    'user.a': 'b',
  };
  const rootfs = await tree(t, [[dir('d/', { xattrs }), file('f', 'x', { xattrs })]]);
  // Not by describeTree, which passes over labels: this machine may give some of its own.
  for (const path of ['d', 'f']) {
    const { stdout } = await run(['getfattr', '-d', '-m', '-', '--absolute-names', '--', join(rootfs, path)]);
    assert.match(stdout, /user\.a="b"/);
    assert.doesNotMatch(stdout, /overlay|security\.selinux="x"/);
  }
});

test('an attribute that no kernel takes is the fault of the archive, and is named', {
  skip: needsRoot || needsXattrs,
}, async (t) => {
  for (const [name, value, why] of [
    ['security.capability', 'garbage', 'EINVAL'],
    [`user.${'n'.repeat(300)}`, 'x', 'ERANGE'],
    ['user.long', Buffer.alloc(70_000, 'v'), 'E2BIG'],
  ] as const) {
    const shown = name.length > 60 ? `${name.slice(0, 57)}...` : name;
    for (const entry of [file('d/x'), dir('d/x/')]) {
      await fails(t, [[{ ...entry, xattrs: { [name]: value } }]], new RegExp(`: d/x: xattr ${shown}: .*\\(${why}\\)$`));
    }
    await fails(t, [[dir('./', { xattrs: { [name]: value } })]], new RegExp(`: root of the tree: xattr ${shown}: `));
  }
});

test('an access control list by default changes neither mode nor attributes of what lies in its directory', {
  skip: needsXattrs,
}, async (t) => {
  // linux/posix_acl_xattr.h: version 2; owner rwx, group r-x, others nothing.
  const acl = '0200000001000700ffffffff04000500ffffffff20000000ffffffff';
  const kept = { 'system.posix_acl_default': Buffer.from(acl, 'hex') };
  const entries = [
    file('d/f', 'x', { mode: 0o666 }),
    dir('d/sub/', { mode: 0o777 }),
    { name: 'd/p', type: 'fifo', mode: 0o622 },
  ];
  const lists = (rootfs: string) =>
    ['.', 'd', 'd/f', 'd/sub', 'd/p'].map((path) => {
      const { mode, xattrs } = describeTree(rootfs).get(path)!;
      return xattrs === undefined ? mode : `${mode} ${xattrs}`;
    });
  const listed = `0755 system.posix_acl_default=0x${acl}`;
  const plain = ['0666', '0777', '0622'];
  const both = await tree(t, [[dir('./', { xattrs: kept }), dir('d/', { xattrs: kept }), ...entries]]);
  assert.deepEqual(lists(both), [listed, listed, ...plain]);
  // A later layer fills the directory of an earlier one, and takes the list away.
  const filled = await tree(t, [[dir('d/', { xattrs: kept })], entries]);
  assert.deepEqual(lists(filled), ['0755', listed, ...plain]);
  const taken = await tree(t, [[dir('d/', { xattrs: kept })], [dir('d/'), ...entries]]);
  assert.deepEqual(lists(taken), ['0755', '0755', ...plain]);
});

test('a symlink is given its own owner, not what it names', { skip: needsRoot }, async (t) => {
  const rootfs = await tree(t, [[file('f'), { ...symlink('s', 'f'), uid: 5, gid: 6 }]]);
  const described = describeTree(rootfs);
  assert.equal(described.get('s')?.owner, '5:6');
  assert.equal(described.get('f')?.owner, '0:0');
});

// Modes and times

test('the mode of a symlink means nothing', async (t) => {
  const rootfs = await tree(t, [[file('f', 'x', { mode: 0o640 }), { ...symlink('l', 'f'), mode: 0o7777, uid: 7 }]]);
  assert.deepEqual([readlinkSync(join(rootfs, 'l')), modeOf(join(rootfs, 'f'))], ['f', 0o640]);
});

test('modes are exact whatever the umask', async (t) => {
  const modes = [0o0, 0o777, 0o4711, 0o2755, 0o1777, 0o7777, 0o640];
  const before = process.umask(0o077);
  afterwards(t, () => process.umask(before));
  const entries = modes.flatMap((mode, i) => [file(`f${i}`, 'x', { mode }), dir(`d${i}/`, { mode }), file(`d${i}/x`)]);
  const rootfs = await tree(t, [entries, [file('d1/y')]]);
  for (const [i, mode] of modes.entries()) {
    assert.equal(modeOf(join(rootfs, `f${i}`)), mode);
    assert.equal(modeOf(join(rootfs, `d${i}`)), mode);
  }
});

test('what lies in a setgid directory does not inherit its group or bit', { skip: needsRoot }, async (t) => {
  const rootfs = await tree(t, [
    [dir('d/', { mode: 0o2775, gid: 50 }), file('d/f'), dir('d/sub/'), file('d/implied/f')],
    [file('d/g'), symlink('d/s', 'f')],
  ]);
  const described = describeTree(rootfs);
  for (const path of ['d/f', 'd/g', 'd/s', 'd/sub', 'd/implied']) assert.equal(described.get(path)?.owner, '0:0', path);
  assert.equal(described.get('d/sub')?.mode, '0755');
  assert.equal(described.get('d')?.mode, '2775');
});

test('directories keep their times when later layers fill them', async (t) => {
  const rootfs = await tree(t, [
    [dir('d/', { mtime: 1000 }), dir('d/e/', { mtime: 2000 }), file('d/e/x'), file('d/x')],
    [file('d/e/y'), whiteout('d/.wh.x')],
  ]);
  assert.equal(statSync(join(rootfs, 'd')).mtimeMs, 1_000_000);
  assert.equal(statSync(join(rootfs, 'd/e')).mtimeMs, 2_000_000);
});

test('times have nanoseconds, may lie before 1970, and are set on symlinks too', async (t) => {
  const rootfs = await tree(t, [
    [
      file('f', 'x', { pax: { mtime: '1234567890.123456789' } }),
      file('old', 'x', { pax: { mtime: '-1.5' } }),
      { ...symlink('s', 'f'), pax: { mtime: '99.000000001' } },
      dir('d/', { pax: { mtime: '7.5' } }),
    ],
  ]);
  const times = Object.fromEntries([...describeTree(rootfs)].map(([path, { mtime }]) => [path, mtime]));
  assert.equal(times['f'], '1234567890.123456789');
  assert.equal(times['s'], '99.000000001');
  assert.equal(times['d'], '7.500000000');
  assert.equal(times['old'], '-2.500000000');
});

test('a time that no date holds is the last that the filesystem has, from the block and from PAX', async (t) => {
  const far = 2 ** 44;
  const rootfs = await tree(t, [
    [file('block', 'x', { mtime: far }), file('pax', 'x', { pax: { mtime: String(far) } })],
  ]);
  const times = describeTree(rootfs);
  assert.equal(times.get('block')?.mtime, times.get('pax')?.mtime);
});

test('a missing time is the epoch', async (t) => {
  const blank = { patch: (block: Buffer) => block.fill(0, 136, 148) };
  const rootfs = await tree(t, [[file('f', 'x', blank), dir('d/', blank)]]);
  assert.equal(statSync(join(rootfs, 'f')).mtimeMs, 0);
  assert.equal(statSync(join(rootfs, 'd')).mtimeMs, 0);
});

// Owners

test('ids up to 2^32-2 are set, from base-256 and from PAX; names are ignored', {
  skip: needsRoot,
}, async (t) => {
  const rootfs = await tree(t, [
    [
      file('base', 'x', { uid: 2 ** 32 - 2, gid: 70000, uname: 'root', gname: 'root', rawPax: Buffer.of() }),
      file('pax', 'x', { uid: 1, gid: 1, pax: { uid: '4294967294', gid: '3000000000' } }),
    ],
  ]);
  const described = describeTree(rootfs);
  assert.equal(described.get('base')?.owner, '4294967294:70000');
  assert.equal(described.get('pax')?.owner, '4294967294:3000000000');
});

test('an id of 2^32-1 is an error: to the kernel it means none', (t) =>
  fails(t, [[file('f', 'x', { pax: { uid: '4294967295' } })]], /out of range/));

// Devices

test('devices and FIFOs are made with their numbers, modes and owners', { skip: needsRoot }, async (t) => {
  const rootfs = await tree(t, [
    [
      { name: 'null', type: 'char', major: 1, minor: 3, mode: 0o666 },
      { name: 'big', type: 'block', major: 4095, minor: 1048575, mode: 0o660, uid: 0, gid: 6 },
      { name: 'gnu', type: 'char', major: 10, minor: 200, patch: (block) => block.write('ustar  \0', 257, 'latin1') },
      { name: 'pipe', type: 'fifo', mode: 0o7622, uid: 7, gid: 8 },
    ],
  ]);
  const described = describeTree(rootfs);
  assert.deepEqual([described.get('null')?.device, described.get('null')?.mode], ['1:3', '0666']);
  assert.deepEqual([described.get('big')?.device, described.get('big')?.owner], ['4095:1048575', '0:6']);
  assert.equal(described.get('gnu')?.device, '10:200');
  const { type, mode, owner } = described.get('pipe')!;
  assert.deepEqual([type, mode, owner], ['fifo', '7622', '7:8']);
});

for (const [major, minor] of [
  [4096, 0],
  [0, 1048576],
  [-1, 0],
  [0, -1],
] as const) {
  test(`the device numbers ${major}, ${minor} are out of range`, (t) =>
    fails(t, [[{ name: 'dev', type: 'char', major, minor }]], /out of range/));
}

// Sparse files

test('a sparse file has its holes on the disk too, at its end as well', async (t) => {
  const pax = { 'GNU.sparse.map': '1000000,2', 'GNU.sparse.size': '3000000' };
  const rootfs = await tree(t, [
    [file('holes', 'xy', { pax }), file('hole', '', { pax: { ...pax, 'GNU.sparse.map': '' } })],
  ]);
  const holes = readFileSync(join(rootfs, 'holes'));
  assert.deepEqual([holes.length, holes.indexOf('xy'), holes.lastIndexOf('\0')], [3_000_000, 1_000_000, 2_999_999]);
  assert.deepEqual([statSync(join(rootfs, 'hole')).size, statSync(join(rootfs, 'hole')).blocks], [3_000_000, 0]);
  assert.ok(statSync(join(rootfs, 'holes')).blocks * 512 < 100_000);
});

// The end

test('megabytes behind the end of the archive are part of the diffID, and of nothing else', async (t) => {
  const rootfs = await tree(t, [[file('a'), Buffer.alloc(1024), Buffer.alloc(3_000_000, 'x')]]);
  assert.deepEqual(paths(rootfs), ['a']);
});

const longPath = `${'n'.repeat(99)}/`.repeat(30);
for (const [what, entries] of Object.entries({
  'a hard link to a name': [link('h', 'n'.repeat(256))],
  'a path through a symlink to a name': [symlink('s', 'n'.repeat(256)), file('s/f')],
  'a path through symlinks to a path': [symlink('s', longPath), symlink('s/t', longPath), file('s/t/f')],
})) {
  test(`${what} that no filesystem takes is bad data`, (t) => fails(t, [entries], /n.* (?:not there|too long)/));
}

test('a path is too long for the archive only where no filesystem takes it', () => {
  const refuse = (path: string) => {
    throw unreachable(path, -ENAMETOOLONG);
  };
  assert.throws(() => refuse(`a/${'b'.repeat(256)}/c`), failure(65, /the name is too long/));
  assert.throws(() => refuse(`a/${'b'.repeat(255)}/c`), SyscallError);
});
