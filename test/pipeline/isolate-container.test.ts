/** What a container looks like from inside, what flags change in it, and why one cannot be made. As root. */
import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { busybox, describeRoot, inside, makeRoot, needsContainer, output } from '../support/rootfs.js';
import { binDir, md, needs, run, scratch, shell } from '../support/run.js';
import { describeTree } from '../support/tree.js';

const skip = needsContainer;

test('--net none leaves lo alone, and up', { skip }, async (t) => {
  const root = makeRoot(t);
  const script = 'ls /sys/class/net; ip -o addr show lo | grep -o 127.0.0.1/8; readlink /proc/self/ns/net';
  const lines = (await output(root, script, ['--net', 'none'])).split('\n');
  assert.deepEqual(lines.slice(0, 2), ['lo', '127.0.0.1/8']);
  assert.notEqual(lines[2], readlinkSync('/proc/self/ns/net'));
});

test('another user has no capabilities, and the same bounding set', { skip }, async (t) => {
  const root = makeRoot(t);
  assert.deepEqual((await output(root, 'grep Cap /proc/self/status', ['-u', 'user'])).split('\n'), [
    'CapInh:\t0000000000000000',
    'CapPrm:\t0000000000000000',
    'CapEff:\t0000000000000000',
    'CapBnd:\t00000000a80425fb',
    'CapAmb:\t0000000000000000',
  ]);
});

test('--cap-drop ALL --cap-add CHOWN leaves one capability', { skip }, async (t) => {
  const root = makeRoot(t);
  const flags = ['--cap-drop', 'ALL', '--cap-add', 'CHOWN'];
  assert.equal(
    await output(root, 'grep -E "CapEff|CapBnd" /proc/self/status | cut -f2', flags),
    '0000000000000001\n0000000000000001',
  );
});

test('no_new_privs is off, and on with --no-new-privs', { skip }, async (t) => {
  const root = makeRoot(t);
  const script = 'grep NoNewPrivs /proc/self/status | cut -f2';
  assert.equal(await output(root, script), '0');
  assert.equal(await output(root, script, ['--no-new-privs']), '1');
});

