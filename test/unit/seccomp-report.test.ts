import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { auditArch, type ProfileSource } from '../../lib/isolate/seccomp/filter.js';
import { seccompReport } from '../../lib/isolate/seccomp/report.js';
import { RET } from '../../lib/isolate/seccomp/rules.js';
import { syscallNumbers } from '../../lib/isolate/seccomp/syscall-numbers.js';
import { Program } from '../../lib/sys/native-code/program.js';
import { Block, type Step, stepOf } from '../../lib/sys/native-code/step.js';
import {
  clone,
  exit_group,
  pipe2,
  prctl,
  read,
  seccomp,
  setsid,
  socket,
  umask,
  unshare,
  wait4,
  write,
} from '../../lib/sys/syscalls/calls.js';
import { arch, PR, SECCOMP, SIGCHLD } from '../../lib/sys/syscalls/constants.js';
import { ENOSYS } from '../../lib/sys/syscalls/errno.js';
import { verdict } from '../support/bpf.js';
import { afterwards } from '../support/run.js';

/** A report of a filter, and the step that installs that. */
function reporting(source: ProfileSource = 'default') {
  const report = seccompReport(source, { capabilities: [], arch, kernel: '6.1.0' });
  const header = Buffer.alloc(16);
  header.writeUInt16LE(report.filter.program.length / 8);
  const program = new Block(header, [{ offset: 8, value: new Block(report.filter.program) }]);
  return {
    report,
    install: stepOf(seccomp, [SECCOMP.SET_MODE_FILTER, SECCOMP.FILTER_FLAG_NEW_LISTENER, program]),
  };
}

test('a call that a profile refuses with an error of its own gets that error', async () => {
  const syscalls = [{ names: ['unshare'], action: 'SCMP_ACT_ERRNO', errnoRet: 42 }];
  const text = JSON.stringify({ defaultAction: 'SCMP_ACT_ALLOW', syscalls });
  const { report, install } = reporting({ name: 'profile.json', text });
  const [reader, writer] = pipe();
  const refused = stepOf(unshare, [0], { onError: 'continue' });
  const child = new Program([
    stepOf(prctl, [PR.SET_NO_NEW_PRIVS, 1, 0, 0, 0]),
    install,
    stepOf(read, [reader, new Block(Buffer.alloc(8)), 1]),
    refused,
    stepOf(exit_group, [0]),
  ]);
  const pid = child.start(0);
  report.listen(pid, () => child.result(install), reader);
  write(writer, Buffer.from('g'), 1);
  while (wait4(pid, null, 1, null) === 0) await sleep(1);
  assert.equal(child.result(refused), -42);
  assert.deepEqual([...report.end()], [['unshare', 1]]);
});

test('refused calls are reported by name and number, with the error that the filter gives', async () => {
  const { report, install } = reporting();
  const [reader, writer] = pipe();
  const CLONE_NEWUTS = 0x04000000;
  const AF_VSOCK = 40;
  const refused = [1, 2, 3].map(() => stepOf(unshare, [CLONE_NEWUTS], { onError: 'continue' }));
  const vsock = stepOf(socket, [AF_VSOCK, 1, 0], { onError: 'continue' });
  const allowed = stepOf(umask, [0o22]);
  const child = new Program([
    stepOf(prctl, [PR.SET_NO_NEW_PRIVS, 1, 0, 0, 0]),
    install,
    stepOf(read, [reader, new Block(Buffer.alloc(8)), 1]),
    ...refused,
    vsock,
    allowed,
    stepOf(exit_group, [0]),
  ]);
  const pid = child.start(0);
  report.listen(pid, () => child.result(install), reader);
  write(writer, Buffer.from('g'), 1);
  const status = Buffer.alloc(4);
  while (wait4(pid, status, 1, null) === 0) await sleep(1);

  assert.equal(child.failure(), undefined);
  assert.equal(status.readInt32LE(), 0);
  assert.deepEqual(
    [...refused, vsock].map((one) => child.result(one)),
    [-1, -1, -1, -1],
  );
  assert.ok(child.result(allowed)! >= 0);
  assert.deepEqual(
    [...report.end()],
    [
      ['unshare', 3],
      ['socket', 1],
    ],
  );
});

test('processes that ask without end leave the supervisor time for other things', async (t) => {
  const { report, install } = reporting();
  const [reader, writer] = pipe();
  const again = { ...stepOf(umask, [0o22]), next: undefined as Step | undefined };
  const ask = stepOf(unshare, [0x04000000], { onError: again });
  again.next = ask;
  const child = new Program([
    stepOf(setsid, []),
    stepOf(prctl, [PR.SET_NO_NEW_PRIVS, 1, 0, 0, 0]),
    install,
    stepOf(read, [reader, new Block(Buffer.alloc(8)), 1]),
    // Each time there are twice as many.
    ...Array.from({ length: 7 }, () => stepOf(clone, [SIGCHLD, null, null, 0, 0])),
    ask,
    again,
  ]);
  const pid = child.start(0);
  // Whoever is never given time ends nothing, this test neither.
  const killer = spawn('sh', ['-c', `sleep 120; kill -KILL -${pid}`], { stdio: 'ignore', detached: true });
  afterwards(t, () => {
    process.kill(-pid, 'SIGKILL');
    wait4.try(pid, null, 0, null);
    process.kill(-killer.pid!, 'SIGKILL');
  });
  report.listen(pid, () => child.result(install), reader);
  write(writer, Buffer.from('g'), 1);
  while (child.result(ask) === undefined) await sleep(1);
  for (let turns = 0; turns < 20; turns++) await sleep(10);
  const alive = wait4(pid, Buffer.alloc(4), 1, null) === 0;
  assert.ok(alive, 'they had to be ended from outside');
  assert.equal(child.result(ask), -1);
  assert.ok(report.end().get('unshare')! > 0);
});

function pipe(): [reader: number, writer: number] {
  const ends = Buffer.alloc(8);
  pipe2(ends, 0o2000000);
  return [ends.readInt32LE(0), ends.readInt32LE(4)];
}

test('the filter asks about each refusal, but not about ENOSYS, which tells a program to use an older call', () => {
  const { filter } = reporting().report;
  const numbers = syscallNumbers(arch);
  const ask = (name: string) => verdict(filter.program, { number: numbers.get(name)!, arch: auditArch[arch] });
  assert.equal(ask('mount'), RET.USER_NOTIF);
  assert.equal(ask('clone3'), RET.ERRNO | ENOSYS);
  assert.equal(ask('read'), RET.ALLOW);
});
