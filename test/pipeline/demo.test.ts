/** What `make demo` promises a newcomer. */
import assert from 'node:assert/strict';
import { chmodSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { needs, needsRoot, root, run, scratch } from '../support/run.js';

const demo = [process.execPath, join(root, 'dist/test/support/demo.js')];
const wholePull = /^\$ md-token 127\.0\.0\.1:\d+\/demo \| md-manifest \| md-fetch-layer \| md-unpack rootfs$/m;

test('the demo pulls and runs a container, and leaves nothing behind', { skip: needsRoot }, async (t) => {
  const TMPDIR = scratch(t);
  const { status, stdout, stderr } = await run(demo, { env: { TMPDIR } });
  assert.equal(status, 0, stderr);
  assert.equal(stderr, '');
  assert.match(stdout, wholePull);
  assert.match(stdout, /^Hello from a container that a pipeline made\.$/m);
  assert.match(stdout, /^ {4}1 root .* \/bin\/sh/m);
  assert.match(stdout, /^\w+, user 0, DEMO=yes$/m);
  assert.deepEqual(readdirSync(TMPDIR), []);
});

const unreachable = async () => (await run(['test', '-r', demo[1]!], { uid: 65534, gid: 65534 })).status !== 0;
const skipUser = needsRoot || needs('test') || ((await unreachable()) && 'an ordinary user cannot read the checkout');

test('the demo of an ordinary user pulls, and ends well whatever becomes of the container', {
  skip: skipUser,
}, async (t) => {
  const TMPDIR = scratch(t);
  chmodSync(TMPDIR, 0o777);
  const { status, stdout, stderr } = await run(demo, { env: { TMPDIR }, uid: 65534, gid: 65534 });
  assert.equal(status, 0, stderr);
  assert.match(stdout, wholePull);
  assert.match(stdout, /Hello from a container that a pipeline made|As root .* it shows the command as process 1/);
  assert.deepEqual(readdirSync(TMPDIR), []);
});
