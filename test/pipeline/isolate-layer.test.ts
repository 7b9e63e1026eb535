/** `--layer LAYER`: what a container writes is kept, and what LAYER may be. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdirSync, readdirSync, statfsSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { inside, makeRoot, needsContainer, output, until } from '../support/rootfs.js';
import { needsRootless, rootless } from '../support/rootless.js';
import { afterwards, cleanEnv, md, needs, run } from '../support/run.js';
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
  assert.deepEqual(describeTree(root), before);
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
    [other, /: this layer lies over \/.*\/root, and not over \/.*\/root; begin another one for this image$/m],
    [join(root, 'bin/busybox'), /busybox: not a directory \(ENOTDIR\)$/m],
    [join(root, 'none/such'), /such: no such file or directory \(ENOENT\)$/m],
    ['', /--layer: the path is empty$/m],
  ] as const) {
    const { status, stdout, stderr } = await inside(root, 'echo in', ['--layer', layer]);
    assert.match(stderr, why);
    assert.equal(stdout, '');
    assert.equal(status, 125);
  }
  assert.deepEqual([readdirSync(full), readdirSync(foreign), readdirSync(wide)], [['file'], [], []]);
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

test('--layer: what a layer cannot lie on is said where the kernel refuses it', {
  skip: skip || needs('unshare'),
}, async (t) => {
  const script = `
    mount -t tmpfs tmpfs /mnt && cd /mnt && mkdir upper work over &&
    mount -t overlay -o lowerdir="$0",upperdir=upper,workdir=work overlay over && exec md-isolate --layer over/l "$0" true`;
  const { status, stderr } = await run(['unshare', '-m', 'sh', '-c', script, makeRoot(t)]);
  assert.match(stderr, /^md-isolate: fsconfig.*\(EINVAL\); a layer cannot be on another overlay or on NFS: ext4, /);
  assert.equal(status, 125);
});

test('--layer with --dry-run makes nothing', { skip }, async (t) => {
  const root = makeRoot(t);
  const layer = join(root, '../layer');
  const { stdout } = await md('md-isolate', ['--dry-run', '--layer', layer, root, 'true']);
  assert.match(stdout, /mkdirat\([^\n]*upper/);
  assert.ok(!existsSync(layer));
});
