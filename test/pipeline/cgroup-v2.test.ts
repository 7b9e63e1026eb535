/**
 * Limits in cgroup v2, as root and where a part of it is delegated to an ordinary user. As root; what is changed is put
 * back.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chownSync, existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { ignoring } from '../../lib/base/failure.js';
import { probeCgroups } from '../../lib/isolate/cgroup/cgroup.js';
import { lsetxattr } from '../../lib/sys/syscalls/calls.js';
import { cgroupsOf, isGoneOrUsed, processor } from '../support/controllers.js';
import { until } from '../support/rootfs.js';
import { needsRootless, rootless } from '../support/rootless.js';
import { afterwards, binDir, cleanEnv, run } from '../support/run.js';

/** A flag for each controller, and what it comes to. */
const all = [
  { controller: 'memory', flags: ['--memory', '64m'], file: 'memory.max', value: '67108864' },
  { controller: 'cpu', flags: ['--cpus', '0.5'], file: 'cpu.max', value: '50000 100000' },
  { controller: 'pids', flags: ['--pids-limit', '20'], file: 'pids.max', value: '20' },
  { controller: 'cpuset', flags: ['--cpuset-cpus', processor], file: 'cpuset.cpus', value: processor },
];

const host = needsRootless ? undefined : probeCgroups();
const limits = all.filter(({ controller }) => host?.find(controller)?.version === 2);
const skip = needsRootless || (limits.length === 0 && 'the controllers of cgroup v2 are taken by v1, or not there');
const flags = limits.flatMap((limit) => limit.flags);
const script = `cat /proc/self/cgroup; cd /sys/fs/cgroup; cat ${limits.map(({ file }) => file).join(' ')}`;
const seen = ['0::/', ...limits.map(({ value }) => value)].join('\n');

function top(): string {
  return host!.find(limits[0]!.controller)!.mount;
}

/** Returns what puts the controllers at the top back as they are. */
function keepTop(): () => void {
  const file = join(top(), 'cgroup.subtree_control');
  const before = readFileSync(file, 'latin1').trim().split(' ');
  return () => {
    const now = readFileSync(file, 'latin1').trim().split(' ');
    const added = now.filter((name) => name !== '' && !before.includes(name));
    // EBUSY: another test, which runs at the same time, uses them by now.
    if (added.length > 0) ignoring(['EBUSY'], () => writeFileSync(file, added.map((name) => `-${name}`).join(' ')));
  };
}

/** All cgroups below a directory. */
function below(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true, encoding: 'utf8' })
    .filter((entry) => entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(directory.length + 1));
}

/** A part of the tree that belongs to the user, with a cgroup `session` in it. */
function delegate(t: TestContext, uid: number): string {
  const restoreTop = keepTop();
  writeFileSync(join(top(), 'cgroup.subtree_control'), limits.map(({ controller }) => `+${controller}`).join(' '));
  const part = join(top(), `md-test-${process.pid}`);
  for (const directory of [part, join(part, 'session')]) {
    mkdirSync(directory);
    chownSync(directory, uid, uid);
    for (const name of ['cgroup.procs', 'cgroup.subtree_control', 'cgroup.threads']) {
      chownSync(join(directory, name), uid, uid);
    }
  }
  afterwards(t, async () => {
    for (const directory of [...below(part).sort().reverse(), '.'].map((name) => join(part, name))) {
      await until(() => readFileSync(join(directory, 'cgroup.procs'), 'latin1') === '');
      rmdirSync(directory);
    }
    restoreTop();
  });
  return part;
}

/** What runs a command line in a cgroup. */
const inCgroup = (cgroup: string, argv: string[]) => [
  'sh',
  '-c',
  'echo $$ > "$1/cgroup.procs" || exit; shift; exec "$@"',
  'sh',
  cgroup,
  ...argv,
];

test('root: all limits hold, are seen inside, and are gone afterwards', { skip }, async (t) => {
  const { root } = await rootless(t);
  afterwards(t, keepTop());
  // It keeps the number of the shell.
  const line = 'echo $$; exec md-isolate "$@"';
  const { stdout, stderr } = await run(['sh', '-c', line, 'sh', ...flags, root, 'sh', '-c', script]);
  const [, supervisor, shown] = /^(\d+)\n([\s\S]*)\n$/.exec(stdout) ?? [];
  assert.equal(shown, seen, stderr);
  assert.deepEqual(cgroupsOf(Number(supervisor), join(top(), 'md')), []);
  await until(() => isGoneOrUsed(join(top(), 'md')));
});

for (const [where, start] of [
  ['who shares the own cgroup with others gets one beside it', 'accompanied'],
  ['who is alone in the own cgroup gets one below it', 'command'],
] as const) {
  test(`delegated: ${where}, with all limits, gone afterwards`, { skip }, async (t) => {
    const { uid, root, home, ...commands } = await rootless(t);
    const part = delegate(t, uid);
    // Without the memory controller, the others would pass on to threads only.
    for (const some of [flags, flags.slice(-2)]) {
      const argv = commands[start](...some, root, 'sh', '-c', `${script}; id -u`);
      const result = await run(inCgroup(join(part, 'session'), argv), { cwd: home });
      const { stderr } = result;
      // The shell has told its child's id first.
      const stdout = result.stdout.replace(/^\d+\n/, '');
      assert.equal(stderr.replace(/^cat: .*\n/gm, ''), '');
      assert.ok(stdout.startsWith('0::/\n') && stdout.endsWith('\n0\n'), stdout);
      assert.ok(stdout.includes(`\n${limits.at(-1)!.value}\n`), stdout);
      if (some === flags) assert.equal(stdout, `${seen}\n0\n`);
      assert.deepEqual(below(part), ['session']);
      assert.equal(readFileSync(join(part, 'session/cgroup.type'), 'latin1'), 'domain\n');
      assert.equal(readFileSync(join(part, 'session/cgroup.subtree_control'), 'latin1').trim(), '');
    }
  });
}

