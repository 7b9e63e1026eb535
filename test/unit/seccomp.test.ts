import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compile } from '../../lib/isolate/seccomp/bpf.js';
import { type ProfileSource, seccompFilter, seccompRules } from '../../lib/isolate/seccomp/filter.js';
import type { Target } from '../../lib/isolate/seccomp/profile.js';
import {
  type Comparison,
  type Operator,
  RET,
  type Rule,
  type Section,
  verdictOf,
} from '../../lib/isolate/seccomp/rules.js';
import { syscallNumbers } from '../../lib/isolate/seccomp/syscall-numbers.js';
import { Program } from '../../lib/sys/native-code/program.js';
import { Block, stepOf } from '../../lib/sys/native-code/step.js';
import { exit_group, prctl, seccomp, umask, unshare, wait4 } from '../../lib/sys/syscalls/calls.js';
import { arch, capabilities as capabilityNames, PR, SECCOMP } from '../../lib/sys/syscalls/constants.js';
import { checkFilter, verdict } from '../support/bpf.js';
import { failure } from '../support/failure.js';

const x64 = 0xc000003e;
const x86 = 0x40000003;
const arm64 = 0xc00000b7;
const arm32 = 0x40000028;
const EPERM = RET.ERRNO | 1;
const ENOSYS = RET.ERRNO | 38;
const EINVAL = RET.ERRNO | 22;

const numbers = syscallNumbers('x64');
const target: Target = { capabilities: ['CHOWN', 'SETUID'], arch: 'x64', kernel: '6.1.0-18-amd64' };

function filterOf(source: ProfileSource = 'default', change: Partial<Target> = {}): Buffer {
  const { program: filter } = seccompFilter(source, { ...target, ...change });
  checkFilter(filter);
  return filter;
}

function on(filter: Buffer, name: string, args: bigint[] = []): number {
  const number = numbers.get(name);
  assert.notEqual(number, undefined, name);
  return verdict(filter, { number: number!, arch: x64, args });
}

function fromJson(profile: object): ProfileSource {
  return { name: 'profile.json', text: JSON.stringify(profile) };
}

function section(rules: Rule[], more: Partial<Section> = {}): Section {
  return { auditArch: x64, rules, defaultAction: EPERM, newerAction: ENOSYS, highest: 500, ...more };
}

function comparison(op: Operator, value: bigint, valueTwo = 0n, index = 0): Comparison {
  return { index, op, value, valueTwo };
}

/** The verdict for a call 7 with this first argument, when it is allowed on one comparison only. */
function allowsWhen(compared: Comparison, argument: bigint): boolean {
  const filter = compile([section([{ number: 7, action: RET.ALLOW, args: [compared] }])]);
  checkFilter(filter);
  return verdict(filter, { number: 7, arch: x64, args: [argument] }) === RET.ALLOW;
}

const truth: Record<Operator, (argument: bigint, value: bigint, valueTwo: bigint) => boolean> = {
  NE: (argument, value) => argument !== value,
  LT: (argument, value) => argument < value,
  LE: (argument, value) => argument <= value,
  EQ: (argument, value) => argument === value,
  GE: (argument, value) => argument >= value,
  GT: (argument, value) => argument > value,
  MASKED_EQ: (argument, value, valueTwo) => (argument & value) === (valueTwo & value),
};

/** Values around the places where a comparison of two 32-bit halves goes wrong. */
const edges = [
  0n,
  1n,
  5n,
  0x7fffffffn,
  0x80000000n,
  0xffffffffn,
  0x1_0000_0000n,
  0x1_0000_0001n,
  0x1_ffff_ffffn,
  0x2_0000_0000n,
  0x7fff_ffff_ffff_ffffn,
  0x8000_0000_0000_0000n,
  0xffff_ffff_ffff_fffen,
  0xffff_ffff_ffff_ffffn,
];

