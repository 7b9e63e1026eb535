/** `--init`: a process 1 that is not the command. As root. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { statFields } from '../../lib/sys/procfs/status.js';
import { childrenOf } from '../support/processes.js';
import { inside, makeRoot, needsContainer, output, until } from '../support/rootfs.js';
import { binDir, cleanEnv, killAfterwards, md } from '../support/run.js';
import { shellAt } from '../support/terminal.js';

const skip = needsContainer;
const isolate = join(binDir, 'md-isolate');

function start(t: TestContext, ...args: string[]): ChildProcess {
  const child = spawn(isolate, args, { stdio: 'ignore', env: cleanEnv() });
  killAfterwards(t, child);
  return child;
}

test('--init: the command is process 2, and its status is that of the container', { skip }, async (t) => {
  const root = makeRoot(t);
  assert.equal(await output(root, 'echo $$ $PPID; cat /proc/1/comm', ['--init']), '2 1\nmd-init');
  assert.equal((await inside(root, 'exit 7', ['--init'])).status, 7);
  assert.equal((await inside(root, 'kill -USR1 $$', ['--init'])).status, 138);
  assert.equal((await inside(root, 'kill -9 $$', ['--init', '-u', 'user', '--no-new-privs'])).status, 137);
});

test('--init: a command that is not there or cannot be executed is told as without', { skip }, async (t) => {
  const root = makeRoot(t);
  writeFileSync(join(root, 'bin/text'), 'no program\n', { mode: 0o755 });
  const missing = await md('md-isolate', ['--init', root, 'nosuch']);
  assert.match(missing.stderr, /^md-isolate: nosuch: not found in the container's PATH\n$/);
  assert.equal(missing.status, 127);
  const text = await md('md-isolate', ['--init', root, 'text']);
  assert.equal(text.status, 126);
  assert.match(text.stderr, /^md-isolate: \/bin\/text: exec format error/);
});

test('--init: orphans that have ended are collected, several at once, though the command asks for none', {
  skip,
}, async (t) => {
  const root = makeRoot(t);
  const { pid } = start(t, '--init', root, 'sh', '-c', '(sleep 1001 & sleep 1001 & sleep 1001 &); exec sleep 1000');
  await until(() => childrenOf(pid!).flatMap(childrenOf).length === 4);
  const [init = 0] = childrenOf(pid!);
  // While process 1 is stopped all of them end: for the three it gets one SIGCHLD, after an interrupted wait.
  process.kill(init, 'SIGSTOP');
  const [, ...orphans] = childrenOf(init);
  for (const orphan of orphans) process.kill(orphan, 'SIGKILL');
  await until(() => orphans.every((orphan) => statFields(orphan)[0] === 'Z'));
  process.kill(init, 'SIGCONT');
  await until(() => childrenOf(init).length === 1);
  // It waits for the next signal, and does not go on asking.
  let asleep = 0;
  await until(() => {
    asleep = statFields(init)[0] === 'S' ? asleep + 1 : 0;
    return asleep === 10;
  });
});

test('--init: a signal to md-isolate is for the command, once', { skip }, async (t) => {
  const root = makeRoot(t);
  const script = 'trap "echo >> /tmp/heard" USR1; trap "exit 3" TERM; echo > /tmp/up; while :; do sleep 0.02; done';
  const child = start(t, '--init', root, 'sh', '-c', script);
  const ended = new Promise((resolve) => child.once('exit', resolve));
  await until(() => existsSync(join(root, 'tmp/up')));
  child.kill('SIGUSR1');
  await until(() => existsSync(join(root, 'tmp/heard')));
  child.kill('SIGTERM');
  assert.equal(await ended, 3);
  assert.equal(readFileSync(join(root, 'tmp/heard'), 'latin1'), '\n');
});

test('--init: process 1 can neither be killed, nor traced, nor written to from inside', { skip }, async (t) => {
  const root = makeRoot(t);
  const script = `
    kill -9 1; sleep 0.1; ls -l /proc/1/exe > /dev/null; cat /proc/1/environ; (echo x > /proc/1/mem); echo alive`;
  const { stdout, stderr, status } = await inside(root, script, ['--init']);
  assert.equal(stdout, 'alive\n');
  assert.equal(status, 0);
  assert.equal(stderr.match(/denied/gi)?.length, 3);
});

test('--init: kill -9 of md-isolate ends the container of a command that has changed its user', { skip }, async (t) => {
  const root = makeRoot(t);
  // Changing the user makes the kernel forget that the process is to die with its parent.
  const child = start(t, '--init', root, 'su', 'user', '-c', 'echo > /tmp/up; exec sleep 1000');
  await until(() => existsSync(join(root, 'tmp/up')));
  const [init = 0] = childrenOf(child.pid!);
  const [command = 0] = childrenOf(init);
  assert.ok(command > 0);
  child.kill('SIGKILL');
  await until(() => !existsSync(`/proc/${command}`));
});

test('--init: process 1 holds no file open', { skip }, async (t) => {
  const root = makeRoot(t);
  const { pid } = start(t, '--init', root, 'sh', '-c', 'echo > /tmp/up; exec sleep 1000');
  await until(() => existsSync(join(root, 'tmp/up')));
  const [init = 0] = childrenOf(pid!);
  await until(() => readdirSync(`/proc/${init}/fd`).length === 0);
});

test('--init: at a terminal the command has job control, and Ctrl-C is for the job alone', { skip }, async (t) => {
  const root = makeRoot(t);
  const terminal = await shellAt(t);
  terminal.type(`${isolate} --init ${root} env "PS1=inner> " sh\r`);
  await terminal.see(/\r\ninner> /);
  terminal.type('sh -c "echo be\'\'gun; exec sleep 1000"\r');
  await terminal.see('begun');
  terminal.type('\x03');
  await terminal.see('inner> ');
  await terminal.run('echo status=$?', 'status=130');
  assert.doesNotMatch(terminal.screen, /job control turned off/);
  terminal.type('exit 5\r');
  await terminal.see('shell> ');
  await terminal.run('echo status=$?', 'status=5');
});