/** A process in a cgroup of its own, with a limit; and a change to the limit of the container, which is not its own. */
const divide = `cd /sys/fs/cgroup; mkdir a && echo 0 >a/cgroup.procs && cat /proc/self/cgroup
  echo +pids >cgroup.subtree_control && echo 5 >a/pids.max && cat a/pids.max
  echo 7 >pids.max; cat pids.max`;
// Where it was not mounted so, nothing keeps root of the container from that.
const divided = `0::/a\n5\n${/nsdelegate/.test(readFileSync('/proc/self/mountinfo', 'latin1')) ? 'max' : '7'}\n`;
const writable = ['--security-opt', 'writable-cgroups=true'];
const needsPids =
  skip || (!limits.some(({ controller }) => controller === 'pids') && 'no pids controller in cgroup v2');

test('--security-opt writable-cgroups=true: root divides a cgroup of its own, all gone afterwards', {
  skip: needsPids,
}, async (t) => {
  const { root } = await rootless(t);
  afterwards(t, keepTop());
  const isolate = (...flags: string[]) => run(['md-isolate', ...flags, root, 'sh', '-c', divide]);
  for (const flags of [[], ['--userns', 'self']]) {
    const { stdout, stderr } = await isolate(...writable, ...flags);
    assert.equal(stdout, divided, stderr);
  }
  assert.match((await isolate()).stderr, /^mkdir: .*Read-only file system$/m);
  await until(() => isGoneOrUsed(join(top(), 'md')));
});

test('delegated: --security-opt writable-cgroups=true is for an ordinary user as well', {
  skip: needsPids,
}, async (t) => {
  const { uid, root, home, command } = await rootless(t);
  const part = delegate(t, uid);
  const argv = command(...writable, root, 'sh', '-c', divide);
  const { stdout, stderr } = await run(inCgroup(join(part, 'session'), argv), { cwd: home });
  assert.equal(stdout, divided, stderr);
  assert.deepEqual(below(part), ['session']);
});

test('delegated: a killed supervisor takes its container along, and the next one sweeps', { skip }, async (t) => {
  const { uid, root, home, accompanied } = await rootless(t);
  const part = delegate(t, uid);
  const session = join(part, 'session');
  const [program, ...argv] = inCgroup(
    session,
    accompanied(...flags, root, 'sh', '-c', 'echo > /tmp/up; exec sleep 1000'),
  );
  const child = spawn(program!, argv, {
    cwd: home,
    env: cleanEnv(),
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let pid = '';
  child.stdout.on('data', (chunk: Buffer) => {
    pid += chunk.toString();
  });
  await until(() => existsSync(join(root, 'tmp/up')));
  const [made = ''] = below(part).filter((name) => name !== 'session');
  assert.match(made, /^md-\d+\.\d+\.\d+$/);
  process.kill(Number(pid), 'SIGKILL');
  await until(() => readFileSync(join(part, made, 'cgroup.procs'), 'latin1') === '');
  assert.ok(existsSync(join(part, made)));
  await run(inCgroup(session, accompanied(...flags, root, 'true')), { cwd: home });
  assert.deepEqual(below(part), ['session']);
});

test('root, in a cgroup that systemd gave to the unit: the own cgroup is below that one, and not at the top', {
  skip,
}, async (t) => {
  const { root } = await rootless(t);
  const unit = join(delegate(t, 0), 'session');
  writeFileSync(join(unit, '../cgroup.subtree_control'), limits.map(({ controller }) => `+${controller}`).join(' '));
  lsetxattr(unit, 'trusted.delegate', Buffer.from('1'), 1, 0);
  // It waits for a line.
  const command = [join(binDir, 'md-isolate'), ...flags, root, 'sh', '-c', 'read x; cat /proc/self/cgroup'];
  const [program, ...args] = inCgroup(unit, command) as [string, ...string[]];
  const child = spawn(program, args, { env: cleanEnv(), stdio: ['pipe', 'pipe', 'inherit'] });
  await until(() => below(unit).some((name) => /^md-[0-9]/.test(name)));
  assert.deepEqual(cgroupsOf(child.pid!, join(top(), 'md')), []);
  child.stdin.end('go\n');
  assert.equal(await text(child.stdout), '0::/\n');
  await until(() => child.exitCode !== null);
  assert.deepEqual(below(unit), []);
});

test('an ordinary user without a delegated cgroup is told what gives one', { skip }, async (t) => {
  const { uid, root, home, command } = await rootless(t);
  const isolate = (env: Record<string, string>) => run(command(...flags, root, 'true'), { cwd: home, env });
  const inSession = await isolate({ XDG_RUNTIME_DIR: `/run/user/${uid}` });
  assert.equal(inSession.status, 125);
  assert.match(inSession.stderr, /is delegated to this user; put systemd-run --user --scope -p Delegate=yes in front/);
  // As from cron, where systemd-run does not find the systemd of the user by itself.
  const { stderr } = await isolate({});
  assert.match(
    stderr,
    new RegExp(`put XDG_RUNTIME_DIR=/run/user/${uid} systemd-run .* \\(after sudo loginctl enable-linger ${uid}\\) in`),
  );
});
