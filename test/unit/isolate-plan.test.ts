/** The plan of a container, made without making one. */

import assert from 'node:assert/strict';
import fs, { existsSync } from 'node:fs';
import { test } from 'node:test';
import type { RunConfig } from '../../lib/base/oci.js';
import { execSteps } from '../../lib/isolate/child/exec.js';
import { manPageOf } from '../../lib/isolate/child/step.js';
import { bindsDevices, checkDevices, closesDevices } from '../../lib/isolate/filesystem/devices.js';
import { layerAt } from '../../lib/isolate/filesystem/layer.js';
import { findMasks, type Masks } from '../../lib/isolate/filesystem/masks.js';
import { checkWritable } from '../../lib/isolate/filesystem/proc-and-sys.js';
import type { Circumstances } from '../../lib/isolate/plan/circumstances.js';
import { describePlan } from '../../lib/isolate/plan/dry-run.js';
import { makePlan } from '../../lib/isolate/plan/plan.js';
import type { Caller } from '../../lib/isolate/settings/caller.js';
import { type IsolateFlags, isolateFlags } from '../../lib/isolate/settings/flags.js';
import { settingsOf } from '../../lib/isolate/settings/settings.js';
import { stepFailure } from '../../lib/isolate/supervisor/explain.js';
import { chooseCapabilities } from '../../lib/isolate/user/capabilities.js';
import { parseFlags } from '../../lib/pipe/flags.js';
import { showStep } from '../../lib/sys/native-code/step.js';
import { Stub } from '../../lib/sys/native-code/stub.js';
import { capabilities as capabilityNames } from '../../lib/sys/syscalls/constants.js';
import { EACCES, EINVAL } from '../../lib/sys/syscalls/errno.js';
import { SyscallError } from '../../lib/sys/syscalls/syscall.js';
import type { IdMaps } from '../../lib/sys/user-namespace/id-maps.js';
import { spreadMocks } from '../support/mocks.js';

const capabilities = Array.from({ length: 41 }, (_, number) => number);

const masks: Masks = {
  readOnly: ['proc/sys'],
  files: ['proc/kcore', 'proc/keys'],
  directories: ['proc/acpi', 'proc/scsi'],
};

const caller: Caller = {
  env: { GIVEN: 'yes' },
  openFiles: { resource: 7, value: Buffer.alloc(16) },
  processors: () => 2,
  terminal: false,
};

const { flags: noFlags } = parseFlags(isolateFlags, [], true);

function settings(flags: Partial<IsolateFlags> = {}, command = ['true'], image: RunConfig = {}) {
  const config = { config: image, rootfs: { type: 'layers' as const, diff_ids: [] } };
  const document = { config, platform: { os: 'linux', architecture: 'amd64' } };
  return settingsOf('/srv/root', document, { ...noFlags, ...flags }, command, caller);
}

function plan(flags: Partial<IsolateFlags> = {}, circumstances: Partial<Circumstances> = {}) {
  const chosen = settings(flags);
  return makePlan(chosen, {
    control: { supervisor: 20, child: 21 },
    stub: new Stub().steps,
    showing: false,
    ignoredSignals: [13, 25],
    maps: undefined,
    inUserns: circumstances.maps !== undefined,
    setsGroups: circumstances.maps === undefined,
    identity: { uid: 0, gid: 0, groups: [0], home: '/root' },
    lastCapability: 40,
    kept: chooseCapabilities(chosen.capAdd, chosen.capDrop, capabilities),
    filter: { program: Buffer.alloc(8), flags: 0 },
    report: undefined,
    layer: undefined,
    view: { lower: '/srv/root' },
    rootDirectory: { mode: 0o755, uid: 0, gid: 0 },
    etcFiles: {
      hosts: '127.0.0.1 localhost\n',
      resolvConf: 'nameserver 192.0.2.1\n',
      places: { hostname: 'etc/hostname', hosts: 'etc/hosts', 'resolv.conf': 'etc/resolv.conf' },
    },
    volumes: chosen.volumes,
    directories: [],
    bindSys: circumstances.maps !== undefined && chosen.network === 'host',
    hierarchies: [''],
    usualSysctls: [],
    masks: chosen.privileged ? undefined : masks,
    bindDevices: bindsDevices(circumstances.maps !== undefined, capabilities),
    hostDevices: [],
    nodevOnDev: closesDevices(circumstances.maps !== undefined, chosen.privileged),
    ttyGroup: 5,
    windowSize: undefined,
    detachKeys: undefined,
    pipes: [],
    outputs: [],
    nulls: [],
    ...circumstances,
  });
}

