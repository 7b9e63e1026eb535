/** The filter of a real container: what it refuses, and that it can be named afterwards. As root. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { arch } from '../../lib/sys/syscalls/constants.js';
import { narrowProgram } from '../support/narrow-program.js';
import { inside, makeRoot, needsContainer, output } from '../support/rootfs.js';
import { md, scratch } from '../support/run.js';

const skip = needsContainer;
const mode = 'grep Seccomp: /proc/self/status | cut -f2';

test('the default filter is there, unconfined and privileged have none', { skip }, async (t) => {
  const root = makeRoot(t);
  assert.equal(await output(root, mode), '2');
  assert.equal(await output(root, mode, ['--no-new-privs']), '2');
  assert.equal(await output(root, mode, ['-u', 'user']), '2');
  assert.equal(await output(root, mode, ['--seccomp', 'unconfined']), '0');
  assert.equal(await output(root, mode, ['--privileged']), '0');
});

test('a program of 32 bits runs behind the default filter, and behind one for 64 bits alone it is killed', {
  skip,
}, async (t) => {
  const root = makeRoot(t);
  const program = join(root, 'bin/narrow');
  writeFileSync(program, narrowProgram(arch), { mode: 0o755 });
  if (spawnSync(program).error) return t.skip('this processor or kernel runs no programs of 32 bits');
  assert.equal(await output(root, 'narrow'), '32 bits');
  const profile = join(scratch(t), 'profile.json');
  writeFileSync(profile, JSON.stringify({ defaultAction: 'SCMP_ACT_ALLOW' }));
  assert.equal((await inside(root, 'narrow', ['--seccomp', profile])).status, 128 + 31);
});

test('a profile in a file refuses with its own error', { skip }, async (t) => {
  const root = makeRoot(t);
  const file = join(scratch(t), 'profile.json');
  const refusal = { names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO', errnoRet: 28 };
  writeFileSync(file, JSON.stringify({ defaultAction: 'SCMP_ACT_ALLOW', syscalls: [refusal] }));
  const { status, stderr } = await inside(root, 'mkdir /tmp/x', ['--seccomp', file]);
  assert.equal(status, 1);
  assert.match(stderr, /No space left on device/);
});

test('a profile may refuse what the command does not need: hardly a call is left to make behind the filter', {
  skip,
}, async (t) => {
  const root = makeRoot(t);
  const profile = join(scratch(t), 'profile.json');
  const names = ['recvfrom', 'umask', 'rt_sigaction', 'rt_sigtimedwait', 'close_range', 'prlimit64', 'keyctl', 'fcntl'];
  const entry = { names, action: 'SCMP_ACT_ERRNO' };
  writeFileSync(profile, JSON.stringify({ defaultAction: 'SCMP_ACT_ALLOW', syscalls: [entry] }));
  for (const flags of [[], ['--no-new-privs'], ['-u', '1000']]) {
    const { status, stdout, stderr } = await md('md-isolate', [...flags, '--seccomp', profile, root, 'echo', 'runs']);
    assert.deepEqual([status, stdout, stderr], [0, 'runs\n', '']);
  }
});

test('a profile that refuses all is named, and leaves no process that cannot end', { skip }, async (t) => {
  const root = makeRoot(t);
  const file = join(scratch(t), 'profile.json');
  writeFileSync(file, '{"defaultAction":"SCMP_ACT_ERRNO"}');
  for (const flags of [[], ['--init']]) {
    const { status, stderr } = await md('md-isolate', [...flags, '--seccomp', file, root, 'echo', 'ran']);
    assert.equal(status, 125);
    assert.match(
      stderr,
      /^md-isolate: \w+\(.*\): .*; .*profile\.json has to permit what is left to do behind the filter\n$/,
    );
  }
});

test('a profile that kills ends the command with SIGSYS', { skip }, async (t) => {
  const root = makeRoot(t);
  const file = join(scratch(t), 'profile.json');
  const refusal = { names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_KILL_PROCESS' };
  writeFileSync(file, JSON.stringify({ defaultAction: 'SCMP_ACT_ALLOW', syscalls: [refusal] }));
  assert.equal((await inside(root, 'exec mkdir /tmp/x', ['--seccomp', file])).status, 128 + 31);
});

test('a profile that is wrong is named with its field, and nothing runs', { skip }, async (t) => {
  const root = makeRoot(t);
  const file = join(scratch(t), 'profile.json');
  writeFileSync(file, '{"defaultAction":"SCMP_ACT_MAYBE"}');
  const { status, stdout, stderr } = await inside(root, 'echo ran', ['--seccomp', file]);
  assert.equal(status, 125);
  assert.equal(stdout, '');
  assert.match(stderr, /^md-isolate: .*profile\.json\.defaultAction: expected an action.*\n$/);
});

for (const flags of [[], ['--no-new-privs'], ['-u', 'user', '--userns', 'host'], ['--userns', 'self'], ['-x']]) {
  test(`--seccomp-report names what was refused ${flags.join(' ')}`, { skip }, async (t) => {
    const root = makeRoot(t);
    const script = 'unshare -U true; unshare -U true; unshare -u true; echo ran; exit 5';
    const { status, stdout, stderr } = await inside(root, script, ['--seccomp-report', ...flags]);
    assert.equal(status, 5);
    assert.equal(stdout, 'ran\n');
    assert.match(stderr, /Operation not permitted/);
    assert.match(stderr, /^md-isolate: seccomp refused: unshare \(3 times\)$/m);
  });
}

test('--seccomp-report names what a profile refuses to the first process itself, which gets an answer', {
  skip,
}, async (t) => {
  const root = makeRoot(t);
  const file = join(scratch(t), 'profile.json');
  for (const [call, errnoRet, told] of [
    ['read', 1, /^md-isolate: seccomp refused: read\nmd-isolate: read\(.*\(EPERM\); .* has to permit what is left/],
    ['setresuid', 1, /^md-isolate: seccomp refused: setresuid\nmd-isolate: setresuid\(.*\(EPERM\); .*\n$/],
    ['read', 38, /^md-isolate: read\(.*\(ENOSYS\); .*\n$/],
    // The command is left without.
    ['write', 1, /^md-isolate: seccomp refused: write( \(\d times\))?\n$/],
  ] as const) {
    const syscalls = [{ names: [call], action: 'SCMP_ACT_ERRNO', errnoRet }];
    writeFileSync(file, JSON.stringify({ defaultAction: 'SCMP_ACT_ALLOW', syscalls }));
    const { stderr, timedOut } = await inside(root, 'echo', ['--seccomp', file, '--seccomp-report']);
    assert.match(stderr.replace(/^sh: .*\n/, ''), told);
    assert.equal(timedOut, false);
  }
  writeFileSync(file, '{"defaultAction":"SCMP_ACT_ERRNO"}');
  const { stderr } = await inside(root, 'echo', ['--seccomp', file, '--seccomp-report']);
  assert.match(stderr, /^md-isolate: seccomp refused: read/);
});

test('--seccomp-report says so when nothing was refused, unless there was no command', { skip }, async (t) => {
  const root = makeRoot(t);
  const absent = await md('md-isolate', ['--seccomp-report', root, 'absent']);
  assert.match(absent.stderr, /^md-isolate: absent: not found in the container's PATH\n$/);
  const { status, stderr } = await inside(root, 'true', ['--seccomp-report']);
  assert.equal(status, 0);
  assert.equal(stderr, 'md-isolate: seccomp refused: nothing\n');
});