for (const op of Object.keys(truth) as Operator[]) {
  test(`${op} compares all 64 bits of an argument`, () => {
    for (const value of edges) {
      for (const valueTwo of op === 'MASKED_EQ' ? edges : [0n]) {
        for (const argument of edges) {
          const expected = truth[op](argument, value, valueTwo);
          const got = allowsWhen(comparison(op, value, valueTwo), argument);
          assert.equal(got, expected, `${argument} ${op} ${value}, ${valueTwo}`);
        }
      }
    }
  });
}

test('the high word of an argument opens nothing to a 32-bit call, for which the kernel drops it', () => {
  const high = 1n << 32n;
  const rules = (compared: Comparison) => [
    section([{ number: 7, action: RET.ALLOW, args: [compared] }], { auditArch: x86 }),
  ];
  for (const op of Object.keys(truth) as Operator[]) {
    for (const value of [0n, 40n, 0xffffffffn, 40n | high]) {
      const sections = rules(comparison(op, value, 40n));
      const filter = compile(sections);
      checkFilter(filter);
      for (const low of [0n, 39n, 40n, 41n, 0xffffffffn]) {
        const expected = truth[op](low, BigInt.asUintN(32, value), 40n) ? RET.ALLOW : EPERM;
        for (const args of [[low], [low | high]]) {
          const told = `${args[0]} ${op} ${value}`;
          assert.equal(verdict(filter, { number: 7, arch: x86, args }), expected, told);
          assert.equal(verdictOf(sections, { number: 7, auditArch: x86, args }), expected, `by the rules: ${told}`);
        }
      }
    }
  }
});

test('all comparisons of a rule must hold', () => {
  const args = [comparison('EQ', 1n, 0n, 0), comparison('GT', 2n, 0n, 5)];
  const filter = compile([section([{ number: 7, action: RET.ALLOW, args }])]);
  const ask = (first: bigint, last: bigint) =>
    verdict(filter, { number: 7, arch: x64, args: [first, 0n, 0n, 0n, 0n, last] });
  assert.equal(ask(1n, 3n), RET.ALLOW);
  assert.equal(ask(0n, 3n), EPERM);
  assert.equal(ask(1n, 2n), EPERM);
});

test('of several rules for a call the first that holds decides, and one without comparisons over all', () => {
  const first: Rule = { number: 7, action: RET.ALLOW, args: [comparison('GE', 10n)] };
  const second: Rule = { number: 7, action: EINVAL, args: [comparison('GE', 5n)] };
  const ask = (rules: Rule[], argument: bigint) => {
    const decided = verdict(compile([section(rules)]), { number: 7, arch: x64, args: [argument] });
    assert.equal(verdictOf([section(rules)], { number: 7, auditArch: x64, args: [argument] }), decided);
    return decided;
  };
  assert.equal(ask([first, second], 10n), RET.ALLOW);
  assert.equal(ask([first, second], 5n), EINVAL);
  assert.equal(ask([first, second], 4n), EPERM);
  assert.equal(ask([first, second, { number: 7, action: RET.LOG, args: [] }], 10n), RET.LOG);
});

test('every call of a program with hundreds of argument rules is decided right, beyond the reach of 8-bit jumps', () => {
  const rules: Rule[] = [];
  for (let number = 0; number < 300; number += 2) {
    const args = [comparison('EQ', BigInt(number), 0n, 0), comparison('LT', 1n << 40n, 0n, 1)];
    rules.push({ number, action: RET.ERRNO | (number + 100), args });
  }
  const filter = compile([section(rules)]);
  checkFilter(filter);
  for (let number = 0; number <= 500; number++) {
    const expected = number < 300 && number % 2 === 0 ? RET.ERRNO | (number + 100) : EPERM;
    assert.equal(verdict(filter, { number, arch: x64, args: [BigInt(number), 7n] }), expected, String(number));
    assert.equal(verdict(filter, { number, arch: x64, args: [BigInt(number), 1n << 40n] }), EPERM, String(number));
  }
});

test('rules that need more instructions than the kernel takes are a failure', () => {
  const rules: Rule[] = [];
  for (let number = 0; number < 1200; number++) {
    rules.push({ number, action: RET.ALLOW, args: [comparison('EQ', BigInt(number))] });
  }
  assert.throws(() => compile([section(rules, { highest: 1200 })]), failure(65, /4096 instructions/));
});

