import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readlinkSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { test } from 'node:test';
import { findRootfs, nameRootfs, rootfsNames, rootfsPath, unnameRootfs } from '../../lib/image/store/rootfs.js';
import { digestOf } from '../support/content.js';
import { failure } from '../support/failure.js';
import { killAfterwards, pidNamespace, scratch } from '../support/run.js';

const digest = digestOf('a manifest');
const hex = digest.replace(':', '-');
/** Of a tree that was elsewhere. */
const document = {
  image: 'a:1',
  digest,
  platform: { os: 'linux', architecture: 'amd64' },
  config: { rootfs: { type: 'layers', diff_ids: [] } },
  rootfs: '/old',
};

test('an image has its name beside the trees, with tag, digest and port', (t) => {
  const tree = rootfsPath(digest, scratch(t));
  for (const name of ['docker.io/library/demo:1', `localhost:5000/demo@${digest}`]) {
    nameRootfs(name, tree);
    assert.match(readlinkSync(join(tree, '..', name)), new RegExp(`^(?:\\.\\./)+${hex}$`));
  }
});

test('no other user reaches the set-user-ID programs of the trees, whoever may enter the store', (t) => {
  const home = join(scratch(t), 'home');
  mkdirSync(home, { mode: 0o755 });
  assert.equal(statSync(dirname(rootfsPath(digest, home))).mode & 0o777, 0o700);
});

test('a tree is a directory with its document, and no symbolic link', (t) => {
  const tree = rootfsPath(digest, scratch(t));
  writeFileSync(`${tree}.json`, JSON.stringify(document));
  assert.equal(findRootfs(tree), undefined);
  symlinkSync(scratch(t), tree);
  assert.equal(findRootfs(tree), undefined);
  rmSync(tree);
  mkdirSync(tree);
  assert.equal(findRootfs(tree)?.rootfs, tree);
});

test('the paths in the document of a tree are right where the store has been moved', (t) => {
  const tree = rootfsPath(digest, scratch(t));
  mkdirSync(tree);
  for (const [unset, found] of [
    [{}, undefined],
    [{ unset: '/old.unset.jsonl' }, `${tree}.unset.jsonl`],
  ] as const) {
    writeFileSync(`${tree}.json`, JSON.stringify({ ...document, ...unset }));
    assert.equal(findRootfs(tree)?.unset, found);
  }
});

test('what a process left behind that was killed while it named a tree is swept', (t) => {
  const tree = rootfsPath(digest, scratch(t));
  const directory = join(tree, '../docker.io/library');
  mkdirSync(directory, { recursive: true });
  const { pid: dead } = spawnSync('true');
  symlinkSync('nowhere', join(directory, `.link.${pidNamespace}.${dead}.1`));
  symlinkSync('nowhere', join(directory, '.link.1.1.1'));
  symlinkSync('nowhere', join(directory, `other.${pidNamespace}.${dead}.1`));
  nameRootfs('docker.io/library/demo:1', tree);
  // A process of another PID namespace may be alive.
  assert.deepEqual(readdirSync(directory).sort(), ['.link.1.1.1', 'demo:1', `other.${pidNamespace}.${dead}.1`].sort());
});

test('a name that cannot be put in its place leaves no link beside it', (t) => {
  const tree = rootfsPath(digest, scratch(t));
  const place = join(tree, '../docker.io/library/demo:1');
  mkdirSync(place, { recursive: true });
  assert.throws(() => nameRootfs('docker.io/library/demo:1', tree), failure(74, /EISDIR/));
  assert.deepEqual(readdirSync(dirname(place)), ['demo:1']);
});

test('names are read while other processes make and remove them', (t) => {
  const home = scratch(t);
  const tree = rootfsPath(digest, home);
  nameRootfs('docker.io/library/demo:1', tree);
  const script = `const fs = require('node:fs'); process.chdir(process.argv[1]);
    for (;;) for (const name of ['.link.1.1.1', 'demo:2']) { fs.symlinkSync('../../' + process.argv[2], name); fs.unlinkSync(name); }`;
  const args = ['-e', script, join(home, 'rootfs/docker.io/library'), basename(tree)];
  const busy = spawn(process.execPath, args, { stdio: 'inherit' });
  killAfterwards(t, busy);
  const seen = new Set<string>();
  for (const end = Date.now() + 60_000; seen.size < 2 && Date.now() < end; ) {
    for (let i = 0; i < 2000; i++) for (const name of rootfsNames(home).keys()) seen.add(name);
  }
  assert.deepEqual([...seen].sort(), ['docker.io/library/demo:1', 'docker.io/library/demo:2']);
});

test('a name is not removed by way of a link, which could lead anywhere', (t) => {
  const [home, elsewhere] = [scratch(t), scratch(t)];
  const tree = rootfsPath(digest, home);
  writeFileSync(join(elsewhere, 'b:1'), 'precious');
  symlinkSync(elsewhere, join(dirname(tree), 'a'));
  assert.throws(() => unnameRootfs('a/b:1', home), failure(74, /rootfs\/a\/b:1: /));
  assert.deepEqual(readdirSync(elsewhere), ['b:1']);
  nameRootfs('docker.io/library/demo:1', tree);
  unnameRootfs('docker.io/library/demo:1', home);
  assert.deepEqual(readdirSync(dirname(tree)), ['a']);
});

test('a name that leads out of the names, or into a tree, is refused', (t) => {
  const [home, outside] = [scratch(t), scratch(t)];
  const tree = rootfsPath(digest, home);
  mkdirSync(tree);
  symlinkSync(outside, join(tree, 'out'));
  nameRootfs('docker.io/library/demo:1', tree);
  for (const name of [
    '../evil:1',
    'docker.io/../../evil:1',
    'docker.io//evil:1',
    'docker.io/evil',
    'evil:1',
    `${hex}/evil:1`,
    `${hex}/out/evil:1`,
    'docker.io/library/demo:1/evil:1',
    'docker.io/library/demo:1/out/evil:1',
    `docker.io/${'x'.repeat(256)}:1`,
  ])
    assert.throws(() => nameRootfs(name, tree), failure(65), name);
  assert.deepEqual(readdirSync(outside), []);
  assert.deepEqual(readdirSync(tree), ['out']);
});
