/** `--layer LAYER`: what a container writes is kept, and what LAYER may be. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statfsSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { ignoring } from '../../lib/base/failure.js';
import { holdLayer } from '../../lib/isolate/filesystem/layer.js';
import { tryLock } from '../../lib/sys/files/lock.js';
import { lsetxattr } from '../../lib/sys/syscalls/calls.js';
import { injecting } from '../support/injected-call.js';
import { isRunning } from '../support/processes.js';
import { describeRoot, inside, makeRoot, needsContainer, output, until } from '../support/rootfs.js';
import { needsRootless, rootless } from '../support/rootless.js';
import { afterwards, cleanEnv, md, needs, run, scratch, shell } from '../support/run.js';
import { describeTree } from '../support/tree.js';

const overlayfs = 0x794c7630;
const onOverlay = statfsSync(tmpdir()).type === overlayfs && 'the temporary directory is on an overlay itself';
const skip = needsContainer || onOverlay;

/** What an overlay has to note: a directory that is removed and made again, a file removed, one changed, one new. */
const change =
  'umount /etc/*; set -e; rm -r /etc; mkdir /etc; echo new >/etc/new; rm /bin/vi; echo x >>/root/.profile; busybox chown 1000:50 /etc/new';
const look = 'ls /etc; ls /bin/vi /root/.profile 2>/dev/null; stat -c "%a %u:%g" /etc/new /';
const seen = 'hostname\nhosts\nnew\nresolv.conf\n/root/.profile\n644 1000:50\n1711 0:50';

test('--layer: what is written is there the next time, and the tree stays as it was', { skip }, async (t) => {
  const root = makeRoot(t);
  chownSync(root, 0, 50);
  chmodSync(root, 0o1711);
  const before = describeTree(root);
  const layer = join(root, '../a layer:,\\');
  const flags = ['--layer', layer];
  await output(root, change, [...flags, '--cap-add', 'SYS_ADMIN']);
  for (const more of [[], ['--read-only'], ['--overlay']])
    assert.equal(await output(root, look, [...flags, ...more]), seen);
  assert.deepEqual(describeTree(root), before);
  assert.equal(statSync(layer).mode & 0o777, 0o700);
  assert.match(
    (await md('md-isolate', ['-x', ...flags, root, 'true'])).stderr,
    /lands in the upper layer, in this directory/,
  );
});

test('--layer: an ordinary user removes a directory of the image, makes it again, and finds it the next time', {
  skip: needsRootless || onOverlay,
}, async (t) => {
  const { root, home, command } = await rootless(t);
  const before = describeTree(root);
  const start = async (script: string) =>
    (await run(command('--layer', 'box', root, 'sh', '-c', script), { cwd: home })).stdout;
  assert.equal(await start('rm -r /tmp && mkdir /tmp && echo kept >/tmp/file; ls /tmp'), 'file\n');
  assert.equal(await start('cat /tmp/file; rm -r /tmp; ls /'), 'kept\nbin\ndev\netc\nproc\nroot\nsys\n');
  assert.equal(await start('ls -d /tmp; mkdir /tmp; ls /tmp'), '');
  assert.equal((await run(command('--layer', 'box', root, 'true'), { cwd: home })).status, 0);
  assert.equal(statSync(join(home, 'box/work/work')).mode & 0o777, 0o700, 'rm -r can empty it');
  assert.deepEqual(describeTree(root), before);
});

test('--layer: what a container has closed to its caller does not keep it from beginning again', {
  skip: needsRootless || onOverlay,
}, async (t) => {
  const { root, home, command } = await rootless(t);
  const start = (...words: string[]) => run(command('--layer', 'box', ...words), { cwd: home });
  await start(root, 'sh', '-c', 'mkdir -m 0 /closed /closed/file && chmod 0 /etc');
  const { status, stdout, stderr } = await start(
    '--tmpfs',
    '/closed/in',
    root,
    'sh',
    '-c',
    'cat /etc/hostname; ls /closed',
  );
  assert.match(stdout, /^[0-9a-f]{12}\nfile\nin\n$/);
  assert.match(
    stderr,
    /^md-isolate: \/etc\/passwd of the image and \/etc\/group of the image: permission denied \(EACCES\); .*\n$/,
  );
  assert.equal(status, 0);
  const named = await start('-u', 'user', root, 'true');
  assert.match(named.stderr, /\/etc\/passwd of the image: permission denied \(EACCES\); .*: chmod a\+r\n$/);
  assert.equal(named.status, 125);
  await start(root, 'chmod', '755', '/etc');
  assert.equal((await start(root, 'sh', '-c', 'echo $HOME')).stdout, '/root\n');
});