test('a call of another architecture kills the process', () => {
  const filter = filterOf();
  assert.equal(verdict(filter, { number: 0, arch: arm64 }), RET.KILL_PROCESS);
  assert.equal(verdict(filterOf('default', { arch: 'arm64' }), { number: 63, arch: x64 }), RET.KILL_PROCESS);
});

test('x32 calls get ENOSYS, as from a kernel without x32', () => {
  for (const number of [0x40000000, 0x40000001, 0x40000000 + 520, 0xffffffff]) {
    assert.equal(verdict(filterOf(), { number, arch: x64 }), ENOSYS);
    // Also where calls that no rule names are allowed: the rules are on the other numbers of the same calls.
    const permissive = compile([section([], { defaultAction: RET.ALLOW, newerAction: RET.ALLOW })]);
    assert.equal(verdict(permissive, { number, arch: x64 }), ENOSYS);
  }
});

test('a call that is newer than the profile gets ENOSYS, an older one that is not allowed EPERM', () => {
  assert.equal(verdict(filterOf(), { number: 2000, arch: x64 }), ENOSYS);
  assert.equal(on(filterOf(), 'kexec_load'), EPERM);
  assert.equal(on(filterOf(), 'io_uring_setup'), EPERM);
});

test('no call is newer than a profile that names none, and those that are refused by name are not, as in runc', () => {
  const refusing = (syscalls: object[]) => fromJson({ defaultAction: 'SCMP_ACT_ERRNO', syscalls });
  const none = filterOf(refusing([]));
  for (const name of ['read', 'openat', 'openat2']) assert.equal(on(none, name), EPERM, name);
  const some = filterOf(
    refusing([
      { names: ['read'], action: 'SCMP_ACT_ALLOW' },
      { names: ['openat2'], action: 'SCMP_ACT_ERRNO' },
    ]),
  );
  assert.deepEqual(
    ['read', 'openat', 'openat2', 'faccessat2'].map((name) => on(some, name)),
    [RET.ALLOW, EPERM, EPERM, ENOSYS],
  );
  // The call with the number 0 is one, too.
  const first = filterOf(refusing([{ names: ['read'], action: 'SCMP_ACT_ALLOW' }]));
  assert.deepEqual([on(first, 'read'), on(first, 'openat')], [RET.ALLOW, ENOSYS]);
});

test('the default profile allows everyday calls on each architecture', () => {
  const filter = filterOf();
  const arm = filterOf('default', { arch: 'arm64' });
  for (const name of ['read', 'openat', 'execve', 'mmap', 'futex', 'exit_group', 'getrandom', 'ptrace']) {
    assert.equal(on(filter, name), RET.ALLOW, name);
    assert.equal(verdict(filter, { number: syscallNumbers('x86').get(name)!, arch: x86 }), RET.ALLOW, name);
    assert.equal(verdict(arm, { number: syscallNumbers('arm64').get(name)!, arch: arm64 }), RET.ALLOW, name);
    assert.equal(verdict(arm, { number: syscallNumbers('arm').get(name)!, arch: arm32 }), RET.ALLOW, name);
  }
});

test('calls that arm alone has, by numbers far above, do not make newer calls old ones', () => {
  const rules = seccompRules('default', { ...target, arch: 'arm64' }).sections;
  const filter = compile(rules);
  const expected: [number: number, action: number][] = [
    [472, ENOSYS],
    [0xf0001, RET.ALLOW], // breakpoint
    [0xf0003, ENOSYS], // usr26
    [0xf0005, RET.ALLOW], // set_tls
    [0xf0006, ENOSYS],
  ];
  for (const [number, action] of expected) {
    assert.equal(verdict(filter, { number, arch: arm32 }), action, String(number));
    assert.equal(verdictOf(rules, { number, auditArch: arm32, args: [] }), action, String(number));
  }
});