function calls(...args: Parameters<typeof plan>): string[] {
  return plan(...args).steps.map((step) => showStep(step));
}

function before(list: string[], ...starts: string[]): void {
  const places = starts.map((start) => list.findIndex((call) => call.startsWith(start)));
  assert.ok(!places.includes(-1), `${starts} at ${places}`);
  assert.deepEqual(
    places,
    [...places].sort((a, b) => a - b),
    starts.join(),
  );
}

test('--init: process 1 is safe from the command before there is one, and has its filter and its ids', () => {
  before(
    calls({ init: true, 'no-new-privs': true }),
    'setresuid',
    'prctl(PR_SET_PDEATHSIG, 9',
    'prctl(PR_SET_NO_NEW_PRIVS',
    'seccomp',
    'prctl(PR_SET_DUMPABLE, 0',
    'clone(CLONE_VFORK|CLONE_PARENT_SETTID|SIGCHLD',
    'rt_sigprocmask',
    'execve(',
    'close_range(0, ',
  );
});

test('--init: nothing that leads to the host is open in process 1 when there is a command, which CAP_SYS_PTRACE shows it', () => {
  const list = calls({ init: true, 'cap-add': ['SYS_PTRACE'] });
  before(list, 'getcwd', 'close_range(3, 0x14, 0)', 'close_range(22, 0xffffffff, 0)', 'clone(CLONE_VFORK');
  const later = list.slice(list.findIndex((call) => call.startsWith('close_range(22')));
  assert.ok(!later.some((call) => /^(open|fsmount|fsopen|dup)/.test(call)));
});

