/** What --dry-run and -x tell of a container. */
import assert from 'node:assert/strict';
import { realpathSync, symlinkSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { needsControllers } from '../support/controllers.js';
import { makeRoot, needsContainer } from '../support/rootfs.js';
import { jsonLines, md } from '../support/run.js';

test('--dry-run prints every step with its reason and man page, and does nothing', async (t) => {
  const root = makeRoot(t);
  const { status, stdout } = await md('md-isolate', ['--dry-run', '--userns', 'self', '--net', 'none', root, 'true']);
  assert.equal(status, 0);
  const steps = jsonLines(stdout);
  assert.ok(steps.length > 200);
  steps.forEach((step, i) => {
    assert.equal(step.step, i + 1);
    assert.match(String(step.call), /^\w+\(.*\)$/);
    assert.match(String(step.why), /^\S.{5,}[.?]$/s);
    assert.match(String(step.man), /^\w[\w.+-]*\([0-9a-z]+\)$/);
  });
  const calls = steps.map(({ call }) => String(call));
  assert.match(calls[0]!, /^clone\(CLONE_NEWNS\|.*CLONE_NEWUSER.*\|SIGCHLD\)$/);
  const order = [
    'clone',
    'mount(',
    'pivot_root',
    'umount2',
    'close_range(3, ',
    'close_range(3, 0xffffffff, CLOSE_RANGE_CLOEXEC)',
    'prctl(PR_CAPBSET_DROP',
    'setresuid',
    'capset',
    'execve(',
  ];
  const places = order.map((start) => calls.findIndex((call) => call.startsWith(start)));
  assert.deepEqual(
    places,
    [...places].sort((a, b) => a - b),
  );
  assert.ok(!places.includes(-1));
  // A number that stands for a name tells a reader nothing.
  for (const call of [
    'seccomp(SECCOMP_SET_MODE_FILTER, 0, ',
    'rt_sigaction(SIGPIPE, ',
    'socket(AF_INET, SOCK_DGRAM, 0)',
  ]) {
    assert.ok(
      calls.some((it) => it.startsWith(call)),
      call,
    );
  }
});

test('-x shows the calls of the child in order, each with its result, before the command speaks', {
  skip: needsContainer,
}, async (t) => {
  const root = makeRoot(t);
  const { stderr, stdout } = await md('md-isolate', ['-x', root, 'sh', '-c', 'echo spoken >&2']);
  assert.equal(stdout, '');
  const lines = stderr.trim().split('\n');
  const at = (pattern: RegExp) => lines.findIndex((line) => pattern.test(line));
  const places = [
    /^clone\(/,
    // A session keyring of its own shows in no other way: the filter refuses to ask for it, and /proc/keys is masked.
    /keyctl\(KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0\) = [1-9]/,
    /pivot_root\("\.", "\."\) = 0/,
    /close_range\(.*, 0\) = 0/,
    /close_range\(3, 0xffffffff, CLOSE_RANGE_CLOEXEC\) = 0/,
    /setresuid\(0, 0, 0\) = 0/,
    /^spoken$/,
  ].map(at);
  assert.ok(!places.includes(-1), stderr);
  assert.deepEqual(
    places,
    [...places].sort((a, b) => a - b),
  );
  assert.ok(at(/execve\("\/usr\/local\/sbin\/sh".*ENOENT/) > 0);
  assert.ok(at(/execve\("\/bin\/sh".* = 0/) > 0);
});

test('-x gives the reason of each call above it, and no reason twice', { skip: needsContainer }, async (t) => {
  const { stderr } = await md('md-isolate', ['-x', makeRoot(t), 'true']);
  const lines = stderr.trim().split('\n');
  const above = (call: string) => lines[lines.findIndex((line) => line.startsWith(call)) - 1] ?? '';
  assert.match(above('[child] pivot_root('), /^\[child\] # The new root takes the place of the old one/);
  assert.match(above('[child] execve('), /^\[child\] # The command takes over this process/);
  assert.match(
    above('clone('),
    /^# The first process of the container .* mounts \(NEWNS\), process numbers \(NEWPID\)/,
  );
  const reasons = lines.filter((line) => line.startsWith('[child] # '));
  assert.ok(reasons.length > 60, stderr);
  assert.equal(new Set(reasons).size, reasons.length);
});

test('-x shows the cgroup that is made for a limit, and the limit', {
  skip: needsContainer || needsControllers('pids'),
}, async (t) => {
  const { stderr } = await md('md-isolate', ['-x', '--pids-limit', '17', makeRoot(t), 'true']);
  const [, cgroup = ''] = /^\* a new cgroup: (\/\S+)$/m.exec(stderr) ?? [];
  assert.match(stderr, new RegExp(`^\\* 17 to ${cgroup}/pids\\.max$`, 'm'));
  assert.match(stderr, new RegExp(`^\\* \\d+ to ${cgroup}/cgroup\\.procs$`, 'm'));
});

test('a step that fails is named with its errno and with what to do', { skip: needsContainer }, async (t) => {
  const root = makeRoot(t);
  const { status, stderr } = await md('md-isolate', ['--ulimit', 'nofile=1:4294967295', root, 'true']);
  assert.equal(status, 125);
  assert.match(
    stderr,
    /^md-isolate: prlimit64\(0, RLIMIT_NOFILE.*operation not permitted \(EPERM\); only CAP_SYS_RESOURCE raises a hard limit, and nothing above fs\.nr_open\n$/,
  );
});

test('a link to a tree is followed once: the next pull may lead it to another tree', async (t) => {
  const root = realpathSync(makeRoot(t));
  const name = join(root, '../name');
  symlinkSync('root', name);
  const { stdout } = await md('md-isolate', ['--dry-run', '--userns', 'self', name, 'true']);
  const calls = jsonLines(stdout).map(({ call }) => String(call));
  assert.ok(calls.some((call) => call.includes(`"${root}"`)));
  assert.deepEqual(
    calls.filter((call) => call.includes(`"${name}"`)),
    [],
  );
});

test('-x shows the ids that a user namespace gets', { skip: needsContainer }, async (t) => {
  const { stderr } = await md('md-isolate', ['-x', '--userns', 'self', makeRoot(t), 'true']);
  const { uid, gid } = userInfo();
  assert.match(stderr, new RegExp(`^\\* 0 ${uid} 1 to /proc/\\d+/uid_map\n\\* 0 ${gid} 1 to /proc/\\d+/gid_map$`, 'm'));
});