test('--layer: a directory of another owner that the container may not enter either is named', {
  skip: needsRootless || onOverlay,
}, async (t) => {
  const { root, home, command } = await rootless(t);
  const start = (...words: string[]) => run(command('--layer', 'box', ...words), { cwd: home });
  await start(root, 'mkdir', '-m', '700', '/closed');
  chownSync(join(home, 'box/upper/closed'), 5, 5);
  const { status, stderr } = await start('--tmpfs', '/closed/in', root, 'true');
  assert.match(
    stderr,
    /^md-isolate: openat2\(.*"closed".*: permission denied \(EACCES\); a directory there is of an owner that the container does not have, .*\n$/,
  );
  assert.equal(status, 125);
});

test('--layer: where there is no /proc the message is about that', { skip }, async (t) => {
  const root = makeRoot(t);
  const layer = join(root, '../layer');
  const script = `unshare -m sh -c 'umount -l /proc; exec md-isolate --layer "$1" "$2" true' sh "$1" "$2"`;
  const { status, stderr } = await shell(script, [layer, root]);
  assert.match(stderr, /^md-isolate: \/proc: it is not mounted, .*; mount -t proc proc \/proc\n$/);
  assert.equal(status, 125);
  assert.ok(!existsSync(layer));
});

test('--layer: a directory that is something else, or lies over another tree, is refused', { skip }, async (t) => {
  const root = makeRoot(t);
  const path = (name: string, mode = 0o700) => {
    const made = join(root, '..', name);
    mkdirSync(made, { mode });
    return made;
  };
  const full = path('full');
  writeFileSync(join(full, 'file'), '');
  const foreign = path('foreign');
  chownSync(foreign, 1000, 1000);
  const other = path('other');
  await output(makeRoot(t), 'true', ['--layer', other]);
  const wide = path('wide');
  chmodSync(wide, 0o711);
  for (const [layer, why] of [
    [full, /: it is not empty, and no layer; name a directory of its own$/m],
    [foreign, /: it belongs to another user$/m],
    [wide, /: other users may enter it; chmod 700 /m],
    [
      other,
      /: this layer lies over \/.*\/root, and not over \/.*\/root; begin another one .* go on with md-isolate --layer /m,
    ],
    [join(root, 'inner'), /: it lies in \/.*\/root; name a directory beside that$/m],
    ['/etc/passwd', /passwd: not a directory \(ENOTDIR\)$/m],
    [join(root, '../none/such'), /--layer .*such: no such file or directory \(ENOENT\)$/m],
    ['', /--layer: the path is empty$/m],
  ] as const) {
    const { status, stdout, stderr } = await inside(root, 'echo in', ['--layer', layer]);
    assert.match(stderr, why);
    assert.equal(stdout, '');
    assert.equal(status, 125);
  }
  assert.deepEqual([readdirSync(full), readdirSync(foreign), readdirSync(wide)], [['file'], [], []]);
  assert.ok(!existsSync(join(root, 'inner')));
});

test('--layer: whether a directory lies in the tree is asked of where it really is', (t) => {
  const home = scratch(t);
  const tree = join(home, 'tree');
  mkdirSync(tree);
  symlinkSync(tree, join(home, 'link'));
  assert.throws(() => holdLayer(join(home, 'link/layer'), tree), /: it lies in \/.*\/tree; /);
  assert.deepEqual(readdirSync(tree), []);
  const beside = `${tree}.layer`;
  assert.equal(holdLayer(beside, tree).path, beside);
});

test('--layer: of a container that could not begin no directory is left, and one that was there stays', {
  skip,
}, async (t) => {
  const root = makeRoot(t);
  const [made, there] = ['made', 'there'].map((name) => join(root, '..', name)) as [string, string];
  mkdirSync(there, { mode: 0o700 });
  // For this no plan can be made.
  const tooLong = join(root, '..', 'env');
  writeFileSync(tooLong, `PATH=/${'a'.repeat(2 ** 17)}\n`);
  for (const layer of [made, there]) {
    for (const [flag, value, why] of [
      ['-u', 'nobody-here', /the image has no such name/],
      ['--env-file', tooLong, /PATH: it has more than/],
    ] as const) {
      const { status, stderr } = await inside(root, 'true', ['--layer', layer, flag, value]);
      assert.match(stderr, why);
      assert.equal(status, 125);
    }
  }
  assert.deepEqual([existsSync(made), readdirSync(there)], [false, []]);
});

test('--layer: a layer whose beginning was interrupted is begun to the end', { skip }, async (t) => {
  const root = makeRoot(t);
  chownSync(root, 0, 50);
  const whole = ['layer.json', 'lower', 'process', 'upper', 'work'];
  for (const left of [
    [],
    ['layer.json'],
    ['layer.json', 'lower'],
    ['layer.json', 'lower', 'upper'],
    ['lower', 'work'],
  ]) {
    const layer = join(root, '..', left.join('+') || 'empty');
    mkdirSync(layer, { mode: 0o700 });
    for (const name of left) {
      if (name === 'lower') symlinkSync(root, join(layer, name));
      else if (name === 'layer.json') writeFileSync(join(layer, name), '{"digest":null,"userNamespace":false}');
      else mkdirSync(join(layer, name));
    }
    assert.equal(await output(root, 'stat -c %g /', ['--layer', layer]), '50', left.join());
    assert.deepEqual(readdirSync(layer), left.includes('layer.json') || left.length === 0 ? whole : whole.slice(1));
  }
});

test('--layer: no part of it leads to another place of the host', { skip }, async (t) => {
  const root = makeRoot(t);
  const elsewhere = join(root, '../elsewhere');
  mkdirSync(join(elsewhere, 'work'), { recursive: true });
  writeFileSync(join(elsewhere, 'work/file'), 'secret');
  for (const part of ['upper', 'work']) {
    const layer = join(root, '..', part);
    await output(root, 'true', ['--layer', layer]);
    rmSync(join(layer, part), { recursive: true });
    symlinkSync(elsewhere, join(layer, part));
    const { status, stdout, stderr } = await inside(root, 'cat /work/file', ['--layer', layer]);
    assert.match(
      stderr,
      new RegExp(`: its ${part} is not a directory; something else than md-isolate changed it$`, 'm'),
    );
    assert.deepEqual([status, stdout], [125, '']);
  }
  const layer = join(root, '../notes');
  mkdirSync(layer, { mode: 0o700 });
  symlinkSync(join(elsewhere, 'work/file'), join(layer, 'layer.json'));
  await output(root, 'true', ['--layer', layer]);
  assert.deepEqual(readdirSync(join(elsewhere, 'work')), ['file']);
  assert.equal(readFileSync(join(elsewhere, 'work/file'), 'utf8'), 'secret');
  // Once it is begun the notes are read.
  renameSync(join(layer, 'layer.json'), join(elsewhere, 'notes'));
  symlinkSync(join(elsewhere, 'notes'), join(layer, 'layer.json'));
  const { status, stderr } = await inside(root, 'true', ['--layer', layer]);
  assert.match(stderr, /--layer \/.*\/notes: .*\(ELOOP\)$/m);
  assert.equal(status, 125);
});

test('--layer: one that is exchanged after it was checked is not used', { skip }, async (t) => {
  const root = makeRoot(t);
  const [layer, other, hook] = ['layer', 'other', 'hook.cjs'].map((name) => join(root, '..', name)) as [
    string,
    string,
    string,
  ];
  for (const path of [layer, other]) await output(root, `echo ${path} >/which`, ['--layer', path]);
  writeFileSync(
    hook,
    `const fs = require('node:fs');
    const { readlinkSync } = fs;
    fs.readlinkSync = (path) => {
      if (path.endsWith('/lower')) {
        fs.renameSync(${JSON.stringify(layer)}, ${JSON.stringify(`${layer}.away`)});
        fs.renameSync(${JSON.stringify(other)}, ${JSON.stringify(layer)});
      }
      return readlinkSync(path);
    };`,
  );
  const { status, stdout, stderr } = await run(['md-isolate', '--layer', layer, root, 'cat', '/which'], {
    env: { NODE_OPTIONS: `--require=${hook}` },
  });
  assert.match(stderr, /\(EBUSY\); the directory of --layer was exchanged just now: /);
  assert.deepEqual([status, stdout], [125, '']);
});

test('--layer: users, groups and links that were made in it count the next time', { skip }, async (t) => {
  const root = makeRoot(t, { links: { 'tmp/link': '/bin' } });
  const flags = ['--layer', join(root, '../layer')];
  const make = `echo new:x:7:8::/srv/new:/bin/sh >>/etc/passwd; echo more:x:9:new >>/etc/group; mkdir -p /srv/new
    rm -r /root /tmp; ln -s srv/new /root; mkdir /tmp; busybox chmod 750 /srv; busybox chown 5:6 /srv`;
  await output(root, make, flags);
  assert.equal(await output(root, 'id -u; id -G; echo $HOME', [...flags, '-u', 'new']), '7\n8 9\n/srv/new');
  const volumes = ['--tmpfs', '/srv', '--tmpfs', '/root/a', '--tmpfs', '/tmp/link'];
  const look = 'stat -c "%a %u:%g" /srv; grep -c -E " /srv/new/a | /tmp/link " /proc/mounts';
  assert.equal(await output(root, look, [...flags, ...volumes]), '750 5:6\n2');
  await output(root, 'rm /etc/passwd', flags);
  const { status, stderr } = await inside(root, 'true', [...flags, '-u', 'new']);
  assert.match(stderr, /the image has no such name/);
  assert.equal(status, 125);
});

test('--layer: what a directory hands down to all in it stays outside', { skip }, async (t) => {
  const root = makeRoot(t);
  const around = join(root, '../around');
  mkdirSync(around);
  chownSync(around, 0, 50);
  chmodSync(around, 0o2755);
  // Two bytes each for the kind and the permissions, four for the id: acl(5). User 1000 may do everything.
  const entries = [
    [1, 7, -1],
    [2, 7, 1000],
    [4, 7, -1],
    [16, 7, -1],
    [32, 5, -1],
  ] as const;
  const acl = Buffer.from([
    2,
    0,
    0,
    0,
    ...entries.flatMap(([kind, may, id]) => [kind, 0, may, 0, ...new Uint8Array(new Int32Array([id]).buffer)]),
  ]);
  lsetxattr(around, 'system.posix_acl_default', acl, acl.length, 0);
  const layer = join(around, 'layer');
  const script = 'touch /file; mkdir /directory; stat -c "%a %u:%g" / /file /directory';
  assert.equal(await output(root, script, ['--layer', layer]), '755 0:0\n644 0:0\n755 0:0');
  assert.equal(statSync(layer).mode & 0o7777, 0o700);
});

test('--layer: it goes with the image and the kind of overlay that it was begun with', { skip }, async (t) => {
  const root = makeRoot(t);
  const layer = join(root, '../layer');
  const image = (hex: string) => describeRoot(root, {}, { digest: `sha256:${hex.repeat(64)}` });
  image('0');
  await output(root, 'echo kept >/file', ['--layer', layer]);
  image('1');
  const replaced = await inside(root, 'cat /file', ['--layer', layer]);
  assert.match(replaced.stderr, /: it was begun over sha256:0+, and \/.*\/root is sha256:1+ now; begin another one/);
  assert.deepEqual([replaced.status, replaced.stdout], [125, '']);
  image('0');
  const mapped = await inside(root, 'cat /file', ['--userns', 'self', '--layer', layer]);
  assert.match(mapped.stderr, /: it was begun without a user namespace, and can only be read so; add --userns host$/m);
  assert.deepEqual([mapped.status, mapped.stdout], [125, '']);
  assert.equal(await output(root, 'cat /file', ['--layer', layer]), 'kept');
});

test('--layer: one container at a time; the next one may begin when it has ended', { skip }, async (t) => {
  const root = makeRoot(t);
  const layer = join(root, '../layer');
  const flags = ['--layer', layer];
  const child = spawn('md-isolate', [...flags, root, 'sh', '-c', 'echo >/up; exec sleep 1000'], { env: cleanEnv() });
  afterwards(t, () => child.kill('SIGKILL'));
  await until(() => existsSync(join(layer, 'upper/up')));
  const { status, stderr } = await inside(root, 'true', flags);
  assert.match(stderr, /--layer .*layer: another container writes to it$/m);
  assert.equal(status, 125);
  child.kill('SIGTERM');
  child.kill('SIGKILL');
  await until(async () => (await inside(root, 'rm /up', flags)).status === 0);
});

test('--layer: a container that outlives its md-isolate keeps it', { skip }, async (t) => {
  const root = makeRoot(t);
  const layer = join(root, '../layer');
  // busybox su becomes the command, and the change of user takes away the signal that was to end it.
  const script = 'chmod 777 /tmp; exec su user -s /bin/sh -c "echo >/tmp/up; exec sleep 1000"';
  const child = spawn('md-isolate', ['--layer', layer, root, 'sh', '-c', script], { env: cleanEnv() });
  afterwards(t, () => child.kill('SIGKILL'));
  await until(() => existsSync(join(layer, 'upper/tmp/up')));
  child.kill('SIGKILL');
  await until(() => child.signalCode !== null);
  const { status, stderr } = await inside(root, 'true', ['--layer', layer]);
  const [, pid = ''] =
    /layer: process (\d+) writes to it, whose md-isolate was killed; kill -9 \1$/m.exec(stderr) ?? [];
  assert.ok(pid !== '', stderr);
  assert.equal(status, 125);
  process.kill(Number(pid), 'SIGKILL');
  await until(() => !isRunning(Number(pid)));
  assert.equal(await output(root, 'ls /tmp', ['--layer', layer]), 'up');
});

test('--layer: what a layer cannot lie on is said where the kernel refuses it, and no directory is left', {
  skip: skip || needs('unshare'),
}, async (t) => {
  const script = `
    mount -t tmpfs tmpfs /mnt && cd /mnt && mkdir upper work over &&
    mount -t overlay -o lowerdir="$0",upperdir=upper,workdir=work overlay over &&
    if md-isolate --layer over/l "$0" true; then exit; else status=$?; ls -d over/l 2>/dev/null; exit "$status"; fi`;
  const { status, stdout, stderr } = await run(['unshare', '-m', 'sh', '-c', script, makeRoot(t)]);
  assert.match(
    stderr,
    /^md-isolate: fsconfig.*\(EINVAL\); a layer cannot be on another overlay, on NFS or on FUSE, nor .*: ext4, /,
  );
  assert.deepEqual([status, stdout], [125, '']);
});

test('--layer: a filesystem without extended attributes is refused, where no directory could be removed', {
  skip: skip || needs('unshare'),
}, async (t) => {
  const script = 'mount -t ramfs ramfs /mnt && exec md-isolate --layer /mnt/l "$0" true';
  const { status, stderr } = await run(['unshare', '-m', 'sh', '-c', script, makeRoot(t)]);
  assert.equal(
    stderr,
    'md-isolate: --layer /mnt/l: its filesystem has no extended attributes; ext4, xfs, btrfs and tmpfs have them\n',
  );
  assert.equal(status, 125);
});

test('--layer: of a directory that is given up nothing is removed that another process has put there', (t) => {
  const home = scratch(t);
  const [tree, path, elsewhere] = ['tree', 'box', 'elsewhere'].map((name) => join(home, name)) as [
    string,
    string,
    string,
  ];
  for (const directory of [tree, elsewhere, join(elsewhere, 'work')]) mkdirSync(directory);
  const layer = holdLayer(path, tree);
  symlinkSync(elsewhere, join(path, 'work'));
  layer.giveUp();
  assert.deepEqual([readdirSync(elsewhere), readdirSync(path)], [['work'], ['work']]);
  rmSync(join(path, 'work'));
  mkdirSync(join(path, 'work/work'), { recursive: true });
  layer.giveUp();
  assert.equal(existsSync(path), false);
});

test('--layer: a new layer that a container still writes to is not given up', (t) => {
  const home = scratch(t);
  const path = join(home, 'box');
  mkdirSync(join(home, 'tree'));
  const layer = holdLayer(path, join(home, 'tree'));
  layer.leaveMark(process.pid);
  layer.giveUp();
  assert.deepEqual(readdirSync(path), ['process']);
});

test('--layer: a filesystem without device nodes is refused, where nothing could be removed', {
  skip: skip || needs('strace'),
}, async (t) => {
  const root = makeRoot(t);
  const layer = join(root, '../box');
  // As on 9p, and on fuse-overlayfs, which makes it and hides it.
  for (const errno of ['ENXIO', 'ENOENT']) {
    const strace = ['strace', '-qq', '-o', '/dev/null', '-e', `inject=mknodat:error=${errno}:when=1`];
    const { status, stderr } = await run([...strace, 'md-isolate', '--layer', layer, root, 'true']);
    assert.match(stderr, /^md-isolate: --layer \/.*box: its filesystem has no device nodes, .*; ext4, .* have them\n$/);
    assert.deepEqual([status, existsSync(layer)], [125, false]);
  }
});

test('--layer: where a new directory is open to others whatever its mode, its filesystem is blamed', {
  skip: skip || needs('unshare', 'mkntfs', 'lowntfs-3g'),
}, async (t) => {
  const script = `cd "$1" && truncate -s 2M disk && mkntfs -q -F disk >/dev/null 2>&1 && mkdir on && lowntfs-3g disk on 2>/dev/null || exit 99
    md-isolate --layer on/l "$2" true; status=$?; ls on; umount on; exit $status`;
  const root = makeRoot(t);
  const { status, stdout, stderr } = await run(['unshare', '-m', 'sh', '-c', script, 'sh', dirname(root), root]);
  if (status === 99) return t.skip('nothing can be mounted by FUSE here');
  assert.match(
    stderr,
    /^md-isolate: --layer \S+on\/l: its filesystem keeps no owners and modes; ext4, .* have them\n$/,
  );
  assert.deepEqual([status, stdout], [125, '']);
});

for (const when of ['enter', 'exit'] as const) {
  test(`--layer: a directory that is given up while another container opens it is made again (${when})`, {
    skip: skip || needs('strace'),
  }, async (t) => {
    const root = makeRoot(t);
    const layer = join(root, '../layer');
    const slowly = injecting(`openat:delay_${when}=500000:when=1`, layer);
    const slow = run([...slowly, 'md-isolate', '--layer', layer, root, 'touch', 'made']);
    await until(() => existsSync(layer), 1);
    // Between making and opening it, or between opening and locking.
    await new Promise((done) => setTimeout(done, when === 'enter' ? 0 : 100));
    ignoring(['ENOTEMPTY'], () => rmdirSync(layer));
    const { status, stderr } = await slow;
    assert.deepEqual([status, stderr], [0, '']);
    assert.ok(existsSync(join(layer, 'upper/made')));
  });
}

test('--layer: a new directory that another container locks first is left to that one', {
  skip: skip || needs('strace'),
}, async (t) => {
  const root = makeRoot(t);
  const layer = join(root, '../layer');
  const slowly = injecting('openat:delay_enter=500000:when=1', layer);
  const slow = run([...slowly, 'md-isolate', '--layer', layer, root, 'true']);
  await until(() => existsSync(layer), 1);
  const other = openSync(layer, constants.O_RDONLY);
  afterwards(t, () => closeSync(other));
  assert.ok(tryLock(other, 'exclusive'));
  const { status, stderr } = await slow;
  assert.match(stderr, /: another container writes to it\n$/);
  assert.deepEqual([status, existsSync(layer)], [125, true]);
});

test('--layer with --dry-run makes nothing', { skip }, async (t) => {
  const root = makeRoot(t);
  const layer = join(root, '../layer');
  const { stdout } = await md('md-isolate', ['--dry-run', '--layer', layer, root, 'true']);
  assert.match(stdout, /mkdirat\([^\n]*upper/);
  assert.ok(!existsSync(layer));
});

test('--layer: the first process waits until its name has been noted down', { skip }, async (t) => {
  const root = makeRoot(t);
  const { stdout } = await md('md-isolate', ['--dry-run', '--layer', join(root, '../layer'), root, 'true']);
  assert.match(stdout, /"call":"read\([^\n]*notes down who writes to the layer.*"call":"mount\(/s);
});
