/** Devices of the host that --device lets work, and what else docker users name on the command line. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs, { chmodSync, existsSync, mkdirSync, rmdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { deviceNodes } from '../../lib/isolate/settings/devices.js';
import { mountOf, volumeOf } from '../../lib/isolate/settings/volumes.js';
import { injecting } from '../support/injected-call.js';
import { spreadMocks } from '../support/mocks.js';
import { inside, makeRoot, needsContainer, output } from '../support/rootfs.js';
import { needsRootless, rootless } from '../support/rootless.js';
import { afterwards, needs, run, scratch, shell } from '../support/run.js';

const skip = needsContainer;
const firstByte = (path: string) => `head -c 1 ${path} | od -An -tx1`;

test('--device lets one device work, where a volume lets none but the usual', { skip }, async (t) => {
  const root = makeRoot(t);
  const zero = join(root, '../zero');
  execFileSync('mknod', [zero, 'c', '1', '5']);
  const port = join(root, '../port');
  execFileSync('mknod', [port, 'c', '1', '4']);
  for (const mode of [[], ['--userns', 'self'], ['--overlay'], ['--read-only']]) {
    for (const target of ['/dev/mine', '/dev/deep/er', '/mine']) {
      if (mode.includes('--read-only') && target === '/mine') continue;
      const flags = [...mode, '--device', `${zero}:${target}`];
      assert.equal(await output(root, firstByte(target), flags), ' 00', flags.join(' '));
    }
    const { stderr } = await inside(root, firstByte('/dev/mine'), [...mode, '-v', `${port}:/dev/mine`]);
    assert.match(stderr, /Permission denied/, mode.join(' '));
    assert.equal(await output(root, firstByte('/dev/mine'), [...mode, '-v', `${zero}:/dev/mine`]), ' 00');
    assert.equal(await output(root, 'cat /etc/group', [...mode, '-v', '/dev/null:/etc/group:ro']), '');
  }
});

test('one of the usual devices is mounted by its own path: a link to it may lead to a disk by then', (t) => {
  const link = join(scratch(t), 'link');
  symlinkSync('/dev/zero', link);
  const device = { type: 'device', source: '/dev/zero', target: 'x', kind: 'file' };
  assert.deepEqual(volumeOf(`${link}:/x`), device);
  assert.deepEqual(mountOf(`type=bind,source=${link},target=/x`), device);
});

test("a volume at /dev leaves the container its terminal and the usual devices, over the host's", {
  skip,
}, async (t) => {
  const root = makeRoot(t);
  const script =
    'tty; echo x >/dev/tty; head -c 1 /dev/zero | od -An -tx1; echo z >/dev/null; : <>/dev/ptmx; [ ! -e /dev/console ] || stat -c %t:%T /dev/console';
  for (const mode of [[], ['--privileged'], ['--userns', 'self']]) {
    const said = (await output(root, script, [...mode, '-t', '-v', '/dev:/dev'])).replaceAll('\r', '');
    const console = existsSync('/dev/console') ? '\n88:0' : '';
    assert.equal(said, `/dev/pts/0\nx\n 00${console}`, mode.join(' '));
  }
  const empty = join(root, '../empty');
  mkdirSync(empty);
  assert.equal(await output(root, 'ls /dev; ls -A /dev | wc -l', ['-v', `${empty}:/dev`]), '0');
});

/** Mode, owner and times of a node. */
function stateOf(path: string): unknown[] {
  const { mode, uid, gid, mtimeMs } = statSync(path);
  return [mode, uid, gid, mtimeMs];
}

test("root of a container changes neither mode, owner nor times of a node that is the host's", { skip }, async (t) => {
  const root = makeRoot(t);
  const shared = join(root, '../shared');
  execFileSync('mknod', ['-m', '666', shared, 'c', '1', '3']);
  const nodes = [shared, '/dev/null', '/dev/zero'];
  const before = nodes.map(stateOf);
  // A failure must not leave the machine without them.
  afterwards(t, () => {
    for (const path of ['/dev/null', '/dev/zero']) chmodSync(path, 0o666);
  });
  const script = `for node in /dev/shared /dev/null /dev/zero /dev/stdin; do
    chmod 4600 $node; chown 1:1 $node; touch -d 2020-01-01 $node; echo x > $node
  done; echo done`;
  for (const userns of ['host', 'self']) {
    const flags = ['--userns', userns, '--device', `${shared}:/dev/shared`];
    const line = 'md-isolate "$@" < /dev/null';
    const { stdout } = await shell(line, [...flags, root, 'sh', '-c', script]);
    assert.equal(stdout, 'done\n', userns);
    assert.deepEqual(nodes.map(stateOf), before, userns);
  }
});