test('the tree is looked up once, without links: whoever can rename it would make one to the root of the host', () => {
  for (const made of [plan(), plan({ overlay: true }), plan({ layer: '/l' }, { layer: layerAt('/l', '/srv/root') })]) {
    const named = made.steps.map((it) => showStep(it)).filter((call) => call.includes('"/srv/root"'));
    assert.equal(named.length, 1);
    assert.match(named[0]!, /^openat2\(AT_FDCWD, "\/srv\/root", .*RESOLVE_NO_SYMLINKS/);
  }
});

test('the order is: a program of its own, mounts private, new root, mounts, pivot, descriptors, powers, ids, command', () => {
  before(
    calls(),
    'execveat',
    'mount(NULL, "/", NULL, MS_REC|MS_PRIVATE',
    'openat2(AT_FDCWD, "/srv/root"',
    'open_tree(',
    'fsopen("proc"',
    'fsopen("devpts"',
    'pivot_root(".", ".")',
    'getcwd',
    'compare([4096 bytes], 0xff, 0x2f',
    'close_range(3, 0xffffffff',
    'prctl(PR_CAPBSET_DROP',
    'seccomp',
    'setgroups',
    'setresgid',
    'setresuid',
    'capset',
    'prctl(PR_SET_PDEATHSIG, 9',
    'recvfrom(',
    'compare([8 bytes], 0x80000000, 0x80000000',
    'execve("/usr/local/sbin/true"',
  );
});

test('another user is that in all three ids, so that no way leads back to root', () => {
  const list = calls({}, { identity: { uid: 1000, gid: 50, groups: [50, 60], home: '/' } });
  const [set] = list.filter((call) => call.startsWith('setgroups'));
  assert.match(set!, /^setgroups\(2, /);
  before(list, set!, 'setresgid(50, 50, 50)', 'setresuid(1000, 1000, 1000)');
});

test('SIGHUP, SIGINT, SIGQUIT and SIGTERM call the command off while there is none', () => {
  const [set] = plan().calledOff.args as [Buffer];
  const signals = Array.from({ length: 64 }, (_, i) => i + 1);
  assert.deepEqual(
    signals.filter((signal) => (set.readBigUInt64LE() >> BigInt(signal - 1)) & 1n),
    [1, 2, 3, 15],
  );
});

test('the filter comes before the ids change, or last with no_new_privs', () => {
  before(calls(), 'seccomp', 'setresuid');
  before(calls({ 'no-new-privs': true }), 'setresuid', 'prctl(PR_SET_NO_NEW_PRIVS, 1', 'seccomp', 'execve(');
  assert.ok(!calls({}, { filter: undefined }).some((call) => call.startsWith('seccomp')));
});

test('the flags of a seccomp profile go to the kernel', () => {
  const filter = { program: Buffer.alloc(8), flags: 6 };
  const report = { filter, listen() {}, answerUntil() {}, end: () => new Map() };
  const flags = 'SECCOMP_FILTER_FLAG_LOG|SECCOMP_FILTER_FLAG_SPEC_ALLOW';
  before(calls({}, { filter }), `seccomp(SECCOMP_SET_MODE_FILTER, ${flags}, `);
  before(calls({}, { filter, report }), `seccomp(SECCOMP_SET_MODE_FILTER, ${flags}|SECCOMP_FILTER_FLAG_NEW_LISTENER, `);
});

test('a hard limit is raised while there is CAP_SYS_RESOURCE, which no user and no container has by default', () => {
  const list = calls(
    { user: '1000', ulimit: ['memlock=-1'] },
    { identity: { uid: 1000, gid: 0, groups: [], home: '/' } },
  );
  before(
    list,
    'close_range(22, 0xffffffff',
    'prlimit64(0, RLIMIT_MEMLOCK',
    'prctl(PR_CAPBSET_DROP',
    'seccomp',
    'setresuid',
  );
});

test('every path of the image is looked up inside the root, without links of /proc', () => {
  const flags = { volume: ['/etc:/a/b'], workdir: '/w', sysctl: ['kernel.msgmax=1'] };
  const lookups = calls(flags, { nulls: [0] }).filter((call) => call.startsWith('openat2'));
  assert.ok(lookups.length > 10);
  for (const call of lookups.filter((line) => !/AT_FDCWD, "\/(?:srv\/root)?"/.test(line))) {
    assert.match(call, /RESOLVE_(IN_ROOT|BENEATH)/);
    assert.match(call, /RESOLVE_NO_(SYMLINKS|MAGICLINKS)/);
  }
});

/** Each new file system of a plan: its type, its options, and the flags of its mount. */
function fileSystems(list: readonly string[]): string[] {
  const mounts: string[] = [];
  let options: string[] = [];
  for (const call of list) {
    const [, key, value] = /^fsconfig\(.*, FSCONFIG_SET_\w+, "(.*?)", (?:"(.*)"|NULL), 0\)$/.exec(call) ?? [];
    const [, type, flags] = /^fsmount\(<(.*) context>, FSMOUNT_CLOEXEC, (.*)\)$/.exec(call) ?? [];
    if (key !== undefined && key !== 'source') options.push(value === undefined ? key : `${key}=${value}`);
    if (type === undefined || flags === undefined) continue;
    mounts.push([type, ...options].join(' ') + (flags === '0' ? '' : `: ${flagNames(flags)}`));
    options = [];
  }
  return mounts;
}

/** `MOUNT_ATTR_RDONLY|MOUNT_ATTR_NOSUID` */
function flagNames(flags: string): string {
  return flags.replaceAll('MOUNT_ATTR_', '').split('|').join(' ');
}

/** The mounts of a plan that get further flags, with these; `deep`: and what is mounted below. */
function attributes(list: readonly string[]): string[] {
  return list.flatMap((call) => {
    const [, mount, deep, flags] =
      /^mount_setattr\(<(.*)>, "", AT_EMPTY_PATH(\|AT_RECURSIVE)?, \{attr_set=(.*), attr_clr=0,/.exec(call) ?? [];
    return flags === undefined ? [] : [`${mount}${deep ? ', deep' : ''}: ${flagNames(flags)}`];
  });
}

test('no set-user-ID bit, device or program counts in what is mounted, but where one has to, and what is of the host is read-only', () => {
  const plain = 'NOSUID NODEV NOEXEC';
  const dev = [
    'tmpfs mode=755 size=65536k: NOSUID NOEXEC',
    'devpts ptmxmode=0666 mode=0620 gid=5: NOSUID NOEXEC',
    `tmpfs mode=1777 size=67108864: ${plain}`,
    `mqueue: ${plain}`,
  ];
  const workshop = `tmpfs mode=755: ${plain}`;
  const cover = `tmpfs: RDONLY ${plain}`;
  const sys = `sysfs: RDONLY ${plain}`;
  const list = calls({ volume: ['/etc:/v:ro', '/usr:/w'] });
  const cgroup = `cgroup2: RDONLY ${plain}`;
  assert.deepEqual(fileSystems(list), [workshop, `proc: ${plain}`, sys, cgroup, ...dev, cover]);
  assert.deepEqual(attributes(list), [
    '/etc, deep: RDONLY NODEV',
    '/usr, deep: NODEV',
    'root, deep: NODEV',
    'tmpfs: NODEV',
    `tree: RDONLY ${plain}`,
  ]);
  const v1 = calls({ overlay: true, tmpfs: ['/t'] }, { hierarchies: ['cpu,cpuacct', 'name=systemd', ''] });
  assert.deepEqual(fileSystems(v1), [
    `tmpfs: ${plain}`,
    workshop,
    'overlay lowerdir=lower upperdir=upper workdir=work: NODEV',
    `proc: ${plain}`,
    sys,
    workshop,
    `cgroup cpu cpuacct: RDONLY ${plain}`,
    `cgroup none name=systemd: RDONLY ${plain}`,
    ...dev,
    cover,
  ]);
  assert.deepEqual(attributes(v1), ['cgroup v1: RDONLY', 'tmpfs: NODEV', `tree: RDONLY ${plain}`]);
});

test('a layer is the directory that was checked, and nothing in it is looked for elsewhere', () => {
  const list = calls({ layer: '/layer' }, { layer: layerAt('/layer', '/tree') });
  assert.ok(
    fileSystems(list).includes(
      'overlay lowerdir=lower upperdir=layer/upper workdir=layer/work redirect_dir=nofollow: NODEV',
    ),
  );
  const same = list.slice(list.findIndex((call) => call.startsWith('statx(<layer>'))).slice(1, 3);
  for (const [i, what] of ['inode', 'device'].entries())
    assert.match(same[i]!, new RegExp(`^compare\\(\\[8 bytes\\], 0xffffffffffffffff, <${what}>, 16\\)$`));
});

test("the container's own files are for nobody but root to write, whatever the umask", () => {
  const made = calls().filter((call) => /^openat\(<workshop>/.test(call));
  assert.equal(made.length, 3);
  for (const call of made) assert.match(call, /O_CREAT.*, 0644\)$/);
});

test("in a user namespace the host's /sys and devices are read-only as well", () => {
  const maps: IdMaps = { uid: [[0, 1000, 1]], gid: [[0, 1000, 1]], helped: false };
  const nodes = ['null', 'zero', 'full', 'random', 'urandom', 'tty'].map((name) => `${name}: RDONLY NOSUID NOEXEC`);
  assert.deepEqual(attributes(calls({}, { maps })), [
    'root, deep: NODEV',
    'sysfs, deep: RDONLY NOSUID NODEV NOEXEC',
    ...nodes,
    'tree: RDONLY NOSUID NODEV NOEXEC',
  ]);
});

test("devices are the host's where none can be made, and only if they are the real ones", (t) => {
  const without = (name: string) => capabilities.filter((number) => capabilityNames[number] !== name);
  assert.deepEqual(
    [bindsDevices(false, capabilities), bindsDevices(false, without('MKNOD')), bindsDevices(true, capabilities)],
    [false, true, true],
  );
  const device = { isCharacterDevice: () => true, rdev: 0 };
  const numbers: Record<string, number> = { null: 0x103, zero: 0x105, full: 0x107, random: 0x108, urandom: 0x109 };
  t.mock.method(fs, 'statSync', (path: string) => ({ ...device, rdev: numbers[path.slice(5)] ?? 0x500 }));
  spreadMocks(t);
  checkDevices();
  numbers.random = 0x801;
  assert.throws(checkDevices, /\/dev\/random: it is not the device 1:8 /);
});

test('no container may write to cgroups of version 1, which could make the host run a program', () => {
  checkWritable(['']);
  for (const hierarchies of [['memory'], ['', 'name=systemd']])
    assert.throws(() => checkWritable(hierarchies), /writable-cgroups=true: this machine has cgroup v1, where /);
});

test("a kernel that has them all hides docker's masked paths, and shows its read-only ones to read", (t) => {
  t.mock.method(fs, 'existsSync', (path: string) => !path.startsWith('/sys/devices/system/cpu/cpufreq'));
  t.mock.method(fs, 'readdirSync', () => ['cpu0', 'cpu17', 'cpufreq']);
  spreadMocks(t);
  const { readOnly, files, directories } = findMasks(false);
  assert.deepEqual(readOnly, ['proc/bus', 'proc/fs', 'proc/irq', 'proc/sys', 'proc/sysrq-trigger']);
  assert.deepEqual([...files, ...directories].sort(), [
    'proc/acpi',
    'proc/asound',
    'proc/interrupts',
    'proc/kcore',
    'proc/keys',
    'proc/latency_stats',
    'proc/sched_debug',
    'proc/scsi',
    'proc/timer_list',
    'proc/timer_stats',
    'sys/devices/system/cpu/cpu0/thermal_throttle',
    'sys/devices/system/cpu/cpu17/thermal_throttle',
    'sys/devices/virtual/powercap',
    'sys/firmware',
  ]);
});

test('only what this kernel has of the masked paths is masked', () => {
  const { readOnly, files, directories } = findMasks(false);
  assert.ok(files.includes('proc/interrupts') && readOnly.includes('proc/sys'));
  for (const path of [...readOnly, ...files, ...directories]) assert.ok(existsSync(`/${path}`), path);
});

test('further directories of /sys are hidden', () => {
  const hidden = ['sys/devices/system/cpu/cpu17/thermal_throttle', 'sys/kernel/debug'];
  const covered = (list: string[]) =>
    hidden.filter((path) => list.some((call) => call.startsWith(`openat2(<sysfs>, "${path.slice(4)}"`)));
  assert.deepEqual(covered(calls({}, { masks: { ...masks, directories: hidden } })), hidden);
  assert.deepEqual(covered(calls()), []);
});

test('in a user namespace the child waits for its maps first, makes no devices and sets no groups', () => {
  const maps = {
    uid: [[0, 1000, 1]] as [number, number, number][],
    gid: [[0, 1000, 1]] as [number, number, number][],
    helped: false,
  };
  const list = calls({}, { maps });
  before(list, 'close(20)', 'read(21', 'compare', 'setsid');
  assert.ok(!list.some((call) => call.startsWith('setgroups')));
  assert.ok(!list.some((call) => /mknodat.*02\d{4}/.test(call)));
  assert.ok(list.some((call) => call.startsWith('open_tree(AT_FDCWD, "/dev/null"')));
});

test('the maps of ids and the places of mounts are told as they are', () => {
  const map = [
    [0, 1000, 1],
    [1, 100000, 65536],
  ] as [number, number, number][];
  const maps = { uid: map, gid: map.slice(0, 1), helped: true };
  const told =
    /Users: 0 1000 1, 1 100000 65536; groups: 0 1000 1\. .*; newuidmap\(1\) and newgidmap\(1\) write them\.$/;
  for (const hierarchies of [[''], ['pids', '']]) {
    const reasons = plan({}, { maps, hierarchies }).steps.map(({ why }) => why);
    assert.ok(reasons.includes('Now /sys/fs/cgroup shows it.'));
    assert.ok(reasons.some((why) => told.test(why)));
  }
});

test('--privileged leaves nothing masked, filtered or dropped', () => {
  const list = calls({ privileged: true }, { filter: undefined });
  assert.ok(!list.some((call) => /PR_CAPBSET_DROP|"kcore"|MOUNT_ATTR_RDONLY/.test(call)));
});

test('every step says why and where to read on, and none follows the end of all attempts unasked', () => {
  const made = plan({ overlay: true, net: 'none', tty: true, 'read-only': true, sysctl: ['kernel.msgmax=1'] });
  for (const step of made.steps) {
    assert.match(step.why, /\S[.?]$/);
    assert.match(manPageOf(step), /\([0-9a-z]+\)$/);
  }
  const after = made.steps.slice(made.steps.indexOf(made.exec.gaveUp) + 1);
  assert.equal(made.exec.gaveUp.onError, undefined);
  for (const step of after) assert.ok(made.steps.some(({ next, onError }) => next === step || onError === step));
  assert.equal(describePlan(made).length, made.steps.length + 1);
});

test("the command line follows docker's rule of entrypoint and arguments", () => {
  const image = { Entrypoint: ['/e'], Cmd: ['a', 'b'] };
  const argv = (flags: Partial<IsolateFlags>, command: string[]) => settings(flags, command, image).argv;
  assert.deepEqual(argv({}, []), ['/e', 'a', 'b']);
  assert.deepEqual(argv({}, ['c']), ['/e', 'c']);
  assert.deepEqual(argv({ entrypoint: '/f' }, []), ['/f']);
  assert.deepEqual(argv({ entrypoint: '/f' }, ['c']), ['/f', 'c']);
  assert.deepEqual(argv({ entrypoint: '' }, ['c']), ['c']);
  assert.throws(() => argv({ entrypoint: '' }, []), /none is given/);
  assert.deepEqual(settings({}, [], { Entrypoint: [''], Cmd: ['a'] }).argv, ['a']);
  assert.deepEqual(settings({}, ['b'], { Entrypoint: [''], Cmd: ['a'] }).argv, ['b']);
  assert.throws(
    () => argv({ entrypoint: '["/f", "g"]' }, []),
    /--entrypoint: \["\/f", "g"\] is a list; name the program/,
  );
  assert.deepEqual(argv({ entrypoint: '[' }, ['-e', 'f', ']']), ['[', '-e', 'f', ']']);
});

test('variables come from the image, then the flags; a bare name is passed on, or taken out', () => {
  const image = { Env: ['A=1', 'B=2', 'PATH=/bin', 'EMPTY=', '=x', 'novalue'] };
  const { env } = settings({ env: ['B=3', 'GIVEN', 'A'], hostname: 'h' }, ['true'], image);
  assert.deepEqual(env, ['PATH=/bin', 'HOSTNAME=h', 'B=3', 'EMPTY=', 'GIVEN=yes']);
});

test('a PATH of many slashes takes no longer than others', () => {
  // With the square of their number it takes 10 s.
  const began = performance.now();
  const { attempts } = execSteps(['true'], [`PATH=${'/'.repeat(100_000)}x:/bin//:/`]);
  const took = performance.now() - began;
  assert.ok(took < 2000, `${took} ms`);
  assert.deepEqual(
    attempts.slice(1).map(({ path }) => path),
    ['/bin/true', '/true'],
  );
});

test('an empty user, directory or hostname is none given: an unset variable makes no root', () => {
  const image = { User: 'app', WorkingDir: '/srv' };
  const { user, workingDirectory, hostname } = settings({ user: '', workdir: '', hostname: '' }, ['true'], image);
  assert.deepEqual([user, workingDirectory], ['app', '/srv']);
  assert.match(hostname, /^[0-9a-f]{12}$/);
  assert.equal(settings({ workdir: '' }).workingDirectory, '/');
  assert.equal(settings({ user: '' }, ['true'], image).userFrom, 'User of the image');
});

test('flags that make no sense are refused by name', () => {
  const wrong: [Partial<IsolateFlags>, RegExp][] = [
    [{ workdir: 'relative' }, /--workdir/],
    [{ hostname: 'a b' }, /--hostname/],
    [{ net: 'bridge' }, /--net: /],
    [{ network: 'bridge' }, /--network: .* neither host nor none; the network is that of the host/],
    [{ net: 'none', network: 'host' }, /--network: it says host, and --net says none/],
    [{ umask: '999' }, /--umask/],
    [{ userns: 'all' }, /--userns/],
    [{ env: ['=x'] }, /--env/],
    [{ sysctl: ['kernel.panic=1'] }, /has no namespace/],
    [{ sysctl: ['net.ipv4.ip_forward=1'] }, /the network is the host's/],
    [{ sysctl: ['kernel/panic=1'] }, /has no namespace/],
    [{ sysctl: ['net/ipv4/ip_forward=1'] }, /the network is the host's/],
    [{ sysctl: ['kernel.hostname=x'] }, /a flag of its own; --hostname NAME/],
    [{ sysctl: ['kernel/../../x=1'] }, /is not the name of a sysctl/],
    [{ 'shm-size': 'big' }, /--shm-size/],
  ];
  for (const [flags, message] of wrong) assert.throws(() => settings(flags), message, JSON.stringify(flags));
});

const outside = { maps: undefined, inUserns: false };

test('a file system that the kernel has no module loaded for is told with what loads it', () => {
  const made = plan();
  const error = new SyscallError('fsopen', 19, 'fsopen("overlay", FSOPEN_CLOEXEC)');
  assert.match(stepFailure(made, { step: made.steps[0]!, error }, outside).message, /sudo modprobe overlay$/);
});

test('what the kernel refuses of an overlay is told by what it was told: the tree, or a directory of --layer', () => {
  const said = (code: number, option: string, made: ReturnType<typeof plan>) => {
    const told = made.steps.find((it) => showStep(it).startsWith('fsconfig(') && showStep(it).includes(option));
    assert.ok(told);
    return stepFailure(made, { step: told, error: new SyscallError('fsconfig', code, 'fsconfig()') }, outside).message;
  };
  const over = plan({ overlay: true });
  assert.match(said(EINVAL, '"lowerdir"', over), /no overlay can lie over its filesystem/);
  const layered = plan({ layer: '/layer' }, { layer: layerAt('/layer', '/tree') });
  assert.match(said(EINVAL, '"lowerdir"', layered), /no overlay can lie over its filesystem/);
  for (const code of [EINVAL, EACCES]) assert.match(said(code, '"upperdir"', layered), /a layer cannot be on .* NFS/);
});

test('--network is --net by the name that docker gives it', () => {
  assert.equal(settings({ network: 'none' }).network, 'none');
  assert.equal(settings({ net: 'none' }).network, 'none');
  assert.equal(settings().network, 'host');
});

test('a terminal is the default on a terminal, unless only -i is given', () => {
  const at = (terminal: boolean, flags: Partial<IsolateFlags>) =>
    settingsOf('/r', undefined, { ...noFlags, ...flags }, ['sh'], { ...caller, terminal }).terminal;
  assert.equal(at(true, {}), true);
  assert.equal(at(false, {}), false);
  assert.equal(at(true, { interactive: true }), false);
  assert.equal(at(false, { tty: true }), true);
  assert.equal(at(true, { interactive: true, tty: true }), true);
  assert.equal(at(true, parseFlags(isolateFlags, ['--tty=false'], true).flags), false);
  assert.equal(at(true, parseFlags(isolateFlags, ['-t=false', '-t'], true).flags), true);
});

test('a pipe in the place of a socket is taken before the next program, and becomes the property of the user', () => {
  const outputs = [{ fds: [1, 2], why: 'A pipe.', read: 30, write: 31 }];
  const order = ['close(20)', 'dup3(31, 1, 0)', 'dup3(31, 2, 0)', 'execveat('];
  before(calls({}, { outputs }), ...order);
  assert.ok(!calls({}, { outputs }).some((call) => call.startsWith('fchown(1')));
  const identity = { uid: 1000, gid: 1000, groups: [1000], home: '/' };
  before(calls({}, { outputs, identity }), ...order, 'fchown(1, 1000, -1)', 'close_range(3', 'setresuid');
});
