/** What worked against other container programs, and images that lie about themselves. Each must fail here. As root. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { statusBits } from '../../lib/sys/procfs/status.js';
import { procText } from '../support/processes.js';
import { describeRoot, inside, makeRoot, needsContainer, output, until } from '../support/rootfs.js';
import { binDir, cleanEnv, killAfterwards, md, needs, run, scratch } from '../support/run.js';

const skip = needsContainer;

test('CVE-2024-21626: a working directory that leads to a descriptor of the host is refused', { skip }, async (t) => {
  const root = makeRoot(t);
  for (let fd = 3; fd < 30; fd++) {
    const { status, stdout, stderr } = await inside(root, 'pwd; ls', ['-w', `/proc/self/fd/${fd}`]);
    assert.equal(status, 125);
    assert.equal(stdout, '');
    assert.match(stderr, /\/proc\/self\/fd\/\d+: |proc\/self\/fd/);
  }
  symlinkSync('/proc/self/fd/7', join(root, 'srv'));
  assert.equal((await inside(root, 'pwd', ['-w', '/srv'])).status, 125);
  symlinkSync('/proc/1/root', join(root, 'out'));
  assert.equal((await inside(root, 'pwd', ['-w', '/out/tmp'])).status, 125);
});

test('CVE-2024-21626: neither the command nor its interpreter is looked up by a descriptor of the host', {
  skip,
}, async (t) => {
  const root = makeRoot(t);
  const outside = scratch(t);
  copyFileSync(join(root, 'bin/busybox'), join(outside, 'echo'));
  chmodSync(join(outside, 'echo'), 0o755);
  const ways = Array.from({ length: 60 }, (_, i) => `/proc/self/fd/${i + 3}${outside}`);
  ways.forEach((way, i) => {
    mkdirSync(join(root, `scripts/${i}`), { recursive: true });
    writeFileSync(join(root, `scripts/${i}/echo`), `#!${way}/echo the script of\n`, { mode: 0o755 });
  });
  const path = [...ways, ...ways.map((_, i) => `/scripts/${i}`)].join(':');
  for (const flags of [[], ['--init'], ['--no-new-privs'], ['--userns', 'self']]) {
    const { status, stdout } = await md('md-isolate', [...flags, '-e', `PATH=${path}`, root, 'echo', 'the host runs']);
    assert.equal(stdout, '', flags.join(' '));
    assert.equal(status, 127);
  }
});

test('CVE-2021-30465: a mount point that is a link out of the root stays inside it', { skip }, async (t) => {
  const root = makeRoot(t);
  const outside = scratch(t);
  writeFileSync(join(outside, 'victim'), 'untouched\n');
  // The same path exists in the image: that is what the links mean to who is inside.
  mkdirSync(join(root, outside), { recursive: true });
  symlinkSync(`../../../../../../..${outside}`, join(root, 'data'));
  symlinkSync(outside, join(root, 'absolute'));
  const shared = scratch(t);
  writeFileSync(join(shared, 'mine'), 'shared\n');
  for (const target of ['/data', '/absolute/deep']) {
    const { stdout } = await inside(root, `cat ${target}/mine; cat ${outside}/victim 2>&1`, [
      '-v',
      `${shared}:${target}`,
    ]);
    assert.match(stdout, /^shared\n/);
    assert.doesNotMatch(stdout, /untouched/);
  }
  assert.equal(readFileSync(join(outside, 'victim'), 'utf8'), 'untouched\n');
  assert.deepEqual(existsSync(join(outside, 'deep')), false);
});

test('CVE-2021-30465: links that another container swaps during the start never lead a mount out', {
  skip,
}, async (t) => {
  const root = makeRoot(t);
  const outside = scratch(t);
  const shared = scratch(t);
  mkdirSync(join(root, 'swap/dir'), { recursive: true });
  symlinkSync(`/../../../../../..${outside}`, join(root, 'swap/link'));
  const script = 'cd /swap; until [ -e /done ]; do mv dir tmp; mv link dir; mv dir link; mv tmp dir; done';
  writeFileSync(join(root, 'bin/swap'), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  symlinkSync('busybox', join(root, 'bin/mv'));
  const swapper = inside(root, 'timeout 60 swap 2>/dev/null; true');
  for (let i = 0; i < 15; i++) {
    await inside(root, 'true', ['-v', `${shared}:/swap/dir`]);
    assert.doesNotMatch(readFileSync('/proc/self/mountinfo', 'utf8'), new RegExp(outside));
  }
  writeFileSync(join(root, 'done'), '');
  await swapper;
  assert.deepEqual(statSync(outside).nlink, 2);
});

for (const [cve, path, name] of [
  ['CVE-2025-31133', '/dev/null', 'dev/null'],
  ['CVE-2025-52565', '/dev/console', 'dev/console'],
] as const) {
  test(`${cve}: a ${path} of the image's own making takes no part in the masks`, { skip }, async (t) => {
    const root = makeRoot(t);
    const victim = join(scratch(t), 'victim');
    writeFileSync(victim, 'untouched\n');
    symlinkSync('/proc/sys/kernel/core_pattern', join(root, name));
    const before = readFileSync('/proc/sys/kernel/core_pattern', 'utf8');
    const script =
      'stat -c %t:%T /dev/null; echo x > /proc/sys/kernel/core_pattern; wc -c < /proc/keys; echo x > /proc/keys';
    const { stdout, stderr } = await inside(root, script);
    assert.match(stdout, /^1:3\n0\n/);
    assert.match(stderr, /core_pattern: Read-only file system/);
    assert.equal(readFileSync('/proc/sys/kernel/core_pattern', 'utf8'), before);
  });
}

test("CVE-2025-52881: /proc is the kernel's, whatever the image or a volume puts there", { skip }, async (t) => {
  const root = makeRoot(t);
  mkdirSync(join(root, 'proc/self/attr'), { recursive: true });
  writeFileSync(join(root, 'proc/self/attr/exec'), '');
  assert.equal(await output(root, 'stat -f -c %T /proc; read name < /proc/1/comm; echo $name'), 'proc\nsh');
  const { status, stderr } = await inside(root, 'true', ['--tmpfs', '/proc/self']);
  assert.equal(status, 125);
  assert.match(stderr, /belongs to the kernel/);
});

test('CVE-2019-5736: a script whose interpreter is /proc/self/exe cannot reach the program that started it', {
  skip: skip || needs('ldd'),
}, async (t) => {
  const root = makeRoot(t);
  // With its libraries there, the host's node would run in the container if only the script could name it.
  const { stdout: libraries } = await run(['ldd', process.execPath]);
  for (const [, path = ''] of libraries.matchAll(/(\/\S+) \(0x/g)) {
    mkdirSync(join(root, dirname(path)), { recursive: true });
    copyFileSync(path, join(root, path));
    chmodSync(join(root, path), 0o755);
  }
  const script = "require('fs').writeSync(1, 'the program of the host runs')";
  writeFileSync(join(root, 'bin/evil'), `#!/proc/self/exe\n${script}\n`, { mode: 0o755 });
  for (const command of ['/bin/evil', '/proc/self/exe']) {
    const { status, stdout, stderr } = await md('md-isolate', [root, command]);
    assert.equal(stdout, '');
    assert.equal(status, 126);
    assert.match(stderr, /^md-isolate: \/proc\/self\/exe: it leads to no program of the container; .*\n$/);
  }
});

test('SIGUSR1 opens no debugger, in which every user, and a container, could run code as the caller', async (t) => {
  const child = spawn(join(binDir, 'md-unpack'), ['tree'], { stdio: 'pipe', env: cleanEnv() });
  killAfterwards(t, child);
  let told = '';
  child.stderr.on('data', (text) => {
    told += text;
  });
  // Node catches it from its start on; the shell in front of Node does not.
  await until(() => statusBits(procText(child.pid!, 'status'), 'SigCgt').includes(10 - 1));
  child.kill('SIGUSR1');
  await until(() => told.includes('\n'));
  assert.match(told, /^Starting inspector on 192\.0\.2\.1:9229 failed: address not available\n/);
  assert.doesNotMatch(told, /listening/);
});

for (const name of ['proc', 'sys', 'dev']) {
  test(`an image whose /${name} is a symbolic link is refused`, { skip }, async (t) => {
    const outside = scratch(t);
    for (const text of [outside, 'tmp', '/etc', 'loop']) {
      const root = makeRoot(t, { links: { [name]: text, loop: 'loop' } });
      const { status, stdout, stderr } = await inside(root, 'echo in');
      assert.equal(status, 125);
      assert.equal(stdout, '');
      assert.match(stderr, new RegExp(`/${name}; a symbolic link there is refused`));
    }
  });
}

test('an image whose /proc is a file, or whose /etc leads elsewhere, harms nobody', { skip }, async (t) => {
  const root = makeRoot(t);
  rmSync(join(root, 'proc'), { recursive: true });
  writeFileSync(join(root, 'proc'), '');
  assert.equal((await inside(root, 'true')).status, 125);
  const outside = scratch(t);
  const other = makeRoot(t);
  rmSync(join(other, 'etc'), { recursive: true });
  symlinkSync(`../../../../../../../..${outside}`, join(other, 'etc'));
  await inside(other, 'true');
  assert.deepEqual(existsSync(join(outside, 'hosts')), false);
});

test('an image whose /etc/hosts is a link to what belongs to the kernel is refused', { skip }, async (t) => {
  const root = makeRoot(t);
  for (const text of ['/proc/sys/kernel/core_pattern', '/dev/null', '../sys/kernel/x', '/proc/1/root/etc/hosts']) {
    rmSync(join(root, 'etc/hosts'), { force: true });
    symlinkSync(text, join(root, 'etc/hosts'));
    const { status, stdout, stderr } = await inside(root, 'echo in');
    assert.equal(status, 125);
    assert.equal(stdout, '');
    assert.match(stderr, /^md-isolate: \/etc\/hosts of the image: it is a link to .*, which belongs to the kernel/);
  }
});

test('what the host has mounted in /sys is not there for root of a user namespace, whose files it may be', {
  skip: skip || needs('unshare') || (!existsSync('/sys/kernel/debug') && 'no /sys/kernel/debug'),
}, async (t) => {
  const root = makeRoot(t);
  // One below the other, as tracefs is below debugfs. The container's own cgroups are no mounts of the host.
  const mounted = `
    cd /sys/kernel/debug && mount -t tmpfs tmpfs . && cd /sys/kernel/debug && mkdir below secret &&
    mount -t tmpfs tmpfs below && exec "$@"`;
  const inside = [
    'sh',
    '-c',
    'ls -d /sys/kernel/debug; ls -A /sys/kernel/debug; [ "$(ls /sys/fs/cgroup)" ] || echo none',
  ];
  const argv = ['unshare', '-m', 'sh', '-c', mounted, 'sh', 'md-isolate', '--userns', 'self', root, ...inside];
  assert.deepEqual((await run(argv)).stdout, '/sys/kernel/debug\n');
});

test('a directory of the host on stdin, stdout or stderr is refused', { skip }, async (t) => {
  const root = makeRoot(t);
  const refused = async (line: string) => (await run(['sh', '-c', line, 'sh', root])).stdout;
  assert.match(await refused('md-isolate "$1" ls /proc/self/fd/0/ </ 2>&1'), /^md-isolate: stdin: it is a directory/);
  assert.match(await refused('md-isolate "$1" true 3>&1 1</ 2>&3'), /^md-isolate: stdout: it is a directory/);
  assert.equal(await refused('md-isolate "$1" true 2</; echo $?'), '125\n');
});

test('a planted /etc/passwd is neither followed out of the root nor waited for', { skip }, async (t) => {
  const root = makeRoot(t);
  const passwd = join(root, 'etc/passwd');
  const secret = join(scratch(t), 'passwd');
  writeFileSync(secret, 'user:x:4242:4242::/:/bin/sh\n');
  const plant: [string, () => void][] = [
    ['a link to a file of the host', () => symlinkSync(secret, passwd)],
    ['a relative link out', () => symlinkSync(`../../../../../..${secret}`, passwd)],
    ['a link of /proc', () => symlinkSync('/proc/self/fd/0', passwd)],
    ['a directory', () => mkdirSync(passwd)],
  ];
  for (const [what, make] of plant) {
    rmSync(passwd, { recursive: true, force: true });
    make();
    const { status, stderr } = await inside(root, 'id -u', ['-u', 'user']);
    assert.equal(status, 125, what);
    assert.match(stderr, /no such name in \/etc\/passwd/, what);
  }
  rmSync(passwd, { recursive: true, force: true });
  await run(['mkfifo', passwd]);
  assert.equal((await inside(root, 'id -u', ['-u', 'user'])).status, 125);
  rmSync(passwd);
  await run(['truncate', '-s', '5G', passwd]);
  const { status, stderr } = await inside(root, 'id -u');
  assert.equal(status, 125);
  assert.match(stderr, /more than/);
  rmSync(passwd);
  writeFileSync(passwd, 'user:x:0:0\nuser\n::::::\nuser:x:99999999999:0::/:\n\0\nuser:x:-1:0::/:\n#user:x:5:5::/:\n', {
    mode: 0o644,
  });
  assert.equal(await output(root, 'id -u', ['-u', 'user']), '0');
});

test('names with control characters in the image reach the terminal in plain letters only', { skip }, async (t) => {
  const root = makeRoot(t);
  const { stderr } = await md('md-isolate', [root, '\x1b[31mred\nline']);
  assert.match(stderr, /^md-isolate: \\x1b\[31mred line: not found/);
});

test('an image with a PATH of tens of thousands of directories does not take for ever', { skip }, async (t) => {
  const root = makeRoot(t);
  const run = async (count: number, command: string) => {
    const directories = Array.from({ length: count }, (_, i) => `/${i % 10}`);
    describeRoot(root, { Env: [`PATH=${directories.join(':')}`] });
    const { status, stderr, timedOut } = await md('md-isolate', [root, command]);
    assert.equal(timedOut, false);
    return { status, stderr };
  };
  assert.equal((await run(40_000, 'true')).status, 127);
  // With each of the directories in front of it this would take gigabytes.
  const long = await run(40_000, 'x'.repeat(100_000));
  assert.match(long.stderr, /^md-isolate: x+\.\.\.\n$/);
  assert.equal(long.status, 127);
  // As many as an image's config has room for.
  const { status, stderr } = await run(1_300_000, 'true');
  assert.equal(status, 125);
  assert.match(stderr, /^md-isolate: PATH: it has more than 131066 bytes/);
});

test('an image with VOLUMEs thousands of directories deep is refused, and does not take for ever', {
  skip,
}, async (t) => {
  const root = makeRoot(t);
  const names = Array.from({ length: 200 }, (_, i) => `/${i}${'/a'.repeat(2000)}`);
  describeRoot(root, { Volumes: Object.fromEntries(names.map((name) => [name, {}])) });
  const { status, stderr, timedOut } = await md('md-isolate', ['--overlay', root, 'true']);
  assert.equal(timedOut, false);
  assert.equal(status, 125);
  assert.match(stderr, /^md-isolate: the VOLUMEs of the image: they name 400200 directories/);
});

test('a working directory of the image is as deep as a path can be, and none deeper takes for ever', {
  skip,
}, async (t) => {
  const root = makeRoot(t);
  describeRoot(root, { WorkingDir: '/a'.repeat(2047) });
  assert.equal((await output(root, 'pwd', ['--overlay'])).length, 4094);
  describeRoot(root, { WorkingDir: '/a'.repeat(1_900_000) });
  const { status, stderr, timedOut } = await inside(root, 'pwd', ['--overlay']);
  assert.equal(timedOut, false);
  assert.equal(status, 125);
  assert.equal(stderr, 'md-isolate: WorkingDir of the image: it has 3800000 bytes, and no path has 4096 or more\n');
});

test('a set-user-ID program of the image raises nothing beyond the bounding set', { skip }, async (t) => {
  const root = makeRoot(t);
  const copy = join(root, 'bin/raise');
  writeFileSync(copy, readFileSync(join(root, 'bin/busybox')));
  chmodSync(copy, 0o4755);
  symlinkSync('raise', join(root, 'bin/egrep'));
  const script = 'egrep CapEff /proc/self/status';
  const { stdout } = await inside(root, script, ['-u', 'user']);
  assert.match(stdout, /00000000(a80425fb|00000000)/);
  const { stdout: none } = await inside(root, script, ['-u', 'user', '--no-new-privs']);
  assert.match(none, /0000000000000000/);
});