test('clone makes no namespace without SYS_ADMIN, and clone3 says ENOSYS', () => {
  const CLONE_NEWUSER = 0x10000000n;
  const threadFlags = 0x3d0f00n;
  assert.equal(on(filterOf(), 'clone', [threadFlags]), RET.ALLOW);
  for (let bit = 0n; bit < 64n; bit++) {
    const refused = (0x7e020000n >> bit) & 1n;
    assert.equal(on(filterOf(), 'clone', [1n << bit]), refused ? EPERM : RET.ALLOW, `bit ${bit}`);
  }
  assert.equal(on(filterOf(), 'clone3'), ENOSYS);
  assert.equal(on(filterOf(), 'unshare', [CLONE_NEWUSER]), EPERM);
  const admin = filterOf('default', { capabilities: ['SYS_ADMIN'] });
  assert.equal(on(admin, 'clone', [CLONE_NEWUSER]), RET.ALLOW);
  assert.equal(on(admin, 'clone3'), RET.ALLOW);
  assert.equal(on(admin, 'unshare', [CLONE_NEWUSER]), RET.ALLOW);
});

test('socket makes no VSOCK, no AF_ALG and no dead family', () => {
  const refused = new Set([12, 19, 20, 23, 25, 34, 37, 38, 40]);
  for (let family = 0n; family <= 60n; family++) {
    const expected = refused.has(Number(family)) || family > 45n ? EPERM : RET.ALLOW;
    assert.equal(on(filterOf(), 'socket', [family]), expected, `family ${family}`);
  }
});

test('personality can only be read, or set to what weakens nothing', () => {
  const ADDR_NO_RANDOMIZE = 0x0040000n;
  assert.equal(on(filterOf(), 'personality', [0xffffffffn]), RET.ALLOW);
  assert.equal(on(filterOf(), 'personality', [8n]), RET.ALLOW);
  assert.equal(on(filterOf(), 'personality', [ADDR_NO_RANDOMIZE]), EPERM);
});

/** As docker has it: moby/profiles, seccomp. */
const opened: Record<string, string> = {
  BPF: 'bpf',
  DAC_READ_SEARCH: 'open_by_handle_at',
  PERFMON: 'perf_event_open',
  SYSLOG: 'syslog',
  SYS_ADMIN: `bpf clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr lsm_list_modules
    lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname
    sethostname setns syslog umount2 unshare`,
  SYS_BOOT: 'reboot',
  SYS_CHROOT: 'chroot',
  SYS_MODULE: 'delete_module finit_module init_module',
  SYS_NICE: 'get_mempolicy mbind set_mempolicy set_mempolicy_home_node',
  SYS_PACCT: 'acct',
  SYS_PTRACE: 'kcmp pidfd_getfd process_madvise',
  SYS_RAWIO: 'ioperm iopl',
  SYS_TIME: 'clock_settime settimeofday',
  SYS_TTY_CONFIG: 'vhangup',
};
const refusedToAll = `_sysctl add_key afs_syscall create_module file_getattr file_setattr get_kernel_syms getpmsg io_uring_enter
  io_uring_register io_uring_setup kexec_file_load kexec_load keyctl migrate_pages move_pages nfsservctl open_tree_attr
  pivot_root putpmsg query_module request_key security swapoff swapon sysfs tuxcall uprobe uselib userfaultfd ustat
  vserver`;

test('each capability opens the calls that belong to it and no others, and some calls none does', () => {
  const refusedTo = (capabilities: readonly string[]) => {
    const filter = filterOf('default', { capabilities });
    return [...numbers.keys()].filter((name) => on(filter, name, Array(6).fill(0n)) !== RET.ALLOW).sort();
  };
  const words = (text: string) => text.split(/\s+/);
  const without = refusedTo([]);
  for (const capability of capabilityNames) {
    const remaining = refusedTo([capability]);
    const expected = words(opened[capability] ?? '').filter((name) => name !== '');
    assert.deepEqual(
      without.filter((name) => !remaining.includes(name)),
      expected,
      capability,
    );
  }
  assert.deepEqual(refusedTo(capabilityNames), words(refusedToAll));
});

