/** A container inside of what others make, with no special flags: user namespaces, and less power than root has. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { commandPath, commandVolumes, inside, makeRoot, needsContainer } from '../support/rootfs.js';
import { needs, run, scratch } from '../support/run.js';
import { needsSubordinate, subordinateUser, user } from '../support/subordinate.js';

const skip = needsContainer || needs('unshare', 'setpriv');

/** What is around md-isolate. */
const places: [name: string, command: string[]][] = [
  ['root of a user namespace', ['unshare', '-Ur']],
  ['root of a user namespace with a network and mounts', ['unshare', '-Urnm']],
  ['root of a user namespace without CAP_MKNOD', ['unshare', '-Ur', 'setpriv', '--bounding-set=-mknod']],
  ['root without CAP_SYS_ADMIN', ['setpriv', '--bounding-set=-sys_admin']],
  ['root without CAP_NET_ADMIN, as in systemd-nspawn', ['setpriv', '--bounding-set=-net_admin']],
  ['root with no capability but CAP_SETFCAP', ['setpriv', '--bounding-set=-all,+setfcap']],
];

for (const [name, place] of places) {
  test(`a container needs no flags below ${name}`, { skip }, async (t) => {
    const root = makeRoot(t);
    const script = 'touch /new && rm -r /tmp && mkdir /tmp && echo in $(id -u) $$';
    const flags: string[][] = [[], ['--net', 'none'], ['--overlay'], ['--layer', join(scratch(t), 'layer')]];
    for (const some of flags) {
      const { status, stdout, stderr } = await run([...place, 'md-isolate', ...some, root, 'sh', '-c', script]);
      assert.match(stderr, /^(md-isolate: the container goes without CAP_MKNOD,.*\n)?$/, some.join(' '));
      assert.deepEqual({ status, stdout }, { status: 0, stdout: 'in 0 1\n' }, some.join(' '));
    }
    assert.ok(existsSync(join(root, 'new')));
  });
}

/** Flags of the container around, and what a container in it says. */
const nested: [flags: string[], outcome: RegExp][] = [
  [[], /\(EPERM\); .*: start that one with --security-opt seccomp=unconfined, .* md-isolate: --privileged\)/],
  [['--security-opt', 'seccomp=unconfined'], /partly covered, .* md-isolate: --privileged\)/],
  [['--cap-add', 'SYS_ADMIN', '--security-opt', 'seccomp=unconfined'], /^in\n$/],
  [['--privileged'], /^in\n$/],
];

for (const [flags, outcome] of nested) {
  test(`md-isolate inside md-isolate ${flags.join(' ')}`.trim(), { skip }, async (t) => {
    const [root, inner] = [makeRoot(t), makeRoot(t)];
    const volumes = [...commandVolumes, `-v=${inner}:/inner`];
    const script = `${commandPath} md-isolate /inner echo in 2>&1`;
    const { stdout, stderr } = await inside(root, script, [...volumes, ...flags]);
    assert.match(stdout, outcome, stderr);
  });
}

test('root without CAP_SYS_ADMIN has the ids that root has, in a user namespace', { skip }, async (t) => {
  const root = makeRoot(t);
  const place = ['setpriv', '--bounding-set=-sys_admin'];
  const script = 'touch /a && busybox chown 7:8 /a && stat -c %u:%g /a && su user -c "id -u"';
  const { stdout, stderr } = await run([...place, 'md-isolate', root, 'sh', '-c', script]);
  assert.deepEqual({ stdout, stderr }, { stdout: '7:8\n1000\n', stderr: '' });
});

test('where nobody gets CAP_SYS_ADMIN an ordinary user does without newuidmap, and is told why by --userns range', {
  skip: needsSubordinate || skip,
}, async (t) => {
  const { command } = subordinateUser(t, { setpriv: '--bounding-set=-sys_admin' });
  const root = makeRoot(t);
  await run(['chown', '-R', `${user}:${user}`, root]);
  const confined = (...flags: string[]) => run(command('md-isolate', [...flags, root, 'id', '-u']));
  const { stdout, stderr } = await confined();
  assert.deepEqual({ stdout, stderr }, { stdout: '0\n', stderr: '' });
  const insisting = await confined('--userns', 'range');
  assert.match(insisting.stderr, /nobody gets CAP_SYS_ADMIN here, .* newuidmap needs it; .* --cap-add SYS_ADMIN\n$/);
});
