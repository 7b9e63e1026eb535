/** A container begins while md-unpack --force or md-prune is at work on its tree. */
import assert from 'node:assert/strict';
import { closeSync, constants, existsSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { tryLock } from '../../lib/sys/files/lock.js';
import { injecting } from '../support/injected-call.js';
import { busybox, needsContainer, until } from '../support/rootfs.js';
import { md, needs, type Result, run, shell } from '../support/run.js';
import { prepare } from '../support/unpacking.js';

const skip = needsContainer || needs('strace');

/** What comes down the pipe for an image whose document and content have the same word. */
function imageOf(t: TestContext, word: string): string {
  const shell = [
    { name: 'bin/', type: 'directory' as const },
    { name: 'bin/busybox', data: readFileSync(busybox), mode: 0o755 },
    { name: 'bin/cat', type: 'symlink' as const, linkname: 'busybox' },
    { name: 'bin/sh', type: 'symlink' as const, linkname: 'busybox' },
    { name: 'word', data: word },
  ];
  const { document, layers } = prepare(t, [shell]);
  const config = { ...document.config, config: { Env: [`WORD=${word}`, 'PATH=/bin'] } };
  const lines = [{ ...document, config }, ...layers.map((layer) => ({ layer }))];
  return lines.map((line) => `${JSON.stringify(line)}\n`).join('');
}

/** A tree at DIR, and the function that has made it. */
async function site(t: TestContext): Promise<{ rootfs: string; put(stdin: string): Promise<Result> }> {
  const { rootfs } = prepare(t, []);
  const put = async (stdin: string) => md('md-unpack', ['--force', rootfs], { stdin });
  assert.equal((await put(imageOf(t, 'one'))).status, 0);
  return { rootfs, put };
}

for (const [when, inject] of [
  ['before its tree is locked', 'openat:delay_enter=1000000:when=1'],
  ['while its tree is locked', 'openat:delay_exit=1000000:when=1'],
] as const) {
  test(`a container whose image is replaced ${when} has document and tree of one image`, { skip }, async (t) => {
    const { rootfs, put } = await site(t);
    const two = imageOf(t, 'two');
    const script = 'echo $WORD in $(cat /word); : >/begun; until [ -e /go ]; do busybox sleep 0.05; done';
    const slow = run([...injecting(inject, rootfs), 'md-isolate', rootfs, 'sh', '-c', script]);
    await sleep(400);
    await put(two);
    await until(() => existsSync(join(rootfs, 'begun')));
    const fd = openSync(rootfs, constants.O_RDONLY);
    assert.ok(!tryLock(fd, 'exclusive'), 'the tree is not locked');
    closeSync(fd);
    writeFileSync(join(rootfs, 'go'), '');
    const { stdout, stderr } = await slow;
    assert.equal(stderr, '');
    // On a slow machine it was too early, or too late.
    assert.match(stdout, /^(one|two) in \1\n$/);
  });
}

test('a tree that is locked for a moment, as by a run that looks whether it may replace it, is waited for', {
  skip: needsContainer || needs('flock'),
}, async (t) => {
  const { rootfs } = await site(t);
  const script = 'flock "$1" sh -c "echo locked; exec sleep 0.3" | { read locked; md-isolate "$1" sh -c "exit 7"; }';
  const { status, stderr } = await shell(script, [rootfs]);
  assert.deepEqual([status, stderr], [7, '']);
});

test('a tree that is removed when a container is to begin in it is told as one that is not there', {
  skip,
}, async (t) => {
  const { rootfs } = await site(t);
  const slow = run([...injecting('statx:delay_enter=800000', rootfs), 'md-isolate', '--dry-run', rootfs, 'true']);
  await sleep(400);
  rmSync(rootfs, { recursive: true });
  const { status, stderr } = await slow;
  assert.match(
    stderr,
    new RegExp(`^md-isolate: ${rootfs}: no such file or directory \\(ENOENT\\); DIR is a directory`),
  );
  assert.equal(status, 125);
});
