/** Limits and settings of a whole container, in whichever version the cgroups of this machine are. As root. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ignoring } from '../../lib/base/failure.js';
import { probeCgroups } from '../../lib/isolate/cgroup/cgroup.js';
import { ownMark } from '../../lib/sys/procfs/process-mark.js';
import { cgroupsOf, needsControllers, processor } from '../support/controllers.js';
import { callOf, injecting } from '../support/injected-call.js';
import { inside, makeRoot, needsContainer, output } from '../support/rootfs.js';
import { killAfterwards, md, needs, run, shell } from '../support/run.js';

const skip = needsContainer;

/** The cgroups that md-isolate, which has said its process number, has left behind. */
function leftBy(said: string): string[] {
  return cgroupsOf(Number(said), join(probeCgroups().find('pids')!.mount, 'md'));
}

test('a signal that comes while the cgroup is made leaves none behind', {
  skip: skip || needsControllers('pids') || needs('strace'),
}, async (t) => {
  const root = makeRoot(t);
  // -D: the command keeps the number of the shell. The first directory is that of all our cgroups, where no filter is
  // kept.
  const strace = 'strace -D -qq -o /dev/null -e inject=/^mkdir:signal=TERM:when=2+';
  // --init: the signal ends the command even if it comes when that runs already.
  const line = `echo $$; exec ${strace} md-isolate --init --seccomp unconfined --pids-limit 9 "$1" sleep 1000`;
  const { status, stdout } = await run(['sh', '-c', line, 'sh', root]);
  assert.deepEqual([status, leftBy(stdout)], [143, []]);
});

