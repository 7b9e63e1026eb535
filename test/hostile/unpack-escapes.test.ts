/**
 * Layers that try to leave the root: each attack of an advisory that some unpacker had, against a tree around the
 * target that must stay as it is. Whether the layer is refused or lands inside, nothing outside is touched.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Failure } from '../../lib/base/failure.js';
import { Canary } from '../support/canary.js';
import { gnuLong, type TarEntry } from '../support/tar.js';
import { prepare, type Stack, unpackPrepared } from '../support/unpacking.js';

const dir = (name: string, more: Partial<TarEntry> = {}): TarEntry => ({ name, type: 'directory', ...more });
const file = (name: string, more: Partial<TarEntry> = {}): TarEntry => ({ name, data: 'evil', mode: 0o666, ...more });
const symlink = (name: string, linkname: string): TarEntry => ({ name, type: 'symlink', linkname });
const link = (name: string, linkname: string): TarEntry => ({ name, type: 'link', linkname, mode: 0o777 });
const up = '../'.repeat(30);

/** By what it does; `out` is the absolute path of the canary. */
const attacks: Record<string, (out: string) => Stack> = {
  'names that climb (GNU tar CVE-2016-6321, Go, tar-fs)': (out) => [
    [
      file('../canary/file'),
      file(`${up.slice(0, -1)}${out}/file`),
      file('a/../../canary/file'),
      file('./../canary/new'),
    ],
  ],
  'absolute names (node-tar CVE-2021-32804)': (out) => [
    [file(`${out}/file`), file(`/${out}/file`), file(`////${out}/new`), file(`/..${out}/file`)],
  ],
  'a file through an absolute symlink (moby CVE-2014-6407)': (out) => [
    [symlink('l', out), file('l/file'), file('l/new')],
  ],
  'a file through a relative symlink': () => [[symlink('l', '../canary'), file('l/file'), file('l/new')]],
  'a file through a chain of symlinks (tar-fs CVE-2025-48387)': () => [
    [symlink('a', '.'), symlink('b', 'a/..'), symlink('c', 'b/../canary'), file('c/file'), file('c/dir/file')],
  ],
  'a symlink to a symlink that is changed in between (tar-fs CVE-2025-59343)': (out) => [
    [dir('x/'), symlink('y', 'x'), file('y/1'), symlink('x', out), file('y/file'), file('x/file')],
  ],
  'a directory that was known before it became a symlink (node-tar CVE-2021-32803)': (out) => [
    [dir('d/'), file('d/one'), symlink('d', out), file('d/file'), file('d/new')],
  ],
  'the same with a trailing slash and with doubled slashes (node-tar CVE-2021-37701)': (out) => [
    [dir('d/'), symlink('d', out), dir('d//'), file('d//file'), symlink('e/', out), file('e//file'), file('e\\file')],
  ],
  'names that differ in case or in Unicode form (node-tar CVE-2021-37712)': (out) => [
    [dir('café/'), symlink('cafe\u0301', out), file('café/file'), file('cafe\u0301/file'), file('CAFÉ/file')],
  ],
  'a directory below a deep one that was known (the cache of open directories)': (out) => [
    [
      dir('a/'),
      dir('a/b/'),
      dir('a/b/c/'),
      file('a/b/c/x'),
      symlink('a', out),
      file('a/b/c/x'),
      file('a/dir/sub/file'),
    ],
  ],
  'a symlink of a lower layer (GNU tar CVE-2025-45582)': (out) => [
    [symlink('x', '../canary'), symlink('y', out)],
    [file('x/file'), file('y/file')],
    [dir('x/dir/'), file('y/dir/file')],
  ],
  'a hard link to a file outside (node-tar CVE-2018-20834, tar-fs CVE-2018-20835)': (out) => [
    [link('h', `${out}/file`), file('h')],
  ],
  'a hard link that climbs (tar-fs CVE-2024-12905)': () => [[link('h', '../canary/file'), file('h')]],
  'a hard link through a symlink (moby CVE-2014-9356)': (out) => [[symlink('l', out), link('h', 'l/file'), file('h')]],
  'a hard link to a symlink, and a file through it': (out) => [
    [symlink('l', `${out}/file`), link('h', 'l'), file('h'), { name: 'h', type: 'contiguous', data: 'evil' }],
  ],
  'the mode of a hard link (containerd CVE-2021-32760)': (out) => [[symlink('l', `${out}/file`), link('h', 'l')]],
  'a directory entry over a symlink: its mode, owner and time (umoci CVE-2021-29136)': (out) => [
    [symlink('d', out), dir('d', { mode: 0o7777, mtime: 5, uid: 7 })],
    [symlink('d', `${out}/dir`)],
    [dir('d/', { mode: 0o7777, mtime: 5, xattrs: { 'user.evil': 'x' } }), file('d/file')],
  ],
  'the root as a symlink (umoci CVE-2021-29136)': (out) => [[symlink('.', out), file('file')]],
  'the root as a hard link, a file, a device': (out) => [
    [link('.', `${out}/dir`)],
    [file('./')],
    [{ name: '/', type: 'char' }],
  ],
  'a whiteout through a symlink': (out) => [
    [symlink('l', out), symlink('up', '..')],
    [file('l/.wh.file'), file('l/dir/.wh.file'), file('up/canary/.wh.dir'), file('.wh.l')],
  ],
  'an opaque marker through a symlink': (out) => [
    [symlink('l', out), symlink('r', '../canary/dir')],
    [file('l/.wh..wh..opq'), file('r/.wh..wh..opq'), file('l/dir/.wh..wh..opq')],
  ],
  'a whiteout that climbs': () => [
    [file('x')],
    [file('../.wh.canary'), file('../canary/.wh.file'), file('a/../../.wh.canary')],
  ],
  'a whiteout of the parent directory': () => [[dir('d/')], [file('d/.wh...')]],
  'a whiteout of the directory itself': () => [[dir('d/')], [file('.wh..')]],
  'a whiteout of a tree that holds symlinks to outside': (out) => [
    [
      dir('d/'),
      symlink('d/l', out),
      symlink('d/f', `${out}/file`),
      dir('d/e/'),
      symlink('d/e/l', '../../../canary/dir'),
    ],
    [file('.wh.d')],
  ],
  'a whiteout of a symlink to outside that its own layer has brought': (out) => [
    [dir('d/'), file('x'), file('d/x')],
    [symlink('l', out), file('.wh.l'), symlink('d/l', '../../canary'), file('d/.wh..wh..opq'), file('.wh.d')],
  ],
  'a file in place of a tree that holds symlinks to outside': (out) => [
    [dir('d/'), symlink('d/l', out), dir('d/e/'), symlink('d/e/l', '../../../canary/dir')],
    [file('d')],
  ],
  'attributes of a symlink, which are those of what it names to careless calls': (out) => [
    [
      {
        ...symlink('l', `${out}/file`),
        uid: 1,
        gid: 1,
        mode: 0o777,
        mtime: 3,
        xattrs: { 'user.evil': 'x', 'trusted.evil': 'y' },
      },
    ],
  ],
  'a sparse file through a symlink': (out) => [
    [
      symlink('s', `${out}/file`),
      { name: 's', data: 'xx', pax: { 'GNU.sparse.map': '5,2', 'GNU.sparse.size': '100' } },
    ],
  ],
  'a PAX path that climbs': (out) => [
    [
      { ...file('ok'), pax: { path: '../canary/file' } },
      { ...file('ok'), pax: { path: `${out}/file` } },
    ],
  ],
  'a PAX linkpath that climbs': (out) => [[{ ...link('h', 'ok'), pax: { linkpath: `${out}/file` } }, file('h')]],
  'a sparse name that climbs': () => [
    [
      {
        name: 'ok',
        data: 'xx',
        pax: { 'GNU.sparse.name': '../canary/file', 'GNU.sparse.map': '0,2', 'GNU.sparse.size': '2' },
      },
    ],
  ],
  'a GNU long name that climbs': (out) => [
    [gnuLong('L', `${up}canary/file`), file('x'), gnuLong('K', `${out}/file`), link('h', 'x'), file('h')],
  ],
  'magic links': (out) => [
    [
      symlink('p', `/proc/self/root${out}`),
      file('p/file'),
      symlink('cwd', '/proc/self/cwd'),
      file('cwd/new'),
      symlink('fd', '/proc/self/fd/3'),
      file('fd/x'),
    ],
  ],
  'dots at odd places': () => [[file('..'), file('a/..'), file('...'), file('. '), dir('..'), symlink('a/../..', 'x')]],
  'a symlink whose dangling path leads outside when it is made': (out) => [
    [symlink('a', `${out}/made`), file('a/b/c'), symlink('z', '../../../made'), dir('z/y/'), file('z/y/x')],
  ],
  'a symlink chain that climbs more than it descends': () => [
    [dir('d/'), symlink('d/s', '../../canary'), symlink('t', 'd/s/../../canary'), file('t/file'), file('d/s/file')],
  ],
  'a FIFO and a device in place of a file that is then written': () => [
    [{ name: 'p', type: 'fifo' }, file('p'), { name: 'n', type: 'char', major: 1, minor: 1 }, file('n')],
  ],
};

for (const [name, make] of Object.entries(attacks)) {
  test(`nothing outside the root is touched by ${name}`, async (t) => {
    // The path of the canary has to be known before the layers are made.
    const place = prepare(t, []);
    const canary = new Canary(place.directory);
    for (const stack of [make(canary.path), ...make(canary.path).map((layer) => [layer])]) {
      const prepared = prepare(t, stack);
      const rootfs = join(place.directory, 'rootfs');
      try {
        await unpackPrepared({ ...prepared, rootfs }, { force: true });
      } catch (error) {
        assert.ok(error instanceof Failure, error instanceof Error ? error.stack : String(error));
        assert.equal(error.status, 65, error.message);
      }
      const left = readdirSync(place.directory).filter((it) => it.startsWith('.'));
      assert.deepEqual(left, [], 'temporary names');
      assert.equal(existsSync(join(place.directory, 'made')), false);
      if (!existsSync(rootfs)) mkdirSync(rootfs);
      canary.check(rootfs);
    }
  });
}
