/**
 * Sockets on stdout and stderr, which cannot be opened by name: the command gets pipes. Node's `spawn` makes sockets,
 * so that most other tests of containers go this way as well. As root.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, type StdioOptions, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, fchownSync, openSync, readFileSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Output } from '../../lib/isolate/stdio/output.js';
import { unreadIn } from '../../lib/sys/files/poll.js';
import { fcntl, pipe2, socketpair } from '../../lib/sys/syscalls/calls.js';
import { F, O } from '../../lib/sys/syscalls/constants.js';
import { inside, makeRoot, needsContainer, until } from '../support/rootfs.js';
import { afterwards, binDir, cleanEnv, jsonLines, killAfterwards, md, shell } from '../support/run.js';

/** fcntl(2). */
const F_SETPIPE_SZ = 1031;

const skip = needsContainer;

/** `md-isolate ROOT sh -c SCRIPT`, killed after the test. */
function start(t: TestContext, script: string, stdio: StdioOptions): ChildProcess {
  const child = spawn(join(binDir, 'md-isolate'), [makeRoot(t), 'sh', '-c', script], { stdio, env: cleanEnv() });
  killAfterwards(t, child);
  return child;
}

async function statusOf(child: ChildProcess): Promise<number | null> {
  const [status] = (await once(child, 'exit')) as [number | null];
  return status;
}

/** Two ends of a socket, closed after the test. */
function pairOf(t: TestContext, type: number): [number, number] {
  return endsOf(t, (fds) => socketpair(1, type | O.CLOEXEC, 0, fds));
}

/** The reading and the writing end of a pipe, likewise. */
function pipeOf(t: TestContext): [number, number] {
  return endsOf(t, (fds) => pipe2(fds, O.CLOEXEC));
}

function endsOf(t: TestContext, make: (fds: Buffer) => void): [number, number] {
  const fds = Buffer.alloc(8);
  make(fds);
  const ends: [number, number] = [fds.readInt32LE(0), fds.readInt32LE(4)];
  for (const fd of ends) afterwards(t, () => closeSync(fd));
  return ends;
}

test('/dev/stdout and /dev/stderr open by name, for any user', { skip }, async (t) => {
  const root = makeRoot(t);
  const script = 'echo said > /dev/stdout; echo told >> /dev/stderr; cat /dev/null <> /dev/stdout';
  for (const flags of [[], ['-u', 'user'], ['--userns', 'self'], ['--init', '-u', 'user']]) {
    const { stdout, stderr, status } = await inside(root, script, flags);
    assert.deepEqual({ stdout, stderr, status }, { stdout: 'said\n', stderr: 'told\n', status: 0 }, flags.join(' '));
  }
});

test('stdout and stderr that are one socket keep their order', { skip }, async (t) => {
  const script = 'for i in $(seq 1 2000); do echo $i; echo $i >&2; done';
  const { stdout } = await shell('exec md-isolate "$1" sh -c "$2" 2>&1', [makeRoot(t), script]);
  const expected = Array.from({ length: 2000 }, (_, i) => `${i + 1}\n${i + 1}\n`).join('');
  assert.equal(stdout, expected);
});

test('all that was written arrives, whatever ends the command and whoever still has the pipe inside', {
  skip,
}, async (t) => {
  const script = 'sleep 1000 & head -c 60000 /dev/zero; kill -9 $$';
  const { stdout, status } = await inside(makeRoot(t), script, ['--init']);
  assert.deepEqual([stdout.length, status], [60_000, 137]);
});

test('a command waits for a slow reader, and md-isolate stays until that has all', { skip }, async (t) => {
  const child = start(t, 'head -c 3000000 /dev/zero; echo written >&2; exit 7', ['ignore', 'pipe', 'pipe']);
  let told = '';
  child.stderr!.on('data', (text) => {
    told += text;
  });
  const ended = statusOf(child);
  await new Promise((done) => setTimeout(done, 200));
  assert.equal(told, '');
  let bytes = 0;
  for await (const chunk of child.stdout!) bytes += (chunk as Buffer).length;
  assert.equal(bytes, 3_000_000);
  assert.equal(await ended, 7);
});

test('the end of a container does not wait for whoever outside has its pipe', { skip }, async (t) => {
  const child = start(t, 'read line; echo last', ['pipe', 'pipe', 'inherit']);
  const children = `/proc/${child.pid}/task/${child.pid}/children`;
  await until(() => /\d/.test(readFileSync(children, 'utf8')));
  const inner = readFileSync(children, 'utf8').trim();
  await until(() => readFileSync(`/proc/${inner}/comm`, 'utf8') === 'sh\n');
  const held = openSync(`/proc/${inner}/fd/1`, 'w');
  afterwards(t, () => closeSync(held));
  child.stdin!.end('go\n');
  const ended = statusOf(child);
  let said = '';
  for await (const chunk of child.stdout!) said += chunk;
  assert.equal(said, 'last\n');
  assert.equal(await ended, 0);
});