test('a command that is not there is 127, one that cannot be executed 126, a container that cannot be made 125', {
  skip,
}, async (t) => {
  const root = makeRoot(t);
  writeFileSync(join(root, 'bin/text'), 'no program\n', { mode: 0o755 });
  writeFileSync(join(root, 'bin/orphan'), '#!/no/such/interpreter\n', { mode: 0o755 });
  writeFileSync(join(root, 'bin/second'), '#! /bin/orphan -x\n', { mode: 0o755 });
  writeFileSync(join(root, 'bin/windows'), '#!/bin/sh\r\ntrue\r\n', { mode: 0o755 });
  // The kernel looks for the dynamic loader before it reads more.
  const elf = readFileSync(process.execPath).toString('latin1', 0, 8192);
  writeFileSync(join(root, 'bin/linked'), elf.replace(/\/lib(?=\S*\/ld-)/, '/nil'), {
    mode: 0o755,
    encoding: 'latin1',
  });
  const outside = scratch(t);
  writeFileSync(join(outside, 'orphan'), '#!/no/such/interpreter\n', { mode: 0o755 });
  const cases: [string[], number, RegExp][] = [
    [[root, 'nosuch'], 127, /^md-isolate: nosuch: not found in the container's PATH\n$/],
    [[root, ''], 127, /^md-isolate: "": not found in the container's PATH\n$/],
    [
      [root, 'echo hi'],
      127,
      /^md-isolate: echo hi: .*; it is one word: leave out the quotes, or put sh -c in front .*\n$/,
    ],
    [[root, '-it', 'sh'], 127, /^md-isolate: -it: not found in the container's PATH; flags go before the image .*\n$/],
    [[root, '/bin/nosuch'], 127, /^md-isolate: \/bin\/nosuch: no such file or directory \(ENOENT\)\n$/],
    [
      [root, '/bin/orphan'],
      127,
      /^md-isolate: \/bin\/orphan: its interpreter "\/no\/such\/interpreter" is not in .*\n$/,
    ],
    [[root, 'orphan'], 127, /^md-isolate: \/bin\/orphan: its interpreter "\/no\/such\/interpreter" is not in .*\n$/],
    [['-w', '/bin', root, './orphan'], 127, /^md-isolate: \.\/orphan: its interpreter .*\n$/],
    [[root, 'second'], 127, /^md-isolate: \/bin\/second: its interpreter "\/no\/such\/interpreter" is not in .*\n$/],
    [[root, 'windows'], 127, /: its interpreter "\/bin\/sh\\r" is not .*; its first line ends in CRLF; sed .*\n$/],
    [[root, 'linked'], 127, /: its interpreter "\/nil.*ld-\S+" is not in the container; it was linked on .*\n$/],
    [['-v', `${outside}:/mnt`, root, '/mnt/orphan'], 127, /^md-isolate: \/mnt\/orphan: its interpreter .*\n$/],
    [[root, '/etc/passwd'], 126, /^md-isolate: \/etc\/passwd: permission denied \(EACCES\); .*\n$/],
    [[root, 'text'], 126, /^md-isolate: \/bin\/text: exec format error \(ENOEXEC\); .*\n$/],
    [[root, '/etc'], 126, /^md-isolate: \/etc: permission denied \(EACCES\); it is a directory.*\n$/],
    [[root], 125, /^md-isolate: command: none is given.* after the image or directory.*\n$/],
    [
      [`${root}/nowhere`],
      125,
      /^md-isolate: .*\/nowhere: no such file.*; DIR is a directory with a root filesystem.*\n$/,
    ],
    [['--nosuch', root, 'true'], 125, /^md-isolate: --nosuch: unknown flag.*\n$/],
    [[join(root, 'missing'), 'true'], 125, /^md-isolate: .*missing: no such file or directory.*\n$/],
    [['--detach-keys', 'ctrl-1', root, 'true'], 125, /^md-isolate: --detach-keys: "ctrl-1" is not a key; .*\n$/],
    [['', 'true'], 125, /^md-isolate: DIR: it is empty; write \. for the current directory\n$/],
    [['-u', 'stranger', root, 'true'], 125, /^md-isolate: --user: user "stranger": .*\n$/],
  ];
  for (const [args, status, stderr] of cases) {
    const result = await md('md-isolate', args);
    assert.equal(result.status, status, args.join(' '));
    assert.match(result.stderr, stderr);
    assert.equal(result.stdout, '');
  }
});

test('of a program for another machine the platform of its image is told', { skip }, async (t) => {
  const root = makeRoot(t);
  // The beginning of an ELF program for SPARC.
  const header = Buffer.alloc(64);
  header.set([0x7f, 0x45, 0x4c, 0x46, 2, 2, 1]);
  header.writeUInt16BE(2, 16);
  header.writeUInt16BE(43, 18);
  writeFileSync(join(root, 'bin/foreign'), header, { mode: 0o755 });
  writeFileSync(join(root, 'bin/script'), '#!/bin/foreign\n', { mode: 0o755 });
  describeRoot(root, {}, { platform: { os: 'linux', architecture: 'sparc64' } });
  for (const command of ['foreign', 'script']) {
    const { status, stderr } = await md('md-isolate', [root, command]);
    assert.equal(status, 126);
    assert.match(
      stderr,
      /exec format error \(ENOEXEC\); the image is for linux\/sparc64, this machine is linux\/a.*, unless it is a script without #!\n$/,
    );
  }
});

test('the command is looked up along PATH as by a shell, but never in the working directory', { skip }, async (t) => {
  const root = makeRoot(t);
  writeFileSync(join(root, 'tmp/pwd'), 'not executable\n', { mode: 0o644 });
  const passed = ['-w', '/usr', '-e', 'PATH=/etc/passwd:/nosuch:/tmp:/bin//', root, 'pwd'];
  assert.equal((await md('md-isolate', passed)).stdout, '/usr\n');
  for (const place of ['mine', 'tmp/mine']) writeFileSync(join(root, place), '#!/bin/sh\n', { mode: 0o755 });
  const relative = ['-w', '/tmp', '-e', 'PATH=:.:../tmp:', root, 'mine'];
  assert.equal((await md('md-isolate', relative)).status, 127);
});

test('a host whose mounts are shared sees nothing of them either', { skip: skip || needs('unshare') }, async (t) => {
  const root = makeRoot(t);
  // What is mounted below a shared mount appears in all that share it: here that is nobody else, since other processes
  // of this machine mount as well.
  const script = `
    mount --make-rshared / || exit
    mkdir "$1/../volume"; cat /proc/self/mountinfo > "$1/../before"; grep -q shared: "$1/../before" || exit 9
    md-isolate --privileged -v "$1/../volume:/mnt" "$1" sh -c 'mount -t tmpfs t /mnt; touch /tmp/up; while [ -e /tmp/up ]; do sleep 0.05; done' &
    while ! [ -e "$1/tmp/up" ]; do sleep 0.05; done
    cat /proc/self/mountinfo > "$1/../during"; rm "$1/tmp/up"; wait; diff "$1/../before" "$1/../during"`;
  const { status, stdout } = await run(['unshare', '-m', '--propagation', 'private', 'sh', '-c', script, 'sh', root]);
  assert.equal(stdout, '');
  assert.equal(status, 0);
});

test('the container has only its own mounts, none of the host', { skip }, async (t) => {
  const root = makeRoot(t);
  const mounts = (await output(root, 'cat /proc/self/mountinfo')).split('\n').map((line) => line.split(' '));
  const places = mounts.map((fields) => fields[4]!);
  const allowed = /^\/$|^\/(proc|sys|dev|etc\/(hosts|hostname|resolv\.conf)$)(\/|$)/;
  assert.deepEqual(
    places.filter((place) => !allowed.test(place)),
    [],
  );
  // The first field of a mount that is reachable from outside would name a peer group.
  assert.deepEqual(
    mounts.filter((fields) => fields.some((field) => /^(shared|master):/.test(field))),
    [],
  );
});

test('a device node that root makes in the container opens nothing, wherever it is', { skip }, async (t) => {
  const root = makeRoot(t);
  const shared = join(root, '../shared');
  mkdirSync(shared);
  const script =
    'for d in /x /tmp/x /dev/x /dev/shm/x /volume/x /memory/x; do mknod $d c 1 5 && head -c 1 $d; rm $d; done; true';
  for (const flags of [[], ['--overlay']]) {
    const { stdout, stderr } = await inside(root, script, [...flags, '-v', `${shared}:/volume`, '--tmpfs', '/memory']);
    assert.equal(stdout, '');
    assert.equal(stderr.match(/Permission denied/g)?.length, 6, stderr);
  }
});

test("/sys and docker's read-only paths cannot be written, its masked paths not be read", { skip }, async (t) => {
  const root = makeRoot(t);
  const script = `
    touch /sys/x /sys/firmware/x 2>&1; echo 1 > /proc/sys/kernel/panic; echo 1 > /proc/irq/default_smp_affinity
    wc -c < /proc/timer_list; wc -c < /proc/keys; ls /sys/firmware | wc -l; ls -d /proc/acpi/* 2>&1`;
  const { stdout, stderr } = await inside(root, script);
  assert.equal((stdout + stderr).match(/Read-only file system/g)?.length, 4);
  assert.match(stdout, /^0\n0\n0\nls: \/proc\/acpi\/\*: No such file/m);
});

test('/sys/fs/cgroup shows the own group only, read-only', { skip }, async (t) => {
  const root = makeRoot(t);
  const { stdout } = await inside(
    root,
    'grep -v ":/$" /proc/self/cgroup; grep " /sys/fs/cgroup" /proc/self/mountinfo | grep -c cgroup.*rw,nosuid.*-.cgroup; find /sys/fs/cgroup -name cgroup.procs | wc -l; touch /sys/fs/cgroup/x 2>&1',
  );
  const [writable, groups, refused = ''] = stdout.trim().split('\n');
  assert.match(refused, /Read-only file system/);
  assert.equal(writable, '0');
  assert.notEqual(groups, '0');
});

test('hostname, hosts and resolv.conf are those of the container', { skip }, async (t) => {
  const root = makeRoot(t);
  const script = 'hostname; cat /etc/hostname; grep -c "box-1$" /etc/hosts; echo $HOSTNAME; md5sum < /etc/resolv.conf';
  const { stdout } = await shell('md5sum < /etc/resolv.conf', []);
  for (const flags of [
    ['--hostname', 'box-1'],
    ['-h', 'box-1'],
  ]) {
    assert.equal(await output(root, script, flags), `box-1\nbox-1\n1\nbox-1\n${stdout.trim()}`);
  }
});

test("--user takes docker's forms", { skip }, async (t) => {
  const root = makeRoot(t);
  const id = async (user: string) => output(root, 'id -u; id -g; echo $(id -G); echo $HOME', ['-u', user]);
  assert.equal(await id('user'), '1000\n1000\n1000 10 50\n/home/user');
  assert.equal(await id('1000'), '1000\n1000\n1000 10 50\n/home/user');
  assert.equal(await id('user:staff'), '1000\n50\n50\n/home/user');
  assert.equal(await id('7'), '7\n0\n0\n/');
  assert.equal(await id('7:8'), '7\n8\n8\n/');
});

test('--read-only lets nothing be written to the root', { skip }, async (t) => {
  const root = makeRoot(t);
  const script =
    'touch /x; touch /dev/shm/y && echo shm; for f in hosts hostname resolv.conf; do echo >> /etc/$f; done';
  const { stdout, stderr } = await inside(root, script, ['--read-only']);
  assert.equal(stderr.match(/Read-only file system/g)?.length, 4);
  assert.equal(stdout, 'shm\n');
});

test('the tree of an image that has its mount points stays as it was', { skip }, async (t) => {
  const root = makeRoot(t);
  for (const name of ['hosts', 'hostname', 'resolv.conf']) writeFileSync(join(root, 'etc', name), 'of the image\n');
  const before = describeTree(root);
  assert.equal(await output(root, 'cat /etc/hostname', ['--hostname', 'h']), 'h');
  assert.deepEqual(describeTree(root), before);
});

test('mount points that the image lacks are made', { skip }, async (t) => {
  const root = makeRoot(t);
  await shell('rm -r "$1/proc" "$1/sys" "$1/dev"', [root]);
  assert.equal(await output(root, 'echo $$; ls -d /proc/1 /sys/class /dev/null'), '1\n/dev/null\n/proc/1\n/sys/class');
});

test("a VOLUME that the image lacks is made, where its links lead, and never among what is the kernel's", {
  skip,
}, async (t) => {
  const root = makeRoot(t, { links: { var: 'data/deep' } });
  const paths = ['/var/lib/app', '/tmp', '/etc/passwd', 'relative', '/', '/dev/x', '/sys/x', '/../../up'];
  describeRoot(root, { User: 'user', Volumes: Object.fromEntries(paths.map((path) => [path, {}])) });
  const script = 'stat -c "%n %a %u" /data/deep/lib/app /tmp /relative /up; head -1 /etc/passwd; ls -d /dev/x /sys/x';
  const { stdout } = await inside(root, script, ['--overlay', '-v', `${root}/etc:/var/lib/app/below`]);
  const made = '/data/deep/lib/app 755 0\n/tmp 1777 0\n/relative 755 0\n/up 755 0\nroot:x:0:0:root:/root:/bin/sh\n';
  assert.equal(stdout, made);
  // In a tree that cannot be written to there is none, and that is not a failure.
  for (const name of ['hosts', 'hostname', 'resolv.conf']) writeFileSync(join(root, 'etc', name), '');
  const readOnly = 'mount --bind -o ro "$1" "$1" && exec md-isolate "$1" ls -d /relative';
  const { stderr, status } = await shell('unshare -m sh -c "$2" sh "$1"', [root, readOnly]);
  assert.equal(stderr, 'ls: /relative: No such file or directory\n');
  assert.equal(status, 1);
});

test('a user whom the user namespace lacks is told so, with a terminal as well', { skip }, async (t) => {
  const root = makeRoot(t);
  for (const flags of [[], ['-t']]) {
    const { status, stderr } = await inside(root, 'true', ['--userns', 'self', '-u', '5', ...flags]);
    assert.match(
      stderr,
      /the user namespace has no (user|group) \d+: -u 0 is the caller, and (with --userns range|.* grants? root no ids: sudo)/,
    );
    assert.equal(status, 125);
  }
});

test('a tree may have as long a name, and lie as deep, as there can be', { skip }, async (t) => {
  const root = makeRoot(t);
  const long = join(root, '..', 'n'.repeat(255));
  renameSync(root, long);
  for (const flags of [[], ['--overlay']]) assert.equal(await output(long, 'echo in', flags), 'in');
  const deep = join(root, '..', 'a'.repeat(200), 'b'.repeat(200));
  mkdirSync(deep, { recursive: true });
  renameSync(long, join(deep, 'root'));
  for (const flags of [[], ['--overlay']]) assert.equal(await output(join(deep, 'root'), 'echo in', flags), 'in');
});

test('a mount point that a read-only tree lacks is no mystery', { skip }, async (t) => {
  const root = makeRoot(t);
  for (const name of ['hosts', 'hostname', 'resolv.conf']) writeFileSync(join(root, 'etc', name), '');
  const readOnly = 'mount --bind -o ro "$1" "$1" && exec md-isolate -w /none "$1" pwd';
  const { stderr, status } = await shell('unshare -m sh -c "$2" sh "$1"', [root, readOnly]);
  assert.match(stderr, /ENOENT.*; the tree lacks it, and it cannot be made there: --overlay helps/);
  assert.equal(status, 125);
});

test('--volume shows a directory or a file of the host, and :ro only to read', { skip }, async (t) => {
  const root = makeRoot(t);
  const shared = join(root, '../shared');
  mkdirSync(shared);
  writeFileSync(join(shared, 'file'), 'content\n');
  const flags = ['-v', `${shared}:/srv/data:cached`, '-v', `${shared}/file:/srv/only:ro`];
  const { stdout, stderr } = await inside(
    root,
    'cat /srv/data/file /srv/only; echo new > /srv/data/new; echo x > /srv/only',
    flags,
  );
  assert.equal(stdout, 'content\ncontent\n');
  assert.match(stderr, /Read-only file system/);
  assert.equal(readFileSync(join(shared, 'new'), 'utf8'), 'new\n');
});

test('a file of variables that has no end is refused, and not read into all memory', { skip }, async (t) => {
  const { status, stderr } = await md('md-isolate', ['--env-file', '/dev/zero', makeRoot(t), 'true']);
  assert.equal(stderr, 'md-isolate: --env-file /dev/zero: it has more than 4194304 bytes\n');
  assert.equal(status, 125);
  const piped = await shell('echo A=1 | md-isolate --env-file /dev/stdin "$1" env | grep ^A', [makeRoot(t)]);
  assert.equal(piped.stdout, 'A=1\n');
});

test('a tree that another program has locked is refused, and the message says how to find that program', {
  skip: skip || needs('flock'),
}, async (t) => {
  const root = makeRoot(t);
  const { status, stderr } = await run(['flock', root, join(binDir, 'md-isolate'), root, 'true']);
  assert.equal(
    stderr,
    `md-isolate: ${root}: another process has locked it, as one that removes it does; lslocks tells which\n`,
  );
  assert.equal(status, 125);
});

test('in a --tmpfs over where their links lead, hosts and resolv.conf are there', { skip }, async (t) => {
  const root = makeRoot(t);
  symlinkSync('../run/resolve/resolv.conf', join(root, 'etc/resolv.conf'));
  for (const target of ['/run', '/etc']) {
    const script = 'cat /etc/resolv.conf; grep -c "in-tmpfs$" /etc/hosts';
    const seen = await output(root, script, ['-h', 'in-tmpfs', '--tmpfs', target]);
    assert.equal(seen, `${readFileSync('/etc/resolv.conf', 'utf8')}1`, target);
  }
  const volume = join(root, '../volume');
  mkdirSync(volume);
  for (const [on, options] of [
    ['-v', `${volume}:/run/resolve`],
    ['--tmpfs', '/run:ro'],
  ] as const) {
    assert.equal(await output(root, 'cat /etc/resolv.conf || :', ['--tmpfs', '/run', on, options]), '', options);
  }
  assert.deepEqual(readdirSync(volume), [], 'nothing is left in a directory of the host');
});

test('a volume below another one is seen, in whatever order they are given', { skip }, async (t) => {
  const root = makeRoot(t);
  const shared = join(root, '../shared');
  mkdirSync(join(shared, 'below'), { recursive: true });
  writeFileSync(join(shared, 'below/file'), 'content\n');
  const flags = ['-v', `${shared}/below:/mnt/a/b`, '--tmpfs', '/mnt', '--mount', 'type=tmpfs,dst=/mnt/a'];
  for (const given of [flags, [...flags.slice(2), ...flags.slice(0, 2)]]) {
    assert.equal(await output(root, 'cat /mnt/a/b/file', given), 'content');
  }
});

test("--volume /:TARGET shows the host's root, not that of the container", { skip }, async (t) => {
  const root = makeRoot(t);
  const mark = join(root, '../mark');
  writeFileSync(mark, 'of the host\n');
  for (const flags of [[], ['--overlay'], ['--userns', 'self']]) {
    const host = [...flags, '-v', '/:/host', '-v', `${root}/etc:/host/etc`];
    assert.equal(await output(root, `cat /host${mark}; grep -c user: /host/etc/passwd`, host), 'of the host\n1');
  }
});

test('users and groups are those of the files that the command finds, a volume over them included', {
  skip,
}, async (t) => {
  const root = makeRoot(t);
  const etc = join(root, '../etc');
  mkdirSync(etc);
  const passwd = join(etc, 'passwd');
  writeFileSync(passwd, 'new:x:4321:4322::/home/new:/bin/sh\n');
  writeFileSync(join(etc, 'group'), 'more:x:77:new\n');
  const script = 'echo "$(id -u):$(id -g) $(id -G) $HOME"';
  const files = ['-v', `${passwd}:/etc/passwd:ro`, '-v', `${etc}/group:/etc/group:ro`];
  for (const volumes of [files, ['-v', `${etc}:/etc`]]) {
    for (const user of ['4321', 'new'])
      assert.equal(await output(root, script, [...volumes, '-u', user]), '4321:4322 4322 77 /home/new');
  }
  // A user that only the image has, and a link in the volume that leads to a file of the host.
  const ofImage = [...files, '-u', 'user'];
  assert.match(await output(root, script, ofImage), /^1000:1000 .* \/home\/user$/);
  renameSync(passwd, join(etc, '../passwd'));
  symlinkSync(join(etc, '../passwd'), passwd);
  const { status, stderr } = await md('md-isolate', ['-v', `${etc}:/etc`, '-u', 'new', root, 'true']);
  assert.match(stderr, /user "new": the image has no such name/);
  assert.equal(status, 125);
});

test('in a directory that is no root filesystem nothing is made', { skip }, async (t) => {
  const sources = scratch(t);
  writeFileSync(join(sources, 'README'), '');
  for (const command of ['ls', '/bin/ls', './ls']) {
    const { status, stderr } = await md('md-isolate', [sources, command]);
    assert.equal(status, 127);
    assert.match(stderr, /^md-isolate: \S*ls: not found: \/\S+ has no \S.*; DIR is a directory with a root filesystem/);
  }
  assert.deepEqual(readdirSync(sources), ['README']);
});

test('a tree of one program, which has nothing else, is a root filesystem', { skip }, async (t) => {
  for (const words of [
    ['DIR', '/true'],
    ['-w', '/', 'DIR', './true'],
    ['-e', 'PATH=/', 'DIR', 'true'],
  ]) {
    const one = scratch(t);
    copyFileSync(busybox, join(one, 'true'));
    chmodSync(join(one, 'true'), 0o755);
    const { status, stderr } = await md(
      'md-isolate',
      words.map((word) => (word === 'DIR' ? one : word)),
    );
    assert.equal(status, 0, stderr);
  }
});

test('of an OCI bundle the tree is named, and no mount point is made beside it', { skip }, async (t) => {
  const root = makeRoot(t);
  const bundle = join(root, '../bundle');
  mkdirSync(bundle);
  renameSync(root, join(bundle, 'rootfs'));
  writeFileSync(join(bundle, 'config.json'), '{}');
  const { status, stderr } = await md('md-isolate', [bundle, 'true']);
  assert.equal(status, 125);
  assert.match(stderr, /^md-isolate: \S+\/bundle: it is an OCI bundle; the tree is \S+\/bundle\/rootfs; .*\n$/);
  assert.deepEqual(readdirSync(bundle).sort(), ['config.json', 'rootfs']);
  assert.equal((await md('md-isolate', [join(bundle, 'rootfs'), 'true'])).status, 0);
});

test('a volume that cannot be is refused with a reason', { skip }, async (t) => {
  const root = makeRoot(t);
  const cases: [string[], RegExp][] = [
    [['-v', 'name:/x'], /named volumes do not exist here/],
    [['-v', ':/x'], /--volume :\/x: its source is empty; a variable without a value/],
    [['--mount', 'type=bind,source=,target=/x'], /its source is empty; a variable without a value/],
    [['--mount', 'source=.,target=/x'], /type= is missing; bind and tmpfs are offered/],
    [['-v', '/nosuch:/x'], /: \/nosuch: no such file or directory \(ENOENT\); .*mkdir -p makes a directory$/m],
    [['--volume=~/dir:/x'], /"~\/dir" is not a path; the shell replaces ~ only .*: write \$HOME$/m],
    [['--mount', 'type=bind,source=~/dir,target=/x'], /\/~\/dir: no such file .*; the shell replaces ~ only/],
    [['-v', '/etc:/proc/x'], /belongs to the kernel .*; the container has its own there; --privileged/],
    [['-v', '/etc:/a/../sys'], /belongs to the kernel/],
    [['-v', '/etc:/'], /the root itself/],
    [['-v', '/etc:x'], /not absolute/],
    [['-v', '/etc:/x', '-v', '/usr:/x/'], /the target \/x: it is named twice/],
    [['--tmpfs', '/x', '--mount', 'type=bind,source=/etc,target=/x'], /the target \/x: it is named twice/],
    [['-v', '/etc'], /SOURCE:TARGET.*; --tmpfs TARGET/],
    [['-v', '/a:b:/x'], /unknown option "\/x"; --mount .* takes paths with a colon/],
    [['-v', '/etc:/x:ro,rslave'], /unknown option "rslave"; mounts are always rprivate: .* before the start$/m],
    [['-v', '/etc:/x:rw,ro'], /ro and rw exclude each other/],
    [['-v', '/etc:/x:color'], /unknown option "color"; ro, rw, .* are known/],
    [['--mount', 'type=volume,target=/x'], /type=volume is not offered/],
    [['--mount', 'type=bind,source=/etc,target=/x,color=red'], /unknown field "color"/],
    [['--mount', 'type=bind,source=/etc,target=/x,readonly=no'], /readonly="no" is neither true nor false/],
    [['--mount', 'type=bind,source=/etc,target=/x,readonly=tRuE'], /readonly="tRuE" is neither true nor false/],
    [
      ['--mount', 'type=bind,source=/etc,target=/x,bind-propagation=rshared'],
      /bind-propagation=rshared is not offered; mounts are always rprivate: .* mount it before the start$/m,
    ],
    [['--tmpfs', '/x:size=1m,color=red'], /unknown option "color=red"/],
    [['--mount', 'type=bind,source=/etc,target=/x,constructor=1'], /unknown field "constructor"/],
    [['--tmpfs', '/x:dev'], /unknown option "dev"; leave it out: .* --device gives devices/],
    [['--tmpfs', '/x:constructor'], /unknown option "constructor"/],
    [['--mount', 'type=bind,"source=/etc,target=/x'], /a quote is not closed/],
    [['--mount', 'type=bind,"source=/etc"x,target=/x'], /a quote is not closed, or followed by more/],
    [['--tmpfs', '/x:size=zz'], /"zz" is not a size/],
    [['--mount', 'type=bind,src,target=/x'], /the field "src" has no value/],
    [['--mount', 'type=tmpfs,target=/x,tmpfs-size=big'], /"big" is not a size/],
    [['--mount', 'type=tmpfs,target=/x,tmpfs-mode=rwx'], /"rwx" is not a mode/],
  ];
  for (const [flags, reason] of cases) {
    const { status, stderr } = await inside(root, 'true', flags);
    assert.equal(status, 125, flags.join(' '));
    assert.match(stderr, reason);
  }
});

test('an overlay over two others, of which the kernel takes no third, is told as such', {
  skip: skip || needs('unshare'),
}, async (t) => {
  const script = `
    mount -t tmpfs tmpfs /mnt && cd /mnt && mkdir u w o u2 w2 o2 &&
    mount -t overlay -o lowerdir="$0",upperdir=u,workdir=w overlay o &&
    md-isolate --overlay o true &&
    mount -t overlay -o lowerdir=o,upperdir=u2,workdir=w2 overlay o2 && md-isolate --overlay o2 true`;
  const { status, stderr } = await run(['unshare', '-m', 'sh', '-c', script, makeRoot(t)]);
  assert.match(
    stderr,
    /^md-isolate: fsconfig.*CMD_CREATE.*\(EINVAL\); the tree is on an overlay over another one, .*\n$/,
  );
  assert.equal(status, 125);
});

test("--mount takes docker's words for what is so in any case", { skip }, async (t) => {
  const root = makeRoot(t);
  const field = 'bind-propagation=rprivate,readonly=False,consistency=cached';
  assert.equal(await output(root, 'echo is in', ['--mount', `type=bind,src=${root},dst=/x,${field}`]), 'is in');
  // docker looks at the case of neither a field nor a type.
  assert.equal(await output(root, 'echo is in', ['--mount', `Type=BIND,Source=${root},Dst=/x,RO`]), 'is in');
});

test('--mount takes fields in quotes, with commas and quotes in them', { skip }, async (t) => {
  const root = makeRoot(t);
  const source = join(scratch(t), 'a, "b"');
  mkdirSync(source);
  writeFileSync(join(source, 'c'), 'is in');
  const field = `"source=${source.replaceAll('"', '""')}"`;
  assert.equal(await output(root, 'cat "/x,y/c"', ['--mount', `type=bind,${field},"target=/x,y"`]), 'is in');
});

test("--tmpfs takes docker's words for times of access, and for what is so in any case", { skip }, async (t) => {
  const root = makeRoot(t);
  for (const [options, shown] of [
    ['noatime,nodiratime,size=1m', 'rw,nosuid,nodev,noexec,noatime,nodiratime'],
    ['noatime,strictatime', 'rw,nosuid,nodev,noexec'],
    ['strictatime,nostrictatime', 'rw,nosuid,nodev,noexec,relatime'],
    ['noatime,relatime,nodiratime,diratime,ro', 'ro,nosuid,nodev,noexec,relatime'],
    ['strictatime,noatime,atime', 'rw,nosuid,nodev,noexec,relatime'],
    ['defaults,norelatime,nomand,async,sync,dirsync,private,rprivate', 'rw,nosuid,nodev,noexec,relatime'],
  ] as const) {
    const script = 'grep " /x " /proc/self/mountinfo | cut -d " " -f 6';
    assert.equal(await output(root, script, ['--tmpfs', `/x:${options}`]), shown, options);
  }
});

test('--tmpfs and --mount type=tmpfs give memory to fill, within their size', { skip }, async (t) => {
  const root = makeRoot(t);
  const script =
    'df -k /one /two | awk "NR > 1 { print \\$2 }"; stat -c %a /one /two; grep -c " /one .*noexec" /proc/self/mountinfo';
  const flags = ['--tmpfs', '/one:size=1m,mode=0700', '--mount', 'type=tmpfs,dst=/two,tmpfs-size=2MB,tmpfs-mode=01770'];
  assert.equal(await output(root, script, flags), '1024\n2048\n700\n1770\n1');
});

test('a tmpfs has the mode and owner of the directory that it covers, or is for all, unless told otherwise', {
  skip,
}, async (t) => {
  const root = makeRoot(t);
  chmodSync(join(root, 'root'), 0o1700);
  mkdirSync(join(root, 'home/user'), { recursive: true });
  chownSync(join(root, 'home/user'), 1000, 1000);
  const flags = ['--tmpfs', '/root', '--tmpfs', '/home/user', '--mount', 'type=tmpfs,dst=/tmp,tmpfs-mode=711'];
  const script = 'stat -c "%a %u:%g" /root /home/user /tmp';
  assert.equal(await output(root, script, flags), '1700 0:0\n755 1000:1000\n711 0:0');
  assert.equal(await output(root, script, ['--userns', 'self', ...flags]), '1700 0:0\n755 0:0\n711 0:0');
  assert.equal(await output(root, 'stat -c "%a %u:%g" /new', ['--tmpfs', '/new']), '1777 0:0');
  assert.equal(await output(root, 'echo x >/home/user/x; cat /home/user/x', ['-u', 'user', ...flags]), 'x');
});

test('a working directory that is missing is made', { skip }, async (t) => {
  const root = makeRoot(t);
  assert.equal(await output(root, 'pwd', ['-w', '/new/work/']), '/new/work');
});
