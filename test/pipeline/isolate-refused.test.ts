/**
 * Where a host or its surroundings forbid a container, the error names the cause and what to do. As root, in namespaces
 * that are changed.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { isAtLeast, kernelRelease } from '../../lib/sys/procfs/kernel-release.js';
import { injecting } from '../support/injected-call.js';
import { makeRoot, needsContainer } from '../support/rootfs.js';
import { needsRootless, rootless } from '../support/rootless.js';
import { afterwards, needs, root, run, scratch, shell } from '../support/run.js';
import { prepare, twoLayers } from '../support/unpacking.js';

const skip = needsContainer || needs('unshare', 'setpriv', 'chroot');

/** A chroot(2) into a plain directory that has all of the host in it; both last as long as the mount namespace. */
const chroot = `unshare -m sh -c '
  mount -t tmpfs tmpfs /mnt && mkdir /mnt/root || exit
  for x in /*; do
    if [ -L $x ]; then cp -P $x /mnt/root; elif [ -d $x ]; then mkdir /mnt/root$x; mount --rbind $x /mnt/root$x; fi
  done
  exec chroot /mnt/root "$@"' sh "$@"`;

/**
 * What has to be named, a script that has the command line in `$@`, and a file that only a kernel that can do this has.
 */
const refusals: [who: string, script: string, flags: string[], named: RegExp, setting?: string][] = [
  ...['user', 'pid', 'mnt', 'uts', 'ipc', 'cgroup', 'net'].map((kind): (typeof refusals)[number] => [
    `a host that allows no ${kind} namespaces`,
    `unshare -Ur sh -c 'echo 0 > /proc/sys/user/max_${kind}_namespaces; exec "$@"' sh "$@"`,
    ['--userns', 'self', '--net', 'none'],
    new RegExp(
      `\\(ENOSPC\\); user\\.max_${kind}_namespaces is 0 on this host: sudo sysctl -w user\\.max_${kind}_namespaces=15000$`,
    ),
  ]),
  [
    'a host that allows no more namespaces of a kind than there are',
    `unshare -Ur sh -c 'echo 1 > /proc/sys/user/max_uts_namespaces; exec unshare --uts "$@"' sh "$@"`,
    ['--userns', 'self'],
    /\(ENOSPC\); user\.max_uts_namespaces is 1 on this host, and as many exist: sudo sysctl -w user\.max_uts_namespaces=2, or/,
  ],
  [
    'a user namespace around this one that maps no ids',
    'unshare -U "$@"',
    [],
    /clone\(.*\(EPERM\); the user namespace around this process maps no ids, .*: unshare -r maps one$/,
  ],
  [
    'a user namespace around this one that allows no more',
    `unshare -Ur sh -c 'echo 0 > /proc/sys/user/max_uts_namespaces; exec unshare -Ur "$@"' sh "$@"`,
    ['--userns', 'self'],
    /\(ENOSPC\); user\.max_uts_namespaces of a user namespace around this one allows no more/,
  ],
  [
    'a user namespace around this one without the id that is asked for',
    'unshare -Ur "$@"',
    ['-u', '1000'],
    /^setresgid.*\(EINVAL\); .* has no group 1000: -u 0 is the caller, and it has those of \/proc\/self\/uid_map and gid_map$/,
  ],
  [
    'a user namespace around this one that lacks what usermod would grant',
    'unshare -Ur "$@"',
    ['--userns', 'range'],
    /grants? \S+ no ids; the user namespace around this process lacks those that usermod would grant: start outside/,
  ],
  [
    'root without CAP_SYS_ADMIN, who is to do without a user namespace',
    'setpriv --bounding-set=-sys_admin "$@"',
    ['--userns', 'host'],
    /\(EPERM\); this process is confined, as inside another container: start that one with --cap-add SYS_ADMIN/,
  ],
  [
    'root without the powers to map ids',
    'setpriv --bounding-set=-all,+sys_chroot "$@"',
    [],
    /\(EPERM\); root is without CAP_SETUID, CAP_SETGID, CAP_SETFCAP here: --cap-add SETUID --cap-add SETGID --cap-add SETFCAP give them to/,
  ],
  [
    'root without the power to drop capabilities and to change ids',
    'setpriv --bounding-set=-setpcap,-setuid,-setgid "$@"',
    ['--userns', 'host', '--cap-drop', 'SETPCAP', '--cap-drop', 'SETUID', '--cap-drop', 'SETGID'],
    /\(EPERM\); this process is confined, .* with --cap-add SETPCAP --cap-add SETGID --cap-add SETUID$/,
  ],
  [
    'root without the power over its network',
    'setpriv --bounding-set=-net_admin "$@"',
    ['--userns', 'host', '--net', 'none'],
    /^ioctl.* \(EPERM\); this process is confined, .* with --cap-add NET_ADMIN$/,
  ],
  [
    'root without the power over files that an overlay takes',
    'setpriv --bounding-set=-dac_override "$@"',
    ['--overlay', '--cap-drop', 'DAC_OVERRIDE'],
    /^fsconfig.* \(EACCES\); this process is confined, .* with --cap-add DAC_OVERRIDE$/,
  ],
  [
    'the same where it cannot be known whether AppArmor confines',
    `unshare -m sh -c '
      mount -t tmpfs tmpfs /sys/module && mkdir -p /sys/module/apparmor/parameters || exit
      echo Y >/sys/module/apparmor/parameters/enabled
      exec setpriv --bounding-set=-sys_admin "$@"' sh "$@"`,
    ['--userns', 'host'],
    /\(EPERM\); this process is confined, as inside another container: start that one with --cap-add SYS_ADMIN/,
  ],
  [
    'a proc that is partly covered',
    // Another one that somebody has mounted, for a chroot for example, would do.
    `unshare -m sh -c '
      for proc in $(sed -n "s/^[^ ]* \\([^ ]*\\) proc .*/\\1/p" /proc/mounts); do
        mount --bind /dev/null "$proc/version" || exit
      done
      exec "$@"' sh "$@"`,
    ['--userns', 'self'],
    /^fsmount.*\(EPERM\); the kernel refuses a new proc or sysfs where the one outside is partly covered/,
  ],
  [
    'a host that allows no memory files to be executed',
    `unshare -pf --mount-proc sh -c 'echo 2 > /proc/sys/vm/memfd_noexec; "$@"' sh "$@"`,
    [],
    /^memfd_create\(.*\(EACCES\); vm\.memfd_noexec is 2 on this host: sudo sysctl -w vm\.memfd_noexec=1$/,
    '/proc/sys/vm/memfd_noexec',
  ],
  [
    'no proc at all',
    `unshare -m sh -c 'umount -l /proc; exec "$@"' sh "$@"`,
    [],
    /^\/proc\/self\/status: no such file or directory \(ENOENT\); .*mount -t proc proc \/proc$/,
  ],
  [
    'a host without /sys, which a user namespace would get',
    `unshare -m sh -c 'umount -l /sys; exec "$@"' sh "$@"`,
    ['--userns', 'self'],
    /^\/sys: nothing is mounted there on this host; sudo mount -t sysfs sysfs \/sys/,
  ],
  [
    'a proc that shows processes alone, as with ProcSubset=pid of systemd',
    `unshare -pf -m sh -c 'mount -t proc -o subset=pid proc /proc && "$@"' sh "$@"`,
    [],
    /^\/proc\/sys\/kernel\/cap_last_cap: no such file or directory \(ENOENT\); .* called ProcSubset=pid$/,
  ],
  [
    'a chroot, for an ordinary user',
    chroot,
    ['--userns', 'self'],
    /\(EPERM\); this process is in a chroot, where the kernel makes no user namespace/,
  ],
  [
    'a chroot, for root',
    chroot,
    [],
    /\(EINVAL\); the root of this process is not a mount: mount --bind DIR DIR before chroot\(8\) makes it one$/,
  ],
  [
    'a tree that is read-only and lacks a mount point',
    `unshare -m sh -c '
      for root; do [ ! -d "$root" ] || break; done
      mount --bind "$root" "$root" && mount -o remount,bind,ro "$root" && exec "$@"' sh "$@"`,
    ['-w', '/not/there'],
    /\(ENOENT\); the tree lacks it, and it cannot be made there: --overlay helps.* room if the disk is full/,
  ],
  [
    'a tree with a mount in it, for an overlay of an ordinary user',
    `unshare -m sh -c '
      for root; do [ ! -d "$root" ] || break; done
      mount -t tmpfs tmpfs "$root/tmp" && exec "$@"' sh "$@"`,
    ['--userns', 'self', '--overlay'],
    /\(EINVAL\); .*\/root\/tmp is mounted, and in a user namespace no overlay .*: umount that$/,
  ],
  [
    'an empty /dev in a user namespace, where no device can be made',
    `unshare -Urm sh -c 'mount -t tmpfs tmpfs /dev; exec "$@"' sh "$@"`,
    [],
    /^\/dev\/null: it is not the device 1:3 .*; no device can be made in a user namespace: .* \(bwrap: --dev \/dev\)$/,
  ],
  [
    'a file of the host at /dev/null, which a user namespace would get',
    `unshare -m sh -c 'mount -t tmpfs tmpfs /mnt; >/mnt/file; mount --bind /mnt/file /dev/null; exec "$@"' sh "$@"`,
    ['--userns', 'self'],
    /^\/dev\/null: it is not the device 1:3 on this host; .*mknod -m 666 \/dev\/null c 1 3$/,
  ],
];

test('md-unpack says that the user namespace around it has no id for the caller', { skip }, async (t) => {
  const { rootfs, stdin } = prepare(t, twoLayers);
  chmodSync(dirname(rootfs), 0o777);
  const { status, stderr } = await run(['unshare', '-U', 'md-unpack', rootfs], { stdin });
  assert.match(stderr, /^md-unpack: \S+: .*\(EINVAL\); the user namespace around this .*: unshare -r maps one\n$/);
  assert.equal(status, 74);
});

test('md-unpack --map without /proc says that it is not there', { skip }, async () => {
  const { status, stderr } = await shell(
    `unshare -m sh -c 'umount -l /proc; echo "{}" | md-unpack --map /nowhere/tree >/dev/null'`,
  );
  assert.match(stderr, /^md-unpack: \/proc\/self\/status: .*\(ENOENT\); .*: mount -t proc proc \/proc\n$/);
  assert.equal(status, 74);
});

for (const [who, script, flags, named, setting] of refusals) {
  const lacking = setting && !existsSync(setting) && `the kernel has no ${setting}`;
  test(`what stands in the way is named: ${who}`, { skip: skip || lacking }, async (t) => {
    const root = makeRoot(t);
    const { status, stdout, stderr } = await run([
      'sh',
      '-c',
      script,
      'sh',
      'md-isolate',
      ...flags,
      root,
      'echo',
      'in',
    ]);
    assert.equal(stdout, '');
    // Before Linux 6.6 there is a warning above it for some.
    const [, message = ''] = /^(?:md-isolate: on Linux .*\n)?md-isolate: (.*)\n$/.exec(stderr) ?? [];
    assert.match(message, named, stderr);
    assert.equal(status, 125);
  });
}

/** Calls that any program may make, so that only a filter or a policy can refuse them. */
for (const [call, error] of [
  ['socketpair', 'EACCES'],
  ['memfd_create', 'EPERM'],
  ['recvmsg', 'ENOSYS'],
  ['prlimit64', 'EPERM'],
] as const) {
  test(`a filter or a policy that refuses ${call} is blamed, and not this program`, {
    skip: skip || needs('strace'),
  }, async (t) => {
    const strace = `strace -f -qq -o /dev/null -e inject=${call}:error=${error}`.split(' ');
    const { status, stderr } = await run([...strace, 'md-isolate', '-t', makeRoot(t), 'true']);
    const why = `^md-isolate: ${call}\\(.*\\(${error}\\); a filter or a policy of this host refuses what any program may do\n$`;
    assert.match(stderr, new RegExp(why));
    assert.equal(status, 125);
  });
}

const tracing = '/proc/sys/kernel/yama/ptrace_scope';
test('a host where nobody may trace is named, since what was refused cannot be reported there', {
  skip: skip || needs('strace') || (!existsSync(tracing) && `the kernel has no ${tracing}`),
}, async (t) => {
  const value = join(scratch(t), 'value');
  writeFileSync(value, '3\n');
  const strace = 'strace -f -qq -o /dev/null -e inject=pidfd_getfd:error=EPERM';
  const script = `mount --bind "$VALUE" ${tracing} && exec ${strace} "$@"`;
  const command = ['md-isolate', '--seccomp-report', makeRoot(t), 'true'];
  const { status, stderr } = await run(['unshare', '-m', 'sh', '-c', script, 'sh', ...command], {
    env: { VALUE: value },
  });
  assert.match(stderr, /^md-isolate: pidfd_getfd.* \(EPERM\); kernel\.yama\.ptrace_scope is 3 .* --seccomp-report\n$/);
  assert.equal(status, 125);
});

test('an overlay of an ordinary user over the whole machine is refused for what is mounted', { skip }, async () => {
  const { status, stderr } = await run(['md-isolate', '--userns', 'self', '--overlay', '/', 'true']);
  assert.match(stderr, /\(EINVAL\); \/\S+ is mounted, and in a user namespace no overlay can .*\n$/);
  assert.equal(status, 125);
});

test('too little memory for a user namespace is not blamed on a policy', {
  skip: skip || needs('strace'),
}, async (t) => {
  const strace = 'strace -f -qq -o /dev/null -e inject=clone:error=ENOMEM'.split(' ');
  const { status, stderr } = await run([...strace, 'md-isolate', '--userns', 'self', makeRoot(t), 'true']);
  assert.match(stderr, /^md-isolate: clone.* \(ENOMEM\); there is no memory for one more process: .*\n$/);
  assert.equal(status, 125);
});

test('a call that a filter around this process says there is not is no call that the kernel lacks', {
  skip: skip || needs('strace'),
}, async (t) => {
  const profile = {
    defaultAction: 'SCMP_ACT_ALLOW',
    syscalls: [{ names: ['pivot_root'], action: 'SCMP_ACT_ERRNO', errnoRet: 38 }],
  };
  const file = join(scratch(t), 'profile.json');
  writeFileSync(file, JSON.stringify(profile));
  const root = makeRoot(t);
  // A volume, since it may be on another mount than /, which an overlay does not show.
  const outer = [
    'md-isolate',
    '--privileged',
    '--seccomp',
    file,
    '--overlay',
    '-v',
    `${root}:${root}`,
    '-e',
    'PATH',
    '/',
  ];
  const { status, stderr } = await run([...outer, 'md-isolate', root, 'true']);
  assert.match(
    stderr,
    /^md-isolate: pivot_root.*\(ENOSYS\); this process is confined, .* with --security-opt seccomp=unconfined$/m,
  );
  assert.equal(status, 125);
});

const appArmor = '/sys/module/apparmor/parameters/enabled';
const confinable = existsSync(appArmor) && readFileSync(appArmor, 'latin1').startsWith('Y');
const needsAppArmor = needs('apparmor_parser', 'aa-exec') || (!confinable && 'the kernel has no AppArmor');
/** The latest rules that the parser knows. */
const abi = existsSync('/etc/apparmor.d/abi/4.0') ? '4.0' : '3.0';
const needsAppArmor4 = needsAppArmor || (abi !== '4.0' && 'apparmor_parser is older than 4');

let profiles = 0;
/** What the mounts of a container need of a profile. */
const ofContainer = 'flags=(attach_disconnected,mediate_deleted)';

/** Loads a profile for the length of a test; returns what runs a command under it. It may hold for a path by itself. */
function profiled(t: TestContext, flags: string, rules: string, path = ''): string[] {
  const profile = `md-test-${process.pid}${profiles++}`;
  const load = (...how: string[]) => {
    const input = `abi <abi/${abi}>,\nprofile ${profile} ${path} ${flags} { ${rules} }\n`;
    assert.equal(spawnSync('apparmor_parser', how, { input, stdio: ['pipe', 'inherit', 'inherit'] }).status, 0);
  };
  load('--add');
  afterwards(t, () => load('--remove'));
  return ['aa-exec', '-p', profile, '--'];
}

for (const [what, flags, rules] of [
  ['mounts', 'flags=(attach_disconnected)', 'file, capability, network, unix, signal, userns,'],
  ['programs that are in no directory', '', 'file, capability, network, unix, signal, mount, umount, pivot_root,'],
] as const) {
  const needed = skip || (rules.includes('userns') ? needsAppArmor4 : needsAppArmor);
  test(`an AppArmor profile that forbids ${what} is named`, { skip: needed }, async (t) => {
    const { status, stderr } = await run([...profiled(t, flags, rules), 'md-isolate', makeRoot(t), 'true']);
    assert.match(
      stderr,
      /\(EACCES\); this process is confined by the AppArmor profile md-test-\d+: write .*apparmor=unconfined$/m,
    );
    assert.equal(status, 125);
  });
}

test('an AppArmor profile of the host for a path holds in a container, but not below that of README.md', {
  skip: skip || needsAppArmor4,
}, async (t) => {
  const tree = makeRoot(t);
  const path = '/opt/md-test/busybox';
  mkdirSync(join(tree, 'opt/md-test'), { recursive: true });
  copyFileSync(join(tree, 'bin/busybox'), join(tree, path));
  writeFileSync(join(tree, 'etc/note'), 'seen\n');
  profiled(t, '', `${path} mr, /dev/** rw,`, path);
  const read = ['md-isolate', tree, 'sh', '-c', `${path} cat /etc/note`];
  assert.match((await run(read)).stderr, /Permission denied/);
  const readme = readFileSync(join(root, 'README.md'), 'utf8');
  const [, flags, rules] = /`profile md \S+\/md-isolate\.cjs (flags=\S+) \{ (.*) \}`/.exec(readme) ?? [];
  const outside = profiled(t, flags!, rules!);
  const { stdout, stderr } = await run([...outside, ...read]);
  assert.equal(stdout, 'seen\n', stderr);
  const named = profiled(t, ofContainer, 'file, capability, signal,')[2]!;
  const current = ['md-isolate', '--security-opt', `apparmor=${named}`, tree, 'cat', '/proc/self/attr/current'];
  assert.equal((await run([...outside, ...current])).stdout, `${named} (enforce)\n`);
  const without = profiled(t, flags!, rules!.replace('change_profile,', ''));
  assert.match((await run([...without, ...current])).stderr, /\(EACCES\); .* "change_profile,"/);
});

for (const [what, flags, user] of [
  ['of root', [], 0],
  ['of another user, with --init and --no-new-privs', ['--init', '--no-new-privs', '-u', '1000'], 1000],
] as const) {
  test(`--security-opt apparmor confines the command ${what}`, { skip: skip || needsAppArmor }, async (t) => {
    const tree = makeRoot(t);
    writeFileSync(join(tree, 'etc/note'), 'seen\n');
    const profile = profiled(t, ofContainer, 'file, capability, signal, deny /etc/note rw,')[2]!;
    const command = ['sh', '-c', 'id -u; cat /proc/self/attr/current /etc/note'];
    const { stdout, stderr, status } = await run([
      ...['md-isolate', ...flags, '--security-opt', `apparmor=${profile}`, tree, ...command],
    ]);
    assert.equal(stdout, `${user}\n${profile} (enforce)\n`, stderr);
    assert.match(stderr, /\/etc\/note.*Permission denied/);
    assert.equal(status, 1);
  });
}

for (const [what, isOn, why] of [
  ['that is not loaded', true, /^md-isolate: write\(.*\(ENOENT\); no such profile is loaded: /],
  ['where there is no AppArmor', false, /^md-isolate: .*attr\/apparmor.*AppArmor is not on in this kernel/],
] as const) {
  const other = confinable !== isOn && `the kernel has ${confinable ? '' : 'no '}AppArmor`;
  test(`an AppArmor profile ${what} is refused`, { skip: skip || other }, async (t) => {
    const { stderr, status } = await run([
      'md-isolate',
      '--security-opt',
      'apparmor=md-test-none',
      makeRoot(t),
      'true',
    ]);
    assert.match(stderr, why);
    assert.equal(status, 125);
  });
}

const advice = 'profile md-test-\\d+: write flags=\\(unconfined\\) and "userns," into it, ';
for (const [what, flags, rules, named] of [
  ['user namespaces', '', 'file, unix, signal, capability, mount,', `^md-isolate: clone.* \\(EACCES\\); .*${advice}`],
  ['capabilities', '', 'file, unix, signal, mount, userns,', `^md-isolate: clone.* \\(EPERM\\); .*${advice}`],
  ['nothing since the advice was followed', 'flags=(unconfined)', 'userns,', '^$'],
] as const) {
  const isOld =
    what === 'user namespaces' && !isAtLeast(kernelRelease(), '6.7') && 'AppArmor does so from Linux 6.7 on';
  const needed = skip || needsAppArmor4 || needsRootless || isOld;
  test(`what an AppArmor profile forbids an ordinary user is named: ${what}`, { skip: needed }, async (t) => {
    const { root, command } = await rootless(t);
    const line = command('--userns', 'self', root, 'true');
    line.splice(line.indexOf(process.execPath), 0, ...profiled(t, flags, rules));
    const { status, stderr } = await run(line);
    assert.match(stderr, new RegExp(named));
    assert.equal(status, named === '^$' ? 0 : 125);
  });
}

test('a capability that containers have by default and that is not there to give is told', { skip }, async (t) => {
  const root = makeRoot(t);
  const start = (...flags: string[]) =>
    run(['setpriv', '--bounding-set=-audit_write,-net_raw', 'md-isolate', ...flags, root, 'echo', 'in']);
  const { stdout, stderr } = await start();
  assert.equal(stdout, 'in\n');
  const which = 'CAP_NET_RAW, CAP_AUDIT_WRITE, which this process does not have itself';
  assert.equal(stderr, `md-isolate: the container goes without ${which}\n`);
  assert.equal((await start('--cap-drop', 'NET_RAW', '--cap-drop', 'audit_write')).stderr, '');
  assert.equal((await start('--cap-add', 'ALL')).stderr, '');
});

for (const ids of [65_536, 1]) {
  test(`root of a user namespace of ${ids} ids, as in a rootless container, may have a network of its own`, {
    skip: skip || needs('mkfifo'),
  }, async (t) => {
    const script = `mkfifo go; unshare -U sh -c 'read x <go; exec setpriv --bounding-set=-mknod "$@"' sh "$@" &
      until [ "$(readlink /proc/$!/ns/user)" != "$(readlink /proc/self/ns/user)" ]; do sleep 0.05; done
      for map in uid_map gid_map; do echo 0 0 ${ids} >/proc/$!/$map; done
      echo >go; wait $!`;
    const inside = ['cat', '/proc/sys/net/ipv4/ip_unprivileged_port_start'];
    const argv = ['md-isolate', '--net', 'none', '-u', '0:0', makeRoot(t), ...inside];
    const { stdout, stderr } = await shell(script, argv, { cwd: scratch(t) });
    assert.equal(stdout, '0\n', stderr);
  });
}

test('root of a user namespace makes a container with --userns self', { skip }, async (t) => {
  const root = makeRoot(t);
  writeFileSync(join(root, 'file'), 'in\n');
  const { stdout } = await run(['unshare', '-Ur', 'md-isolate', '--userns', 'self', root, 'cat', '/file']);
  assert.equal(stdout, 'in\n');
});

test('where /proc is that of another PID namespace, no map is written for a stranger', {
  skip: needsContainer || needs('unshare'),
}, async (t) => {
  const command = ['md-isolate', '--userns', 'self', makeRoot(t), 'true'];
  const { status, stderr } = await run(['unshare', '-p', '-f', ...command]);
  assert.match(stderr, /^md-isolate: \/proc: it shows another PID namespace than that of this process; .*\n$/);
  assert.equal(status, 125);
  assert.equal((await run(['unshare', '-p', '-f', '--mount-proc', ...command])).status, 0);
});

test('a container does without a keyring of its own only where there are no keys', {
  skip: needsContainer || needs('strace'),
}, async (t) => {
  const root = makeRoot(t);
  const start = (error: string) => run([...injecting(`keyctl:error=${error}`), 'md-isolate', root, 'true']);
  const { status, stderr } = await start('EDQUOT');
  assert.match(
    stderr,
    /^md-isolate: keyctl\(KEYCTL_JOIN_SESSION_KEYRING, .*\): disk quota exceeded \(EDQUOT\); .* kernel\.keys\.maxkeys says how /,
  );
  assert.equal(status, 125);
  assert.equal((await start('ENOSYS')).status, 0);
});

test('where the kernel is built without user namespaces, and has no maps of ids, root gets its container', {
  skip: skip || needs('strace'),
}, async (t) => {
  const maps = ['uid', 'gid'].flatMap((kind) => ['-P', `/proc/self/${kind}_map`]);
  const strace = ['strace', '-qq', '-o', '/dev/null', ...maps, '-e', 'inject=?open,openat:error=ENOENT'];
  const { status, stdout, stderr } = await run([...strace, 'md-isolate', makeRoot(t), 'echo', 'in it']);
  assert.deepEqual([status, stdout], [0, 'in it\n'], stderr);
});

test('a disk, a device or a filter that fails is told as what it is, and not as a fault of this program', {
  skip: skip || needs('strace'),
}, async (t) => {
  const tree = makeRoot(t);
  const log = join(tree, '../log');
  const cases: [inject: string, path: string | undefined, flags: string, message: string][] = [
    ['statx:error=EIO:when=1', tree, '', `${tree}: i/o error (EIO)`],
    ['statx:error=ENOTCONN', log, '', 'stdout: socket is not connected (ENOTCONN)'],
    ['getdents64:error=EIO', '/dev', '--privileged', '/dev: i/o error (EIO)'],
    [
      'memfd_create:error=EPERM',
      undefined,
      '--dry-run',
      'memfd_create("md table", MFD_CLOEXEC|MFD_EXEC): operation not',
    ],
  ];
  for (const [inject, path, flags, message] of cases) {
    const { status, stderr } = await shell(`exec "$@" ${flags} ${tree} true >${log}`, [
      ...injecting(inject, path),
      'md-isolate',
    ]);
    assert.ok(stderr.startsWith(`md-isolate: ${message}`), stderr);
    assert.equal(status, 125);
  }
});

test('a mount in /sys that nobody may look at, as of a FUSE server that has died, is no reason to have no container', {
  skip: skip || needs('strace') || (!existsSync('/sys/kernel/debug') && 'no /sys/kernel/debug'),
}, async (t) => {
  const tree = makeRoot(t);
  const mount = `unshare -m sh -c 'mount -t tmpfs tmpfs /sys/kernel/debug && exec "$@"' sh "$@"`;
  const strace = injecting('statx:error=ENOTCONN', '/sys/kernel/debug');
  const { status, stderr } = await shell(mount, [...strace, 'md-isolate', '--userns', 'self', tree, 'true']);
  assert.deepEqual([status, stderr], [0, '']);
});
