import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readlinkSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { nameRootfs, rootfsPath } from '../../lib/image/rootfs.js';
import { Failure } from '../../lib/pipe/failure.js';
import { digestOf } from '../support/content.js';
import { scratch } from '../support/run.js';

const digest = digestOf('a manifest');
const hex = digest.replace(':', '-');

test('an image has its name beside the trees, with tag, digest and port', (t) => {
  const tree = rootfsPath(digest, scratch(t));
  for (const name of ['docker.io/library/demo:1', `localhost:5000/demo@${digest}`]) {
    nameRootfs(name, tree);
    assert.match(readlinkSync(join(tree, '..', name)), new RegExp(`^(?:\\.\\./)+${hex}$`));
  }
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
  ])
    assert.throws(
      () => nameRootfs(name, tree),
      (error) => error instanceof Failure && error.status === 65,
      name,
    );
  assert.deepEqual(readdirSync(outside), []);
  assert.deepEqual(readdirSync(tree), ['out']);
});