test('ptrace is allowed from Linux 4.8 on, where a tracer cannot get past the filter', () => {
  assert.equal(on(filterOf('default', { kernel: '4.7.10' }), 'ptrace'), EPERM);
  assert.equal(on(filterOf('default', { kernel: '4.8.0' }), 'ptrace'), RET.ALLOW);
  assert.equal(on(filterOf('default', { kernel: '10.0.1' }), 'ptrace'), RET.ALLOW);
});

test('the kernel takes the filter, and it refuses what it should in a real process', () => {
  const { program: filter } = seccompFilter('default', { ...target, arch });
  const program = new Block(
    Buffer.concat([Buffer.from(new Uint16Array([filter.length / 8, 0, 0, 0]).buffer), Buffer.alloc(8)]),
    [{ offset: 8, value: new Block(filter) }],
  );
  const CLONE_NEWUTS = 0x04000000;
  const refused = stepOf(unshare, [CLONE_NEWUTS], { onError: 'continue' });
  const allowed = stepOf(umask, [0o22]);
  const child = new Program([
    stepOf(prctl, [PR.SET_NO_NEW_PRIVS, 1, 0, 0, 0]),
    stepOf(seccomp, [SECCOMP.SET_MODE_FILTER, 0, program]),
    refused,
    allowed,
    stepOf(exit_group, [0]),
  ]);
  const pid = child.start(0);
  const status = Buffer.alloc(4);
  assert.equal(wait4(pid, status, 0, null), pid);
  assert.equal(child.failure(), undefined);
  assert.equal(status.readInt32LE(), 0);
  assert.equal(child.result(refused), -1);
  assert.ok(child.result(allowed)! >= 0);
});

test('a file has every action, and its names that do not exist are passed over', () => {
  const actions: [action: string, errnoRet: number | undefined, expected: number][] = [
    ['SCMP_ACT_ALLOW', undefined, RET.ALLOW],
    ['SCMP_ACT_ERRNO', undefined, EPERM],
    ['SCMP_ACT_ERRNO', 22, EINVAL],
    ['SCMP_ACT_KILL', undefined, RET.KILL_THREAD],
    ['SCMP_ACT_KILL_THREAD', undefined, RET.KILL_THREAD],
    ['SCMP_ACT_KILL_PROCESS', undefined, RET.KILL_PROCESS],
    ['SCMP_ACT_TRAP', undefined, RET.TRAP],
    ['SCMP_ACT_TRACE', 3, RET.TRACE | 3],
    ['SCMP_ACT_LOG', undefined, RET.LOG],
  ];
  for (const [action, errnoRet, expected] of actions) {
    const filter = filterOf(
      fromJson({
        defaultAction: 'SCMP_ACT_ERRNO',
        defaultErrnoRet: 99,
        syscalls: [{ names: ['mkdir', 'no_such_call'], action, errnoRet }],
      }),
    );
    assert.equal(on(filter, 'mkdir'), expected >>> 0, action);
    assert.equal(on(filter, 'rename'), RET.ERRNO | 99);
  }
});

test("an errno is docker's number, or the name or the number as text that podman's profiles have", () => {
  const errnoOf = (fields: object) =>
    on(
      filterOf(
        fromJson({
          defaultAction: 'SCMP_ACT_ALLOW',
          syscalls: [{ name: 'mkdir', action: 'SCMP_ACT_ERRNO', ...fields }],
        }),
      ),
      'mkdir',
    ) - RET.ERRNO;
  assert.equal(errnoOf({ errno: 'ENOSYS' }), 38);
  assert.equal(errnoOf({ errno: 'EDQUOT' }), 122);
  assert.equal(errnoOf({ errno: '38' }), 38);
  assert.equal(errnoOf({ errno: 'ENOSYS', errnoRet: 22 }), 22);
  assert.equal(errnoOf({ errno: '' }), 1);
  const byDefault = filterOf(fromJson({ defaultAction: 'SCMP_ACT_ERRNO', defaultErrno: 'ENOSYS' }));
  assert.equal(on(byDefault, 'mkdir'), RET.ERRNO | 38);
});

