/** Where a host or its surroundings forbid a container, the error names the cause and what to do. As root, in namespaces that are changed. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { makeRoot, needsContainer } from '../support/rootfs.js';
import { needsRootless, rootless } from '../support/rootless.js';
import { afterwards, needs, run, scratch, shell } from '../support/run.js';

const skip = needsContainer || needs('unshare', 'setpriv', 'chroot');

/** A chroot(2) into a plain directory that has all of the host in it; both last as long as the mount namespace. */
const chroot = `unshare -m sh -c '
  mount -t tmpfs tmpfs /mnt && mkdir /mnt/root || exit
  for x in /*; do
    if [ -L $x ]; then cp -P $x /mnt/root; elif [ -d $x ]; then mkdir /mnt/root$x; mount --rbind $x /mnt/root$x; fi
  done
  exec chroot /mnt/root "$@"' sh "$@"`;

/** What has to be named, a script that has the command line in `$@`, and a file that only a kernel that can do this has. */
const refusals: [who: string, script: string, flags: string[], named: RegExp, setting?: string][] = [
  [
    'a host that allows no user namespaces',
    `unshare -Ur sh -c 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"' sh "$@"`,
    ['--userns', 'self'],
    /\(ENOSPC\); user\.max_user_namespaces is 0 on this host: sudo sysctl -w user\.max_user_namespaces=/,
  ],
  [
    'a host that allows too few namespaces',
    `unshare -Ur sh -c 'echo 0 > /proc/sys/user/max_pid_namespaces; exec "$@"' sh "$@"`,
    [],
    /\(ENOSPC\); too many namespaces exist, .* see \/proc\/sys\/user$/,
  ],
  [
    'root of a user namespace',
    'unshare -Ur "$@"',
    [],
    /\(EPERM\); root here is only root of a user namespace: --userns self can work with that$/,
  ],
  [
    'root of a user namespace of one id, who needs no mknod(2) and makes a network',
    'unshare -Ur setpriv --bounding-set=-mknod "$@"',
    ['--cap-drop', 'MKNOD', '--net', 'none'],
    /^setgroups.*\(EPERM\); root here is only root of a user namespace: --userns self can work with that$/,
  ],
  [
    'root without CAP_SYS_ADMIN',
    'setpriv --bounding-set=-sys_admin "$@"',
    [],
    /\(EPERM\); this process is confined, as inside another container: start that one with --cap-add SYS_ADMIN/,
  ],
  [
    'the same where it cannot be known whether AppArmor confines',
    `unshare -m sh -c '
      mount -t tmpfs tmpfs /sys/module && mkdir -p /sys/module/apparmor/parameters || exit
      echo Y >/sys/module/apparmor/parameters/enabled
      exec setpriv --bounding-set=-sys_admin "$@"' sh "$@"`,
    [],
    /\(EPERM\); this process is confined, as inside another container: start that one with --cap-add SYS_ADMIN/,
  ],
  [
    'a proc that is partly covered',
    `unshare -m sh -c 'mount --bind /dev/null /proc/version; exec "$@"' sh "$@"`,
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
    'a chroot, for an ordinary user',
    chroot,
    ['--userns', 'self'],
    /\(EPERM\); this process is in a chroot, where the kernel makes no user namespace/,
  ],
  [
    'a chroot, for root',
    chroot,
    [],
    /\(EINVAL\); the root of this process is no mount: mount --bind DIR DIR before chroot\(8\) makes it one$/,
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
    'a file of the host at /dev/null, which a user namespace would get',
    `unshare -m sh -c 'mount -t tmpfs tmpfs /mnt; >/mnt/file; mount --bind /mnt/file /dev/null; exec "$@"' sh "$@"`,
    ['--userns', 'self'],
    /^\/dev\/null: it is not the device 1:3 on this host; .*mknod -m 666 \/dev\/null c 1 3$/,
  ],
];

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
    const [, message = ''] = /^md-isolate: (.*)\n$/.exec(stderr) ?? [];
    assert.match(message, named, stderr);
    assert.equal(status, 125);
  });
}

const appArmor = '/sys/module/apparmor/parameters/enabled';
const confinable = existsSync(appArmor) && readFileSync(appArmor, 'latin1').startsWith('Y');
const needsAppArmor = needs('apparmor_parser', 'aa-exec') || (!confinable && 'the kernel has no AppArmor');

/** Loads a profile for the length of a test; returns what runs a command under it. */
function profiled(t: TestContext, flags: string, rules: string): string[] {
  const profile = `md-test-${process.pid}`;
  const load = (...how: string[]) => {
    const input = `abi <abi/4.0>,\nprofile ${profile} ${flags} { ${rules} }\n`;
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
  test(`an AppArmor profile that forbids ${what} is named`, { skip: skip || needsAppArmor }, async (t) => {
    const { status, stderr } = await run([...profiled(t, flags, rules), 'md-isolate', makeRoot(t), 'true']);
    assert.match(
      stderr,
      /\(EACCES\); this process is confined by the AppArmor profile md-test-\d+: write .*apparmor=unconfined$/m,
    );
    assert.equal(status, 125);
  });
}

const advice = 'profile md-test-\\d+: write flags=\\(unconfined\\) and "userns," into it, ';
for (const [what, flags, rules, named] of [
  ['user namespaces', '', 'file, unix, signal, capability, mount,', `^md-isolate: clone.* \\(EACCES\\); .*${advice}`],
  ['capabilities', '', 'file, unix, signal, mount, userns,', `^md-isolate: clone.* \\(EPERM\\); .*${advice}`],
  ['nothing since the advice was followed', 'flags=(unconfined)', 'userns,', '^$'],
] as const) {
  const needed = skip || needsAppArmor || needsRootless;
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
