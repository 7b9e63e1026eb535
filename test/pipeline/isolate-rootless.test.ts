/** Containers without root: a user namespace made by an ordinary user. The tests are run as root and step down. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { isAtLeast, kernelRelease } from '../../lib/sys/procfs/kernel-release.js';
import { callOf, injecting } from '../support/injected-call.js';
import { childrenOf, signal } from '../support/processes.js';
import { makeRoot, until } from '../support/rootfs.js';
import { needsRootless, rootless } from '../support/rootless.js';
import { cleanEnv, killAfterwards, needs, type Result, run, scratch, shell } from '../support/run.js';
import { firstId, needsSubordinate, subordinateUser, user } from '../support/subordinate.js';
import { describeTree } from '../support/tree.js';

const skip = needsRootless;

async function prepare(t: TestContext) {
  const { uid, root, home, command } = await rootless(t);
  const isolate = (...args: string[]) => run(command(...args), { cwd: home, env: { HOME: home } });
  return { uid, root, isolate };
}

test('an ordinary user is root inside, over what belongs to the user outside', { skip }, async (t) => {
  const { uid, root, isolate } = await prepare(t);
  const { stdout, stderr, status } = await isolate(
    root,
    'sh',
    '-c',
    'id -u; echo $$; cat /proc/self/uid_map; touch /made; stat -c %u /made',
  );
  assert.equal(stderr, '');
  assert.equal(status, 0);
  assert.deepEqual(
    stdout
      .trim()
      .split('\n')
      .map((line) => line.trim().replace(/\s+/g, ' ')),
    ['0', '1', `0 ${uid} 1`, '0'],
  );
});

test('the container of an ordinary user has the same devices, masks, filter and capabilities', { skip }, async (t) => {
  const { root, isolate } = await prepare(t);
  const script = `
    echo $(ls /dev); for d in null zero full random urandom; do stat -c "%n %t:%T" /dev/$d; done; echo x > /dev/null
    grep -E "CapEff|CapBnd|Seccomp:" /proc/self/status; wc -c < /proc/timer_list; touch /sys/x 2>&1; mknod /dev/x c 1 5 2>&1`;
  const { stdout, stderr } = await isolate(root, 'sh', '-c', script);
  assert.equal(stderr, '');
  assert.match(stdout, /^fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero\n/);
  assert.match(stdout, /null 1:3\n.*zero 1:5\n.*full 1:7\n.*random 1:8\n.*urandom 1:9\n/);
  assert.match(stdout, /CapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\nSeccomp:\t2\n0\n/);
  assert.match(stdout, /Read-only file system/);
  assert.match(stdout, /Operation not permitted/);
});

test('a setting of its own that the kernel keeps for root is called that', { skip }, async (t) => {
  const { root, isolate } = await prepare(t);
  const { stderr } = await isolate('--sysctl', 'kernel.domainname=x', root, 'true');
  assert.match(stderr, /\(EACCES\); the kernel lets only root of the host set it: use sudo\n$/);
});

test('in a user namespace inside, /dev can be made read-only without nodev, as buildah does', { skip }, async (t) => {
  const { root, isolate } = await prepare(t);
  const script =
    'busybox mount -o rbind /dev /tmp && busybox mount -o remount,bind,ro,nosuid,noexec none /tmp && touch /tmp/x';
  const flags = ['--security-opt', 'seccomp=unconfined'];
  const { stderr } = await isolate(...flags, root, 'busybox', 'unshare', '-Urm', 'sh', '-c', script);
  assert.match(stderr, /^touch: \/tmp\/x: Read-only file system\n$/);
});

test('below a set-group-ID program the message says why the maps cannot be written', { skip }, async (t) => {
  const { root, home, command } = await rootless(t);
  const [, user = '', group = '', ...rest] = command(root, 'id', '-u');
  const start = (...more: string[]) =>
    run(
      ['setpriv', user, group.replace('regid', 'rgid'), '--egid=50', ...rest.slice(0, 2), ...more, ...rest.slice(2)],
      {
        cwd: home,
      },
    );
  const { status, stderr } = await start();
  assert.match(stderr, /setgroups: permission denied \(EACCES\); the real user and group of this process are not the /);
  assert.equal(status, 125);
  assert.equal((await start('setpriv', '--keep-groups', '--regid=50')).stdout, '0\n');
});

test('behind sudo -u, where the pipes are of another user, /dev/stdout and /dev/stderr open as well', {
  skip,
}, async (t) => {
  const { root, command } = await rootless(t);
  const script = 'echo 1 >/dev/stdout; echo 2 >/dev/stderr; echo 3; echo 4 >&2';
  const { stdout } = await shell('"$@" 2>&1 | cat', command(root, 'sh', '-c', script));
  assert.equal(stdout, '1\n2\n3\n4\n');
  // The command learns that nobody reads.
  assert.equal((await shell('"$@" | head -n 1', command(root, 'yes'))).stdout, 'y\n');
});

test('behind sudo, root of a user namespace opens the pipes of the one who called', { skip }, async (t) => {
  const root = makeRoot(t);
  const script = 'echo 1 >/dev/stdout; echo 2 >/dev/stderr';
  const calling = (...words: string[]) =>
    shell('(chown 61234 /proc/self/fd/1 && exec "$@") 2>&1 | cat', [...words, root, 'sh', '-c', script]);
  assert.equal((await calling('md-isolate', '--userns', 'self')).stdout, '1\n2\n');
  assert.equal((await calling('unshare', '-Ur', 'md-isolate')).stdout, '1\n2\n');
});

test('root of a user namespace opens a log file of somebody outside of it', { skip }, async (t) => {
  const script = 'echo 1 >/dev/stdout; echo 2 >/dev/stderr; echo 3';
  const line =
    'cd "$1/.." && : >log && chown 61234 log && md-isolate --userns self root sh -c "$2" >>log 2>&1; cat log';
  assert.equal((await shell(line, [makeRoot(t), script])).stdout, '1\n2\n3\n');
});

test('root of a user namespace with many ids opens pipes of users outside of it', {
  skip: skip || needs('unshare', 'nsenter'),
}, async (t) => {
  const { root, home } = await rootless(t);
  await run(['chown', '-R', '100000:100000', root]);
  const script = `unshare -U sleep 60 & pid=$!
    while [ /proc/$pid/ns/user -ef /proc/self/ns/user ]; do :; done
    for map in uid_map gid_map; do echo 0 100000 65536 >/proc/$pid/$map; done
    { nsenter -U -t $pid -- "$@"; kill $pid; } 2>&1 | cat`;
  const words = [process.execPath, join(home, 'bundle/md-isolate.cjs'), root, 'sh', '-c', 'echo 1 >/dev/stdout'];
  assert.equal((await shell(script, words)).stdout, '1\n');
});

test('an ordinary user gets a throwaway overlay as well', { skip }, async (t) => {
  const { root, isolate } = await prepare(t);
  const before = describeTree(root);
  // Before Linux 6.6 a directory that is removed cannot be made again, and that is told.
  const isOld = !isAtLeast(kernelRelease(), '6.6');
  const again = isOld ? '' : 'rm -r /tmp; mkdir /tmp;';
  const script = `rm /etc/group; ${again} touch /tmp/x /y; ls -d /tmp/x /y`;
  const { stdout, stderr } = await isolate('--overlay', root, 'sh', '-c', script);
  assert.match(stderr, isOld ? /^md-isolate: on Linux .* cannot be made again \(EIO\); with --layer .*\n$/ : /^$/);
  assert.equal(stdout, '/tmp/x\n/y\n');
  assert.deepEqual(describeTree(root), before);
});

test('an account file of the image that an ordinary user may not read is a warning, and an error for a name', {
  skip,
}, async (t) => {
  const { root, isolate } = await prepare(t);
  const path = join(root, 'etc/passwd');
  chownSync(path, 0, 0);
  chmodSync(path, 0o600);
  const { stdout, stderr } = await isolate(root, 'echo', 'in');
  assert.equal(stdout, 'in\n');
  assert.match(stderr, /^md-isolate: \/etc\/passwd of the image: permission denied \(EACCES\); the command runs .*\n$/);
  const named = await isolate('-u', 'root', root, 'true');
  assert.equal(named.status, 125);
  assert.match(named.stderr, /^md-isolate: \/etc\/passwd of the image: permission denied \(EACCES\); .*chmod a\+r\n$/);
});

test('--dry-run says so where an ordinary user may not look for the layer', { skip }, async (t) => {
  const { root, isolate } = await prepare(t);
  const closed = scratch(t);
  const { status, stderr } = await isolate('--dry-run', '--layer', join(closed, 'layer'), root, 'true');
  assert.equal(stderr, `md-isolate: --layer ${closed}/layer: permission denied (EACCES)\n`);
  assert.equal(status, 125);
});

test('a file of the host that an ordinary user may not read is named', { skip }, async (t) => {
  const { root, home, command } = await rootless(t);
  const script = 'touch "$0/hosts"; chmod 600 "$0/hosts"; mount --bind "$0/hosts" /etc/hosts && "$@"';
  const line = ['unshare', '-m', 'sh', '-c', script, home, ...command(root, 'true')];
  const { stderr } = await run(line, { env: { HOME: home } });
  assert.equal(stderr, 'md-isolate: /etc/hosts: permission denied (EACCES)\n');
});

test('a working directory that is closed to the container is named', { skip }, async (t) => {
  const { root, isolate } = await prepare(t);
  const closed = scratch(t);
  const { stderr, status } = await isolate('-v', `${closed}:/closed`, '-w', '/closed', root, 'true');
  assert.match(
    stderr,
    /^md-isolate: fchdir\(\d+\): permission denied \(EACCES\); the working directory "\/closed" is of an owner that .*\n$/,
  );
  assert.equal(status, 125);
});

test('--privileged does not look where an ordinary user may not: no device is made there', { skip }, async (t) => {
  const { root, home, command } = await rootless(t);
  const script = `
    cd "$0"; mkdir dev
    mount -t tmpfs tmpfs dev && cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty dev
    mkdir -m 700 dev/hidden; mount --move dev /dev && "$@"`;
  const inside = command('--privileged', root, 'ls', '/dev/hidden');
  const { stderr } = await run(['unshare', '-m', 'sh', '-c', script, home, ...inside], { env: { HOME: home } });
  assert.match(stderr, /^ls: \/dev\/hidden: No such file or directory\n$/);
});

test('--net none gives an ordinary user a network of its own', { skip }, async (t) => {
  const { root, isolate } = await prepare(t);
  const { stdout, stderr } = await isolate(
    '--net',
    'none',
    root,
    'sh',
    '-c',
    'ls /sys/class/net; ip -o addr show lo | grep -c 127.0.0.1',
  );
  assert.equal(stderr, '');
  assert.equal(stdout, 'lo\n1\n');
});

test('without subordinate ids there is no other user, and the error says what gives them', { skip }, async (t) => {
  const { root, isolate } = await prepare(t);
  const other = await isolate('-u', '1000', root, 'true');
  assert.equal(other.status, 125);
  assert.match(other.stderr, /-u 0 is the caller, and .*(no ids: sudo usermod --add-sub|newuidmap is not installed)/);
  const range = await isolate('--userns', 'range', root, 'true');
  assert.equal(range.status, 125);
  assert.match(range.stderr, /grants? .* no ids; sudo usermod --add-subuids|newuidmap is not installed/);
  const host = await isolate('--userns', 'host', root, 'true');
  assert.equal(host.status, 125);
  assert.match(host.stderr, /only root/);
});

test('with subordinate ids users from 1 on exist as well', { skip: skip || needsSubordinate }, async (t) => {
  const { home, command } = subordinateUser(t);
  const root = makeRoot(t);
  await run(['chown', '-R', `${user}:${user}`, root]);
  const script = 'id -u; id -g; grep -c . /proc/self/uid_map; grep CapEff /proc/self/status';
  const { stdout, stderr } = await run(command('md-isolate', ['-u', '1000:1000', root, 'sh', '-c', script]), {
    cwd: home,
  });
  assert.equal(stderr, '');
  assert.equal(stdout, '1000\n1000\n2\nCapEff:\t0000000000000000\n');
  const beyond = await run(command('md-isolate', ['-u', '4000000', root, 'true']), { cwd: home });
  assert.match(
    beyond.stderr,
    /has no user 4000000: -u 0 is the caller, and it has those of \/etc\/subuid and \/etc\/subgid\n$/,
  );
  // The call has a list of groups, of which the message names those that are not there.
  const groups = ['-u', '1:2', '--group-add', '70000', '--group-add', '3', '--group-add', '80000'];
  const absent = await run(command('md-isolate', [...groups, root, 'true']), { cwd: home });
  assert.match(absent.stderr, /^md-isolate: setgroups.* has no group 70000 and 80000: -u 0 is the caller, /);
});

test('where an ordinary user may not read /etc/subuid there are no other users, and the message says why', {
  skip: skip || needsSubordinate,
}, async (t) => {
  const { home, command } = subordinateUser(t);
  chmodSync(join(home, '../etc/subuid'), 0o600);
  const root = makeRoot(t);
  await run(['chown', '-R', `${user}:${user}`, root]);
  const isolate = (...args: string[]) => run(command('md-isolate', [...args, root, 'id', '-u']), { cwd: home });
  assert.equal((await isolate()).stdout, '0\n');
  const { status, stderr } = await isolate('--userns', 'range');
  assert.equal(stderr, 'md-isolate: --userns range: this user may not read /etc/subuid; sudo chmod a+r /etc/subuid\n');
  assert.equal(status, 125);
});

test('a user with the number of the caller is told to be another one, where a volume makes a difference', {
  skip: skip || needsSubordinate,
}, async (t) => {
  const { home, command } = subordinateUser(t);
  const root = makeRoot(t);
  await run(['chown', '-R', `${user}:${user}`, root]);
  const isolate = (...flags: string[]) => run(command('md-isolate', [...flags, root, 'true']), { cwd: home });
  const { stderr } = await isolate('-u', `${user}`, '-v', `${home}:/src`);
  assert.match(stderr, /^md-isolate: user \d+ is not the caller in this container, -u 0 is: .*\n$/);
  for (const flags of [
    ['-u', `${user}`],
    ['-v', `${home}:/src`],
  ])
    assert.equal((await isolate(...flags)).stderr, '');
});

test('where no_new_privs takes the power of newuidmap, there is no other user, as without subordinate ids', {
  skip: skip || needsSubordinate,
}, async (t) => {
  const { home, command } = subordinateUser(t);
  const root = makeRoot(t);
  await run(['chown', '-R', `${user}:${user}`, root]);
  const isolate = (...flags: string[]) =>
    run(['setpriv', '--no-new-privs', ...command('md-isolate', [...flags, root, 'id', '-u'])], { cwd: home });
  const { stdout, stderr } = await isolate();
  assert.deepEqual([stdout, stderr], ['0\n', '']);
  const range = await isolate('--userns', 'range');
  assert.equal(range.status, 125);
  assert.match(range.stderr, /^md-isolate: --userns range: no_new_privs is set, .*systemd .*\n$/);
});

test('of the subordinate ids those are used that the user namespace around has: none with PrivateUsers of systemd', {
  skip: skip || needsSubordinate || needs('mkfifo'),
}, async (t) => {
  const { home, command } = subordinateUser(t);
  const root = makeRoot(t);
  await run(['chown', '-R', `${user}:${user}`, root]);
  const script = `mkfifo go; unshare -U sh -c 'read x <go; exec "$@"' sh "$@" &
    until [ "$(readlink /proc/$!/ns/user)" != "$(readlink /proc/self/ns/user)" ]; do sleep 0.05; done
    for map in uid_map gid_map; do printf "$MAP" >/proc/$!/$map; done
    echo >go; wait $!`;
  const isolate = (further: string, ...flags: string[]) =>
    shell(script, command('md-isolate', [...flags, root, 'cat', '/proc/self/uid_map']), {
      cwd: scratch(t),
      env: { MAP: `0 0 1\n${user} ${user} 1\n${further}`, HOME: home },
    });
  const mapOf = ({ stdout }: { stdout: string }) => stdout.trim().split(/\s+/).map(Number);
  const some = await isolate(`${firstId + 10} ${firstId + 10} 20\n`);
  assert.deepEqual(mapOf(some), [0, user, 1, 1, firstId + 10, 20], some.stderr);
  const none = await isolate('');
  assert.deepEqual(mapOf(none), [0, user, 1], none.stderr);
  const range = await isolate('', '--userns', 'range');
  assert.match(range.stderr, /^md-isolate: --userns range: the user namespace around .* called PrivateUsers\n$/);
  assert.equal(range.status, 125);
});

test('where newuidmap would refuse the caller, there is no other user, and the message says why', {
  skip: skip || needsSubordinate,
}, async (t) => {
  for (const [grants, why] of [
    // As behind `newgrp docker`.
    [{ group: 61_236 }, /group 61236 .*; sg \$\(id -gn md-test-user\) starts a shell with it\n$/],
    [{ known: false, lines: [`${user}:${firstId}:65536`] }, /newuidmap does not know user 61235; .*\n$/],
    // An octal number to newuidmap.
    [{ lines: [`md-test-user:0${firstId}:65536`] }, /grant md-test-user no ids/],
  ] as const) {
    const { home, command } = subordinateUser(t, {
      ...grants,
      lines: 'lines' in grants ? [...grants.lines] : undefined,
    });
    const root = makeRoot(t);
    await run(['chown', '-R', `${user}:${user}`, root]);
    const isolate = (...flags: string[]) => run(command('md-isolate', [...flags, root, 'id', '-u']), { cwd: home });
    const { stdout, stderr } = await isolate();
    assert.deepEqual([stdout, stderr], ['0\n', '']);
    const range = await isolate('--userns', 'range');
    assert.equal(range.status, 125);
    assert.match(range.stderr, /^md-isolate: --userns range: /);
    assert.match(range.stderr, why);
  }
});

/** Runs md-isolate as a user with subordinate ids, whose newuidmap is a script in the place of the real one. */
async function isolateWithHelper(t: TestContext): Promise<(script: string) => Promise<Result>> {
  const { home, command } = subordinateUser(t);
  const root = makeRoot(t);
  await run(['chown', '-R', `${user}:${user}`, root]);
  return (script) => {
    writeFileSync(join(home, 'newuidmap'), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    return run(command('md-isolate', [root, 'true']), { env: { PATH: `${home}:${process.env.PATH}` } });
  };
}

test('a newuidmap that takes its grants from elsewhere is not said to lack its powers', {
  skip: skip || needsSubordinate,
}, async (t) => {
  const isolate = await isolateWithHelper(t);
  const result = await isolate(
    "echo 'newuidmap: uid range [1-65537) -> [1500000000-1500065536) not allowed' >&2; exit 1",
  );
  assert.match(result.stderr, /not allowed; it does not take the grants from \/etc\/subuid: .*; --userns self does /);
  assert.equal(result.status, 125);
});

test('a newuidmap that fails ends the container before it has begun', { skip: skip || needsSubordinate }, async (t) => {
  const isolate = await isolateWithHelper(t);
  for (const [script, told] of [
    ['echo not today >&2; exit 1', 'not today'],
    ['exit 3', 'it ended with status 3'],
    ['kill -9 $$', 'it ended with SIGKILL'],
  ] as const) {
    const result = await isolate(script);
    assert.equal(result.status, 125);
    assert.ok(
      result.stderr.startsWith(`md-isolate: newuidmap: ${told}; it has to be set-user-ID root; --userns self `),
      result.stderr,
    );
  }
});

test('a newuidmap that a filter keeps from openat2 is not said to lack its powers', {
  skip: skip || needsSubordinate,
}, async (t) => {
  const isolate = await isolateWithHelper(t);
  const result = await isolate('echo newuidmap: open of uid_map failed: Function not implemented >&2; exit 1');
  assert.match(result.stderr, /^md-isolate: newuidmap: newuidmap: open .* implemented; .*openat2.*\n$/);
  assert.equal(result.status, 125);
});

test('root may take a user namespace too', { skip }, async (t) => {
  const root = makeRoot(t);
  chownSync(root, 0, 0);
  const { stdout, stderr } = await run(['md-isolate', '--userns', 'self', root, 'sh', '-c', 'cat /proc/self/uid_map']);
  assert.equal(stderr, '');
  assert.equal(stdout.trim().replace(/\s+/g, ' '), '0 0 1');
});

test('root is told which capabilities it needs to map ids', { skip }, async (t) => {
  const isolate = ['setpriv', '--bounding-set=-setfcap', '--inh-caps=-all', 'md-isolate', '--userns', 'self'];
  const { status, stderr } = await run([...isolate, makeRoot(t), 'true']);
  assert.equal(status, 125);
  assert.match(
    stderr,
    /uid_map: operation not permitted \(EPERM\); root is without CAP_SETFCAP here: --cap-add SETFCAP/,
  );
});

test('root with a user namespace of one id leaves its groups outside', { skip }, async (t) => {
  const root = makeRoot(t);
  const isolate = ['setpriv', '--groups', '0,6', 'md-isolate', '--userns', 'self', root];
  const { stdout, stderr } = await run([...isolate, 'grep', 'Groups', '/proc/self/status']);
  assert.equal(stderr, '');
  assert.equal(stdout.trim().replace(/\s+/g, ' '), 'Groups: 0');
});

test('the first process that is killed before it has its ids was killed, and nothing is wrong with the ids', {
  skip: skip || needs('strace'),
}, async (t) => {
  const { root, home, command } = await rootless(t);
  const [strace = '', ...flags] = injecting(`${callOf('readlink')}:delay_enter=1500000`, '/proc/self');
  const tracer = spawn(strace, [...flags, ...command('--userns', 'self', root, 'true')], {
    stdio: 'ignore',
    env: { ...cleanEnv(), HOME: home },
  });
  killAfterwards(t, tracer);
  const ended = once(tracer, 'close');
  const first = () => childrenOf(tracer.pid!).flatMap(childrenOf)[0];
  await until(() => first() !== undefined || tracer.exitCode !== null, 5);
  signal(first()!, 'SIGKILL');
  assert.deepEqual(await ended, [137, null]);
});