test('a profile that allows by default allows calls that are newer than itself', () => {
  const filter = filterOf(
    fromJson({ defaultAction: 'SCMP_ACT_ALLOW', syscalls: [{ name: 'mkdir', action: 'SCMP_ACT_ERRNO' }] }),
  );
  assert.equal(on(filter, 'mkdir'), EPERM);
  assert.equal(verdict(filter, { number: 2000, arch: x64 }), RET.ALLOW);
});

test('includes want every capability, excludes any one, and architectures go by Go names', () => {
  const profile = (entry: object) =>
    fromJson({ defaultAction: 'SCMP_ACT_ERRNO', syscalls: [{ names: ['mkdir'], action: 'SCMP_ACT_ALLOW', ...entry }] });
  const allowed = (entry: object, change: Partial<Target> = {}) =>
    on(filterOf(profile(entry), change), 'mkdir') === RET.ALLOW;
  assert.equal(allowed({ includes: { caps: ['CAP_CHOWN', 'CAP_SETUID'] } }), true);
  assert.equal(allowed({ includes: { caps: ['CAP_CHOWN', 'CAP_BPF'] } }), false);
  assert.equal(allowed({ excludes: { caps: ['CAP_CHOWN', 'CAP_BPF'] } }), false);
  assert.equal(allowed({ excludes: { caps: ['CAP_BPF'] } }), true);
  assert.equal(allowed({ includes: { arches: ['amd64'] } }), true);
  assert.equal(allowed({ includes: { arches: ['arm64', 's390x'] } }), false);
  assert.equal(allowed({ excludes: { arches: ['amd64'] } }), false);
  assert.equal(allowed({ includes: { minKernel: '6.2' } }), false);
  assert.equal(allowed({ excludes: { minKernel: '5.0' } }), false);
});

test('two comparisons of the same argument are alternatives, as in runc', () => {
  const filter = filterOf(
    fromJson({
      defaultAction: 'SCMP_ACT_ERRNO',
      syscalls: [
        {
          names: ['mkdir'],
          action: 'SCMP_ACT_ALLOW',
          args: [
            { index: 1, value: 5, op: 'SCMP_CMP_EQ' },
            { index: 1, value: 7, op: 'SCMP_CMP_EQ' },
          ],
        },
      ],
    }),
  );
  assert.equal(on(filter, 'mkdir', [0n, 5n]), RET.ALLOW);
  assert.equal(on(filter, 'mkdir', [0n, 7n]), RET.ALLOW);
  assert.equal(on(filter, 'mkdir', [0n, 6n]), EPERM);
});

test('values up to 2^64-1 keep every digit', () => {
  const text =
    '{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_ALLOW",' +
    '"args":[{"index":0,"value":18446744073709551615,"op":"SCMP_CMP_EQ"}]}]}';
  const filter = filterOf({ name: 'profile.json', text });
  assert.equal(on(filter, 'mkdir', [2n ** 64n - 1n]), RET.ALLOW);
  assert.equal(on(filter, 'mkdir', [2n ** 64n - 2n]), EPERM);
});

test('x86 programs run on x64 only when the profile has their architecture', () => {
  const rules = { defaultAction: 'SCMP_ACT_ERRNO', syscalls: [{ names: ['read'], action: 'SCMP_ACT_ALLOW' }] };
  const map = [{ architecture: 'SCMP_ARCH_X86_64', subArchitectures: ['SCMP_ARCH_X86', 'SCMP_ARCH_X32'] }];
  const x86Read = { number: 3, arch: x86 };
  assert.equal(verdict(filterOf(fromJson(rules)), x86Read), RET.KILL_PROCESS);
  assert.equal(verdict(filterOf(fromJson({ ...rules, archMap: map })), x86Read), RET.ALLOW);
  assert.equal(verdict(filterOf(fromJson({ ...rules, architectures: ['SCMP_ARCH_X86'] })), x86Read), RET.ALLOW);
});