test('a container that cannot be made when its first process is in the cgroup already leaves none behind', {
  skip: skip || needsControllers('pids') || needs('strace'),
}, async (t) => {
  const strace = 'strace -D -f -qq -o /dev/null -e inject=pidfd_getfd:error=EPERM';
  const line = `echo $$; exec ${strace} md-isolate --seccomp-report --pids-limit 9 "$1" true`;
  const { status, stdout, stderr } = await run(['sh', '-c', line, 'sh', makeRoot(t)]);
  assert.match(stderr, /^md-isolate: pidfd_getfd\(.*\(EPERM\); .*\n$/);
  assert.deepEqual([status, leftBy(stdout)], [125, []]);
});

const told = 'md-isolate: --memory: the limit was reached, and the kernel killed a process\n';

for (const flags of [[], ['--init'], ['--overlay']]) {
  test(`--memory: a command that takes more ends with 137, and is told why ${flags.join(' ')}`, {
    skip: skip || needsControllers('memory'),
  }, async (t) => {
    const root = makeRoot(t);
    const hungry = ['tail', '-c', '150000000', '/dev/zero'];
    const { status, stdout, stderr } = await md('md-isolate', ['--memory', '32m', ...flags, root, ...hungry]);
    assert.equal(status, 137);
    assert.equal(stdout, '');
    assert.equal(stderr, told);
  });
}

test('--memory: a command that goes on without the process that took more keeps its status', {
  skip: skip || needsControllers('memory'),
}, async (t) => {
  const root = makeRoot(t);
  // The shell takes much less than what it starts, so the kernel does not choose it.
  const { status, stderr } = await inside(root, 'tail -c 150000000 /dev/zero; exit 3', ['--memory', '32m']);
  assert.equal(status, 3);
  assert.ok(stderr.endsWith(told), stderr);
  const { stderr: none } = await inside(root, 'exit 137', ['--memory', '32m']);
  assert.equal(none, '');
});

test('--memory: files in /dev/shm and in the layer of --overlay count as well', {
  skip: skip || needsControllers('memory'),
}, async (t) => {
  const root = makeRoot(t);
  for (const file of ['/dev/shm/file', '/file']) {
    const filling = ['dd', 'if=/dev/zero', `of=${file}`, 'bs=1M', 'count=60'];
    const { status } = await md('md-isolate', ['--memory', '32m', '--overlay', root, ...filling]);
    assert.equal(status, 137, file);
  }
});

test('--pids-limit: no more processes start', { skip: skip || needsControllers('pids') }, async (t) => {
  const root = makeRoot(t);
  const script = 'for i in 1 2 3 4 5 6; do sleep 1000 & echo started; done';
  const { stdout, stderr } = await inside(root, script, ['--pids-limit', '4']);
  assert.equal(stdout, 'started\n'.repeat(3));
  assert.match(stderr, /can't fork: Resource temporarily unavailable/);
});

test('the own cgroup looks like the topmost from inside', { skip: skip || needsControllers('pids') }, async (t) => {
  const root = makeRoot(t);
  assert.doesNotMatch(await output(root, 'cat /proc/self/cgroup', ['--pids-limit', '4']), /[^:/]$|\/[^/]+$/m);
});

test('--cpuset-cpus: the command runs there and nowhere else', {
  skip: skip || needsControllers('cpuset'),
}, async (t) => {
  const root = makeRoot(t);
  const script = 'grep Cpus_allowed_list /proc/self/status | cut -f2';
  assert.equal(await output(root, script, ['--cpuset-cpus', processor]), processor);
});

for (const error of ['EACCES', 'EROFS', 'ENODEV', 'EINVAL']) {
  test(`a cgroup that cannot be removed (${error}) is told, and the status is that of the command`, {
    skip: skip || needsControllers('pids') || needs('strace'),
  }, async (t) => {
    const strace = `strace -f -qq -o /dev/null -e inject=${callOf('rmdir')}:error=${error}`;
    const { status, stderr } = await shell(`${strace} md-isolate --pids-limit 9 "$1" sh -c "exit 3"`, [makeRoot(t)]);
    assert.match(stderr, new RegExp(`^md-isolate: removing the cgroup /.*/md-[\\d.]+: .* \\(${error}\\)\n$`));
    assert.equal(status, 3);
    // The next one sweeps it.
    assert.equal((await md('md-isolate', ['--pids-limit', '9', makeRoot(t), 'true'])).stderr, '');
  });
}

test('a cgroup that somebody else has removed is not a failure', {
  skip: skip || needsControllers('pids') || needs('strace'),
}, async (t) => {
  const strace = `strace -f -qq -o /dev/null -e inject=${callOf('rmdir')}:error=ENOENT`;
  const { status, stderr } = await shell(`${strace} md-isolate --pids-limit 9 "$1" sh -c "exit 3"`, [makeRoot(t)]);
  assert.deepEqual([status, stderr], [3, '']);
  await md('md-isolate', ['--pids-limit', '9', makeRoot(t), 'true']);
});

test('the parent of the cgroups may be removed by another container that ends, in the middle of its setting up', {
  skip: skip || needsControllers('cpuset') || needs('strace'),
}, async (t) => {
  const { mount, version } = probeCgroups().find('cpuset')!;
  const parent = join(mount, 'md');
  const file = join(parent, version === 1 ? 'cpuset.cpus' : 'cgroup.subtree_control');
  ignoring(['EEXIST'], () => mkdirSync(parent));
  const slowly = injecting('read:delay_enter=800000:when=1', file);
  const slow = run([...slowly, 'md-isolate', '--cpuset-cpus', processor, makeRoot(t), 'true']);
  await new Promise((done) => setTimeout(done, 400));
  // That of another test may be in it.
  ignoring(['EBUSY', 'ENOENT'], () => rmdirSync(parent));
  const { status, stderr } = await slow;
  assert.deepEqual([status, stderr], [0, '']);
});

test('a cgroup that two processes sweep at once goes, with those below it', {
  skip: skip || needsControllers('pids') || needs('strace'),
}, async (t) => {
  const [namespace] = ownMark().split('.');
  const dead = join(probeCgroups().find('pids')!.mount, 'md', `md-${namespace}.4194998.12345`);
  for (const name of ['a', 'b']) mkdirSync(join(dead, name), { recursive: true });
  const slowly = injecting('unlinkat:delay_enter=1000000:when=2');
  const slow = run([...slowly, 'md-isolate', '--pids-limit', '9', makeRoot(t), 'true']);
  await new Promise((done) => setTimeout(done, 700));
  // What the other one has come to by now.
  for (const name of ['a', 'b']) ignoring(['ENOENT'], () => rmdirSync(join(dead, name)));
  assert.deepEqual([(await slow).stderr, existsSync(dead)], ['', false]);
});

test('cgroups that something else is mounted over are none', { skip: skip || needs('unshare') }, async (t) => {
  const script = `unshare -m sh -c '
    for at in $(grep -o " /sys/fs/cgroup[^ ]* .* - cgroup" /proc/self/mountinfo | cut -d " " -f 2 | sort -r); do umount -l $at; done
    mount -t tmpfs tmpfs /mnt && mkdir /mnt/a && mount -t cgroup2 cgroup2 /mnt/a && mount -t tmpfs tmpfs /mnt/a || exit
    exec md-isolate --pids-limit 9 "$1" true' sh "$1"`;
  const { status, stderr } = await shell(script, [makeRoot(t)]);
  assert.match(stderr, /^md-isolate: --pids-limit: (this machine has no|no cgroups with the) pids controller .*; /);
  assert.equal(status, 125);
});

test('a step that fails before the cgroup is the reason that is told', {
  skip: skip || needsControllers('pids') || needs('strace'),
}, async (t) => {
  const root = makeRoot(t);
  const strace = 'strace -f -qq -o /dev/null -e inject=execveat:error=EACCES';
  const { status, stderr } = await shell(`${strace} md-isolate --pids-limit 9 "$1" true`, [root]);
  assert.equal(status, 125);
  assert.match(stderr, /^md-isolate: execveat\(.*\): permission denied \(EACCES\)/);
});

test('--cpus: the processor time that is left over is withheld', {
  skip: skip || needsControllers('cpu'),
}, async (t) => {
  const root = makeRoot(t);
  const script = `
    stat=$(find /sys/fs/cgroup -name cpu.stat | head -n 1)
    until grep 'nr_throttled [1-9]' $stat; do awk 'BEGIN { for (i = 0; i < 20000; i++) x += i }'; done`;
  assert.match(await output(root, script, ['--cpus', '0.1']), /nr_throttled [1-9]/);
});

test('--ulimit: every limit that docker knows is set, soft and hard', { skip }, async (t) => {
  const root = makeRoot(t);
  const limits: [flag: string, shown: string][] = [
    ['core=0', 'Max core file size +0 +0'],
    ['cpu=100:200', 'Max cpu time +100 +200'],
    ['data=-1', 'Max data size +unlimited +unlimited'],
    ['fsize=100000:200000', 'Max file size +100000 +200000'],
    ['locks=9', 'Max file locks +9 +9'],
    ['memlock=4096:8192', 'Max locked memory +4096 +8192'],
    ['msgqueue=1000', 'Max msgqueue size +1000 +1000'],
    ['nice=0', 'Max nice priority +0 +0'],
    ['nofile=100:200', 'Max open files +100 +200'],
    ['nproc=500:600', 'Max processes +500 +600'],
    ['rss=70000', 'Max resident set +70000 +70000'],
    ['rtprio=0', 'Max realtime priority +0 +0'],
    ['rttime=5000', 'Max realtime timeout +5000 +5000'],
    ['sigpending=7', 'Max pending signals +7 +7'],
    ['stack=1048576', 'Max stack size +1048576 +1048576'],
  ];
  const text = await output(
    root,
    'cat /proc/self/limits',
    limits.flatMap(([flag]) => ['--ulimit', flag]),
  );
  for (const [flag, shown] of limits) assert.match(text, new RegExp(`^${shown} `, 'm'), flag);
});

test('--ulimit nproc: processes of the same user outside count, which is said', { skip }, async (t) => {
  const uid = 54321;
  for (let n = 0; n < 2; n++) {
    const outside = spawn('sleep', ['1000'], { uid, stdio: 'ignore' });
    killAfterwards(t, outside);
  }
  const flags = ['-u', String(uid), '--ulimit', 'nproc=1'];
  const { status, stderr } = await inside(makeRoot(t), 'echo ran', flags);
  assert.match(stderr, /\(EAGAIN\); the user has more processes than --ulimit nproc says: .*\n$/);
  assert.equal(status, 126);
});

test('--umask: 0022 by default, or what it says', { skip }, async (t) => {
  const root = makeRoot(t);
  assert.equal(await output(root, 'umask'), '0022');
  assert.equal(await output(root, 'umask; touch /made; stat -c %a /made', ['--umask', '027']), '0027\n640');
});

test('--sysctl: set in the container, and not outside', { skip }, async (t) => {
  const root = makeRoot(t);
  const outside = () =>
    ['kernel/msgmax', 'kernel/domainname', 'net/ipv4/ip_forward'].map((name) =>
      readFileSync(`/proc/sys/${name}`, 'latin1'),
    );
  const before = outside();
  const sysctls = ['kernel.msgmax=4321', 'kernel.domainname=inside.test', 'net/ipv4/ip_forward=1'];
  const flags = ['--net', 'none', ...sysctls.flatMap((it) => ['--sysctl', it])];
  const script = 'cd /proc/sys && cat kernel/msgmax kernel/domainname net/ipv4/ip_forward';
  assert.equal(await output(root, script, flags), '4321\ninside.test\n1');
  assert.deepEqual(outside(), before);
  const { status, stderr } = await inside(root, 'true', ['--sysctl', 'kernel.msgmax=many']);
  assert.equal(status, 125);
  assert.match(stderr, /^md-isolate: write\(.*\(EINVAL\); the kernel does not take this value\n$/);
});

test('--net none: any user may listen on any port and ping, unless --sysctl says otherwise', { skip }, async (t) => {
  const root = makeRoot(t);
  const script = 'cd /proc/sys/net/ipv4; cat ip_unprivileged_port_start ping_group_range';
  const alone = ['--net', 'none'];
  assert.equal(await output(root, script, alone), '0\n0\t2147483647');
  const [ports] = (await output(root, script, [...alone, '--userns', 'self'])).split('\n');
  assert.equal(ports, '0', 'the kernel takes no range of groups that are not mapped');
  assert.equal(
    await output(root, script, [...alone, '--sysctl', 'net.ipv4.ip_unprivileged_port_start=80']),
    '80\n0\t2147483647',
  );
});

test('--shm-size: as large as it says, and 64 MB by default', { skip }, async (t) => {
  const root = makeRoot(t);
  const script = 'df -k /dev/shm | awk "NR == 2 { print \\$2 }"';
  assert.equal(await output(root, script), '65536');
  assert.equal(await output(root, script, ['--shm-size', '1m']), '1024');
});

test('--privileged: the devices of the host work, nothing is masked or read-only, and no capability is missing', {
  skip,
}, async (t) => {
  const root = makeRoot(t);
  const script = `
    mknod /tmp/zero c 1 5 && head -c 2 /tmp/zero | od -An -tx1; ls /dev/kmsg /dev/ptmx
    grep -cE " /proc/.* | /sys.* ro," /proc/self/mountinfo; grep -E "CapEff" /proc/self/status | cut -f2`;
  const own = /^CapEff:\t(.*)$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1];
  assert.equal((await inside(root, script, ['--privileged'])).stdout, ` 00 00\n/dev/kmsg\n/dev/ptmx\n0\n${own}\n`);
  // docker users have /dev from there as well.
  const mounted = ['--privileged', '-v', '/dev:/dev', '-v', '/dev/zero:/srv/zero'];
  assert.equal(await output(root, 'echo x > /dev/null && head -c 2 /srv/zero | od -An -tx1', mounted), ' 00 00');
});
