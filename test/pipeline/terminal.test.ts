import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { bash, useJobs } from '../support/job-control.js';
import { until } from '../support/rootfs.js';
import { needs, root, scratch, shell } from '../support/run.js';
import { shellAt, type TestTerminal } from '../support/terminal.js';

/** A stand-in for `md-isolate -t`, so that this needs neither root nor namespaces: isolate-terminal.test.ts has the rest. */
const ptyRun = join(root, 'dist/test/support/pty-run.js');
const skip = needs('setsid', 'bash', 'stty');

async function outerShell(t: TestContext, options = {}): Promise<{ terminal: TestTerminal; before: string }> {
  const terminal = await shellAt(t, { argv: [...bash], ...options });
  return { terminal, before: terminal.settings() };
}

/** Starts a shell on a pty of its own from the outer shell. */
async function innerShell(terminal: TestTerminal, prefix = ''): Promise<void> {
  terminal.type(`${prefix}node ${ptyRun} PS1='inner> ' ${bash.join(' ')}\r`);
  await terminal.see(/\n.*inner> /);
}

async function backAtShell(terminal: TestTerminal, before: string): Promise<void> {
  await terminal.run('echo back-$((6 * 7))', /back-42[\s\S]*shell> /);
  assert.equal(terminal.settings(), before);
}

test('the command has the size of the window, and learns when it changes', { skip }, async (t) => {
  const { terminal } = await outerShell(t, { rows: 30, columns: 111 });
  await innerShell(terminal);
  await terminal.run('stty size', '30 111');
  const script = 'trap "stty size; exit" WINCH; echo ready-$((1 + 1)); while :; do sleep 0.05; done';
  await terminal.run(`sh -c '${script}'`, 'ready-2');
  terminal.resize(20, 50);
  await terminal.see('20 50');
});

test('jobs stop and go on inside, and so does the command outside', { skip }, async (t) => {
  const { terminal, before } = await outerShell(t);
  await innerShell(terminal);
  await useJobs(terminal, 'node ');
  assert.equal(terminal.settings(), before);
});

test('a first detach key that stays alone reaches the command after a moment', { skip }, async (t) => {
  const { terminal } = await outerShell(t);
  await innerShell(terminal);
  await terminal.run('stty raw; echo ready-$((1 + 1)); head -c1 | od -An -tx1; stty sane', 'ready-2');
  terminal.type('\x10');
  await terminal.see(/ 10/);
});

test('SIGTSTP from outside stops the supervisor with the terminal restored', { skip }, async (t) => {
  const { terminal, before } = await outerShell(t);
  await innerShell(terminal);
  await terminal.run('kill -TSTP $PPID', 'Stopped');
  await backAtShell(terminal, before);
  terminal.type('fg\r');
  await terminal.see('node ');
  await terminal.run('echo again-$((1 + 1))', 'again-2');
});

test("in the background nothing stops it, and the terminal stays the shell's", { skip }, async (t) => {
  const { terminal, before } = await outerShell(t);
  await terminal.run(`node ${ptyRun} sh -c 'exit 9' & wait $!; echo status=$?`, 'status=9');
  await backAtShell(terminal, before);
});

test('kill -9 of the supervisor: settings that a shell has made before the guard stay', {
  skip: skip || needs('dash'),
}, async (t) => {
  const terminal = await shellAt(t, { argv: ['dash', '-i'] });
  const cooked = terminal.settings();
  await innerShell(terminal);
  const [, supervisor] = await terminal.run('echo pid-$PPID', /pid-(\d+)/);
  const children = readFileSync(`/proc/${supervisor}/task/${supervisor}/children`, 'latin1').trim().split(' ');
  const guard = children.find((pid) => readFileSync(`/proc/${pid}/comm`, 'latin1') !== 'bash\n');
  // Without ECHO.
  const own = cooked.slice(0, 24) + (Number.parseInt(cooked.slice(24, 26), 16) & ~0o10).toString(16) + cooked.slice(26);
  assert.notEqual(own, cooked);
  terminal.change(own);
  process.kill(Number(supervisor), 'SIGKILL');
  await until(() => !existsSync(`/proc/${guard}`));
  assert.equal(terminal.settings(), own);
});

test('an exception in the supervisor leaves the terminal as it was', { skip }, async (t) => {
  const { terminal, before } = await outerShell(t);
  terminal.type(`MD_TEST_CRASH=1 node ${ptyRun} sleep 100\r`);
  await terminal.see('crashed as told');
  await terminal.see('shell> ');
  await backAtShell(terminal, before);
});

test('SIGTERM of the supervisor leaves the terminal as it was', { skip }, async (t) => {
  const { terminal, before } = await outerShell(t);
  await innerShell(terminal);
  await terminal.run('kill $PPID', 'shell> ');
  await backAtShell(terminal, before);
});

test('megabytes of output arrive whole before the end', { skip }, async (t) => {
  const directory = scratch(t);
  const { terminal } = await outerShell(t);
  const line = `node ${ptyRun} sh -c 'stty -opost; seq 1 400000' > ${directory}/out; echo done-$((1 + 1))`;
  await terminal.run(line, 'done-2');
  const expected = Array.from({ length: 400_000 }, (_, i) => `${i + 1}\n`).join('');
  assert.equal(sha256(readFileSync(join(directory, 'out'))), sha256(Buffer.from(expected)));
});

test('a long paste arrives whole at a command that reads slowly', { skip }, async (t) => {
  const { terminal } = await outerShell(t);
  await innerShell(terminal);
  const paste = Array.from({ length: 30_000 }, (_, i) => `${i}`).join(' ');
  await terminal.run(
    `stty raw -echo; echo ready-$((1 + 1)); sleep 0.5; head -c ${paste.length} | sha256sum; stty sane`,
    'ready-2',
  );
  terminal.type(paste);
  await terminal.see(sha256(Buffer.from(paste)));
});

test('a command that does not read what is typed is shown and ends all the same', { skip }, async () => {
  const typing = 'seq 1 100000 | node "$1" sh -c "sleep 0.5; echo shown; exit 4"';
  const { status, stdout } = await shell(typing, [ptyRun]);
  assert.match(stdout, /shown\r\n$/);
  assert.equal(status, 4);
});

test('a command may write as much as is typed at the same time', { skip }, async () => {
  // In letters, since the echo of what is typed comes between what is written, in mid-line as well.
  const { status, stdout } = await shell('seq 1 100000 | node "$1" tr 0-9 a-j', [ptyRun]);
  const numbers = Array.from({ length: 100_000 }, (_, index) => String(index + 1)).join('');
  const letters = numbers.replace(/\d/g, (digit) => 'abcdefghij'.charAt(Number(digit)));
  assert.equal(stdout.replace(/[^a-j]/g, '') === letters, true);
  assert.equal(status, 0);
});

test('a pipe on stdin is typed into the terminal and ends it, and its flags are left as they were', {
  skip,
}, async (t) => {
  const { terminal } = await outerShell(t);
  const flags = `grep flags /proc/self/fdinfo/0`;
  const line = `printf 'one\\ntwo' | { ${flags}; node ${ptyRun} sh -c 'stty -echo; cat; echo end-$((1 + 1))'; ${flags}; }`;
  const [text] = await terminal.run(line, /flags:[\s\S]*end-2[\s\S]*flags:\s+\d+/);
  const [first, second] = [...text.matchAll(/flags:\s+(\d+)/g)].map(([, value]) => value);
  assert.equal(first, second);
  assert.match(text, /one\r+\ntwo/);
});

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}