test('arm programs run on arm64 only when the profile has their architecture', () => {
  const rules = { defaultAction: 'SCMP_ACT_ERRNO', syscalls: [{ names: ['read'], action: 'SCMP_ACT_ALLOW' }] };
  const on = (profile: object) => verdict(filterOf(fromJson(profile), { arch: 'arm64' }), { number: 3, arch: arm32 });
  assert.equal(on({ ...rules, architectures: ['SCMP_ARCH_X86'] }), RET.KILL_PROCESS);
  assert.equal(on({ ...rules, architectures: ['SCMP_ARCH_ARM'] }), RET.ALLOW);
});

const wrongProfiles: [what: string, profile: unknown, message: RegExp][] = [
  ['that is an array', [], /profile\.json: expected an object/],
  ['without a default action', { syscalls: [] }, /defaultAction: expected an action/],
  ['with SCMP_ACT_NOTIFY', { defaultAction: 'SCMP_ACT_NOTIFY' }, /needs a supervisor/],
  ['with architectures and archMap', { defaultAction: 'SCMP_ACT_ALLOW', architectures: ['a'], archMap: [{}] }, /both/],
  ['with an errno of 5000', { defaultAction: 'SCMP_ACT_ERRNO', defaultErrnoRet: 5000 }, /at most 4095/],
  [
    'with an errno that there is not',
    entry({ action: 'SCMP_ACT_ERRNO', errno: 'ENOSYSS' }),
    /such as ENOSYS or 38, got "ENOSYSS"/,
  ],
  ['with a 7th argument', entry({ args: [{ index: 6, op: 'SCMP_CMP_EQ' }] }), /args\[0\]\.index/],
  ['with an unknown operator', entry({ args: [{ index: 0, op: 'SCMP_CMP_ODD' }] }), /args\[0\]\.op/],
  ['with a negative value', entry({ args: [{ index: 0, value: -1, op: 'SCMP_CMP_EQ' }] }), /args\[0\]\.value/],
  [
    'with a value of 2^64',
    entry({ args: [{ index: 0, value: '18446744073709551616', op: 'SCMP_CMP_EQ' }] }),
    /below 2\^64/,
  ],
  [
    'with an errno for an action that has none',
    entry({ errnoRet: 1 }),
    /syscalls\[0\]\.action: expected an action that returns an errno, since 1 is given, got "SCMP_ACT_ALLOW"/,
  ],
  [
    'with an errno for a default action that has none',
    { defaultAction: 'SCMP_ACT_KILL', defaultErrnoRet: 38 },
    /defaultAction: expected an action that returns an errno, since 38 is given/,
  ],
  ['with an entry of no names', entry({ names: [] }), /syscalls\[0\]\.names: expected at least one system call/],
  ['with names that are no strings', entry({ names: [7] }), /names\[0\]: expected a string/],
  ['with a minimal kernel of "new"', entry({ includes: { minKernel: 'new' } }), /minKernel/],
];

function entry(more: object): object {
  return { defaultAction: 'SCMP_ACT_ERRNO', syscalls: [{ names: ['mkdir'], action: 'SCMP_ACT_ALLOW', ...more }] };
}

for (const [what, profile, message] of wrongProfiles) {
  test(`a profile ${what} is refused, and the message names the field`, () => {
    assert.throws(
      () => seccompFilter({ name: 'profile.json', text: JSON.stringify(profile) }, target),
      failure(65, message),
    );
  });
}

test('the flags of a profile are those of seccomp(2), and one that cannot be had is refused', () => {
  const flagsOf = (flags?: string[]) =>
    seccompFilter(fromJson({ defaultAction: 'SCMP_ACT_ALLOW', ...(flags ? { flags } : {}) }), target).flags;
  assert.equal(flagsOf(), 0);
  assert.equal(flagsOf(['SECCOMP_FILTER_FLAG_TSYNC', 'SECCOMP_FILTER_FLAG_LOG', 'SECCOMP_FILTER_FLAG_SPEC_ALLOW']), 6);
  assert.throws(() => flagsOf(['SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV']), failure(65, /flags\[0\]: expected one of/));
});

test('a profile that is not JSON is refused', () => {
  assert.throws(() => seccompFilter({ name: 'profile.json', text: '{' }, target), /profile\.json: it is not JSON/);
});
