/** What /proc says of processes. */

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Program } from '../../lib/sys/native-code/program.js';
import { stepOf } from '../../lib/sys/native-code/step.js';
import { lifeOf, markOf, ownMark } from '../../lib/sys/procfs/process-mark.js';
import { statFields, statusBits } from '../../lib/sys/procfs/status.js';
import { exit_group, wait4 } from '../../lib/sys/syscalls/calls.js';
import { until } from '../support/rootfs.js';
import { killAfterwards, needs, needsRoot, run, scratch } from '../support/run.js';

test('a process may have a name that looks like the fields after it', async (t) => {
  const program = join(scratch(t), ') Z 1 (');
  symlinkSync('/bin/sleep', program);
  const child = spawn(program, ['1000'], { argv0: 'sleep', stdio: 'ignore' });
  killAfterwards(t, child);
  await until(() => statFields(child.pid!)[0] === 'S');
  assert.equal(statFields(child.pid!)[1], String(process.pid));
});

test('a process may have a name that looks like a line of its status', () => {
  const status = 'Name:\t\u2028SigCgt:1\nSigCgt:\t8000000100000002\n';
  assert.deepEqual(statusBits(status, 'SigCgt'), [1, 32, 63]);
  assert.deepEqual(statusBits(status, 'SigIgn'), []);
});

test('a mark is of this process only if it began when this one did: numbers repeat, as in a container that is started anew', () => {
  const own = ownMark();
  assert.equal(lifeOf(own), 'running');
  assert.equal(lifeOf(own.replace(/[0-9]+$/, '1')), 'gone');
});

const lastPid = '/proc/sys/kernel/ns_last_pid';

test('a process finds itself running where /proc is that of another PID namespace', {
  skip: needsRoot || needs('unshare') || (!existsSync(lastPid) && `the kernel has no ${lastPid}`),
}, async () => {
  const marks = join(import.meta.dirname, '../../lib/sys/procfs/process-mark.js');
  const script = `const { lifeOf, ownMark } = await import('${marks}'); console.log(process.pid, lifeOf(ownMark()));`;
  // A number that no process outside has.
  const inside = `echo 4000000 >${lastPid}; "$@"; exit 0`;
  const argv = ['unshare', '-p', '-f', 'sh', '-c', inside, 'sh', process.execPath, '--input-type=module', '-e', script];
  assert.equal((await run(argv)).stdout, '4000001 running\n');
});

test('a process that has ended is gone, though nobody has asked for its status yet', async () => {
  const pid = new Program([stepOf(exit_group, [0])]).start(0);
  await until(() => statFields(pid)[0] === 'Z');
  const [namespace] = ownMark().split('.');
  assert.equal(lifeOf(`${namespace}.${pid}.${statFields(pid)[22 - 3]}`), 'gone');
  wait4(pid, null, 0, null);
});

for (const hidepid of [1, 2]) {
  test(`a process of another user that /proc hides with hidepid=${hidepid} is not taken for gone`, {
    skip: needsRoot || needs('unshare', 'mount', 'setpriv'),
  }, async (t) => {
    const child = spawn('sleep', ['1000'], { stdio: 'ignore' });
    killAfterwards(t, child);
    await until(() => statFields(child.pid!)[0] === 'S');
    const mark = markOf(child.pid!);
    const module = import.meta.resolve('../../lib/sys/procfs/process-mark.js');
    const ask = `import('${module}').then(({ lifeOf }) => console.log(lifeOf('${mark}')))`;
    const script = `mount -t proc -o hidepid=${hidepid} proc /proc && exec setpriv --reuid=65534 --regid=65534 --clear-groups "$@"`;
    const asked = ['-m', 'sh', '-c', script, 'sh', process.execPath, '-e', ask];
    const life = () => execFileSync('unshare', asked, { encoding: 'utf8' }).trim();
    assert.equal(life(), 'unseen');
    child.kill('SIGKILL');
    await once(child, 'exit');
    assert.equal(life(), 'gone');
  });
}