test('nor for whoever outside writes faster than md-isolate reads', () => {
  // In a process of its own, since only a signal ends one that never finds the end.
  const script = `
    import { openSync } from 'node:fs';
    import { Output } from ${JSON.stringify(new URL('../../lib/isolate/stdio/output.js', import.meta.url))};
    const output = new Output(openSync('/dev/urandom'), 1);
    output.finish();
    await output.carry();`;
  const argv = ['--input-type=module', '-e', script];
  const { signal, stdout } = spawnSync(process.execPath, argv, {
    timeout: 60_000,
    killSignal: 'SIGKILL',
    maxBuffer: 2 ** 24,
  });
  assert.equal(signal, null);
  assert.equal(stdout.length, 2 ** 17);
});

test('what a pipe holds is read whole, however large it is', { skip }, async (t) => {
  const size = 1 << 20;
  const [from, into] = pipeOf(t);
  const [copied, to] = pipeOf(t);
  for (const fd of [from, copied]) fcntl(fd, F_SETPIPE_SZ, size);
  for (const fd of [from, into]) fcntl(fd, F.SETFL, O.NONBLOCK);
  assert.equal(writeSync(into, Buffer.alloc(size)), size);
  const output = new Output(from, to);
  output.finish();
  await output.carry();
  assert.equal(unreadIn(copied), size);
});

test('when nobody reads any more, writing fails for the command, and its status is its own', { skip }, async (t) => {
  const child = start(t, 'yes; echo "yes ended" >&2; exit 7', ['ignore', 'pipe', 'pipe']);
  const ended = statusOf(child);
  child.stdout!.once('data', () => child.stdout!.destroy());
  let told = '';
  for await (const chunk of child.stderr!) told += chunk;
  assert.match(told, /yes ended\n$/);
  assert.equal(await ended, 7);
});

test('a connection on stdin and stdout stays a socket, as does one that is not a stream', { skip }, async (t) => {
  const root = makeRoot(t);
  const script = 'readlink /proc/self/fd/0; readlink /proc/self/fd/1; readlink /proc/self/fd/2 >&2';
  const { stdout, stderr } = await shell('exec md-isolate "$1" sh -c "$2" <&1', [root, script]);
  assert.match(stdout, /^(socket:\[\d+\]\n)\1$/);
  assert.match(stderr, /^pipe:/);

  const SOCK_SEQPACKET = 5;
  const [ours, theirs] = pairOf(t, SOCK_SEQPACKET);
  assert.equal(await statusOf(start(t, 'echo one; echo another', ['ignore', theirs, 'inherit'])), 0);
  const message = Buffer.alloc(100);
  assert.equal(message.toString('latin1', 0, readSync(ours, message)), 'one\n');
});

test('what takes no output under any name is no reason for a pipe, and the command learns of it', {
  skip,
}, async (t) => {
  const [reader] = pipeOf(t);
  // Of a user whom the container does not have.
  fchownSync(reader, 1000, 1000);
  const argv = ['--userns', 'self', makeRoot(t), 'sh', '-c', 'echo x || exit 3'];
  const child = spawn(join(binDir, 'md-isolate'), argv, { stdio: ['ignore', reader, 'ignore'], env: cleanEnv() });
  killAfterwards(t, child);
  assert.equal(await statusOf(child), 3);
});

test('a stderr that is open as a place alone does not end what copies stdout', { skip }, async (t) => {
  const file = openSync('/etc/passwd', O.PATH);
  afterwards(t, () => closeSync(file));
  const child = start(t, 'sleep 0.3; echo said; exit 3', ['ignore', 'pipe', file]);
  assert.equal(await statusOf(child), 3);
});

test('the socket stays blocking for others that have it', { skip }, async (t) => {
  const [, theirs] = pairOf(t, 1);
  // Long enough that Node reads the pipe.
  assert.equal(await statusOf(start(t, 'sleep 0.1', ['ignore', theirs, theirs])), 0);
  assert.equal(fcntl(theirs, F.GETFL, 0) & O.NONBLOCK, 0);
});

test('--dry-run and -x tell of the pipe and the reason', { skip }, async (t) => {
  const root = makeRoot(t);
  const { stdout } = await md('md-isolate', ['--dry-run', root, 'true']);
  const steps = jsonLines(stdout).filter(({ why }) => String(why).includes('is a socket'));
  assert.equal(steps.length, 2);
  assert.match(String(steps[0]!.call), /^dup3\(\d+, 1, 0\)$/);
  const { stderr } = await md('md-isolate', ['-x', root, 'true']);
  assert.match(stderr, /# The caller's stdout is a socket.*\n.*pipe2\(/);
  assert.match(stderr, /\[child\] dup3\(\d+, 2, 0\) = 2\n/);
});