test('--device without a target keeps its name, takes rights, and a directory with all its devices', {
  skip,
}, async (t) => {
  const root = makeRoot(t);
  const directory = join(root, '../devices');
  mkdirSync(join(directory, 'below'), { recursive: true });
  execFileSync('mknod', [join(directory, 'zero'), 'c', '1', '5']);
  execFileSync('mknod', [join(directory, 'below/full'), 'c', '1', '7']);
  writeFileSync(join(directory, 'file'), '');
  symlinkSync('zero', join(directory, 'link'));
  assert.equal(await output(root, 'ls /dev/full', ['--device', '/dev/full']), '/dev/full');
  assert.equal(await output(root, firstByte('/dev/x'), ['--device', `${directory}/link:/dev/x:rwm`]), ' 00');
  assert.equal(await output(root, firstByte(`${directory}/zero`), ['--device', `${directory}/zero:rw`]), ' 00');
  const script = `${firstByte('/dev/all/zero')}; ${firstByte('/dev/all/below/full')}; ls /dev/all`;
  assert.equal(await output(root, script, ['--device', `${directory}:/dev/all`]), ' 00\n 00\nbelow\nzero');
});

test('a device that has gone since its directory was read is left out', (t) => {
  const gone = { name: 'gone', isDirectory: () => false, isCharacterDevice: () => true, isBlockDevice: () => false };
  t.mock.method(fs, 'readdirSync', () => [gone, { ...gone, name: 'null' }]);
  spreadMocks(t);
  assert.deepEqual(
    deviceNodes('/dev').map(({ path }) => path),
    ['null'],
  );
});

test('a directory of devices that is removed while they are looked for is left out', {
  skip: skip || needs('strace'),
}, async (t) => {
  const root = makeRoot(t);
  const directory = join(root, '../devices');
  const below = join(directory, 'below');
  mkdirSync(below, { recursive: true });
  execFileSync('mknod', [join(directory, 'mine'), 'c', '1', '5']);
  const slowly = injecting('openat:delay_enter=800000', below);
  const slow = run([...slowly, 'md-isolate', '--device', `${directory}:/dev/all`, root, 'ls', '/dev/all']);
  await new Promise((done) => setTimeout(done, 400));
  rmdirSync(below);
  const { stdout, stderr } = await slow;
  assert.deepEqual([stdout, stderr], ['mine\n', '']);
});

test('--device does not go where links of the image lead', { skip }, async (t) => {
  const root = makeRoot(t);
  symlinkSync('/etc/passwd', join(root, 'dev/mine'));
  const script = `${firstByte('/dev/mine')}; grep -c ^root: /etc/passwd`;
  assert.equal(await output(root, script, ['--device', '/dev/zero:/dev/mine']), ' 00\n1');
});

test('--device that cannot be is refused with a reason', { skip }, async (t) => {
  const root = makeRoot(t);
  const empty = join(root, '../empty');
  mkdirSync(empty);
  const cases: [string, RegExp][] = [
    ['/dev/nosuch', /--device \/dev\/nosuch: \/dev\/nosuch: no such file or directory/],
    ['/etc/passwd:/dev/x', /it is not a device; -v shows files/],
    [`${empty}:/dev/x`, /there is no device in it/],
    ['/dev/zero:/dev/x:r', /could read and write it all the same/],
    ['/dev/zero:/dev/x:rwx', /it is not HOST/],
    ['/dev/zero:x', /the target "x" is not absolute/],
    ['/dev/zero:/proc/x', /belongs to the kernel/],
    ['vendor.test/gpu=all', /is not a path/],
    ['', /it is not HOST/],
  ];
  for (const [device, reason] of cases) {
    const { status, stderr } = await inside(root, 'true', ['--device', device]);
    assert.equal(status, 125, device);
    assert.match(stderr, reason);
  }
});

test("an ordinary user's container has the devices that the user may open", { skip: needsRootless }, async (t) => {
  const { root, home, command } = await rootless(t);
  const isolate = (...args: string[]) => run(command(...args), { cwd: home, env: { HOME: home } });
  const { stdout } = await isolate('--device', '/dev/zero:/dev/mine', root, 'sh', '-c', firstByte('/dev/mine'));
  assert.equal(stdout, ' 00\n');
  const refused = await isolate('--group-add', '50', root, 'true');
  assert.equal(refused.status, 125);
  assert.match(refused.stderr, /--group-add: a user namespace with one id keeps the caller's groups/);
});

test('--group-add, --add-host, --dns and --security-opt reach the command', { skip }, async (t) => {
  const root = makeRoot(t);
  const flags = ['-u', '1000:1000', '--group-add', 'staff', '--group-add', '77', '--security-opt', 'no-new-privileges'];
  const names = ['--hostname', 'box', '--add-host', 'db.test:192.0.2.1', '--dns', '192.0.2.53', '--dns-search', '.'];
  const script =
    'id -G; grep -c 192.0.2.1.db.test /etc/hosts; cat /etc/resolv.conf | grep -v ^options; grep NoNew /proc/self/status';
  assert.equal(
    await output(root, script, [...flags, ...names]),
    '1000 50 77\n1\nnameserver 192.0.2.53\nNoNewPrivs:\t1',
  );
});
