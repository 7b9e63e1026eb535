/**
 * `md-isolate` at a real terminal: full-screen programs, job control, and the terminal afterwards. As root, in tmux.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { closeSync, existsSync, mkdtempSync, readFileSync, symlinkSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fcntl, pipe2 } from '../../lib/sys/syscalls/calls.js';
import { F, O } from '../../lib/sys/syscalls/constants.js';
import { bash, useJobs } from '../support/job-control.js';
import { procText } from '../support/processes.js';
import { commandVolumes, makeRoot, needsContainer, until } from '../support/rootfs.js';
import { needsRootless, rootless } from '../support/rootless.js';
import { afterwards, binDir, cleanEnv, killAfterwards, needs, needsRoot, remove, run, shell } from '../support/run.js';
import { shellAt } from '../support/terminal.js';

const skip = needsContainer || needs('tmux');
const isolate = join(binDir, 'md-isolate');

/** A window of tmux with a shell in it. */
class Window {
  readonly #socket: string;

  constructor(t: TestContext) {
    const directory = mkdtempSync(join(tmpdir(), 'md-test-'));
    this.#socket = join(directory, 'tmux');
    this.#tmux('-f', '/dev/null', 'new-session', '-d', '-x', '80', '-y', '24', 'env', 'PS1=outer> ', 'sh');
    afterwards(t, () => {
      this.#tmux('kill-server');
      remove(directory);
    });
  }

  #tmux(...args: string[]): string {
    return execFileSync('tmux', ['-S', this.#socket, ...args], {
      encoding: 'utf8',
      env: { ...cleanEnv(), TERM: 'xterm' },
    });
  }

  /** Types text and keys: tmux's names for keys, such as Enter and C-c, anything else to the letter. */
  type(...keys: string[]): void {
    for (const key of keys) this.#tmux('send-keys', key);
  }

  get screen(): string {
    return this.#tmux('capture-pane', '-p');
  }

  async see(pattern: RegExp): Promise<void> {
    try {
      await until(() => pattern.test(this.screen));
    } catch {
      throw new Error(`${pattern} did not appear on\n${this.screen}`);
    }
  }

  resize(columns: number, rows: number): void {
    this.#tmux('resize-window', '-x', String(columns), '-y', String(rows));
  }
}

function rootWith(t: TestContext, ...programs: string[]): string {
  const root = makeRoot(t);
  for (const name of programs) symlinkSync('busybox', join(root, 'bin', name));
  return root;
}

async function containerShell(window: Window, root: string): Promise<void> {
  await window.see(/outer>/);
  window.type(`${isolate} ${root} env "PS1=inner> " sh`, 'Enter');
  await window.see(/^inner>$/m);
}

test('vi edits a file, and leaves the screen as a shell can use it', { skip }, async (t) => {
  const root = makeRoot(t);
  const window = new Window(t);
  await containerShell(window, root);
  window.type('vi /tmp/note', 'Enter');
  await window.see(/^~$/m);
  window.type('ihello', 'Enter', 'world');
  await window.see(/^world$/m);
  window.type('Escape');
  // vi takes Escape and what comes with it for one key. The last line tells that it is no longer inserting.
  await window.see(/^- \/tmp\/note/m);
  window.type(':wq', 'Enter');
  await window.see(/inner>$/m);
  assert.equal(readFileSync(join(root, 'tmp/note'), 'utf8'), 'hello\nworld\n');
  window.type('exit', 'Enter');
  await window.see(/outer>$/m);
});

test('less pages through a file, forth and back', { skip }, async (t) => {
  const root = rootWith(t, 'less');
  const window = new Window(t);
  await containerShell(window, root);
  window.type('seq 1 100 | less', 'Enter');
  await window.see(/^23$/m);
  window.type('Space');
  await window.see(/^46$/m);
  window.type('b');
  await window.see(/^1$/m);
  window.type('q');
  await window.see(/inner>$/m);
});

test('top follows the size of the window', { skip }, async (t) => {
  const root = rootWith(t, 'top');
  const window = new Window(t);
  await containerShell(window, root);
  window.type('top -d 1', 'Enter');
  await window.see(/PID\s+PPID/);
  window.resize(60, 15);
  await window.see(/PID\s+PPID/);
  window.type('q');
  await window.see(/inner>$/m);
  window.type('stty size', 'Enter');
  await window.see(/^15 60$/m);
});

test('Ctrl-C ends and Ctrl-Z stops a job of the container, and the shell outside is not touched', {
  skip,
}, async (t) => {
  const root = makeRoot(t);
  const window = new Window(t);
  await containerShell(window, root);
  window.type('sh -c "echo be\'\'gun; exec sleep 100"', 'Enter');
  await window.see(/^begun$/m);
  window.type('C-c');
  await window.see(/inner>$/m);
  window.type('echo status=$?; clear', 'Enter', 'sh -c "echo a\'\'gain; exec sleep 100"', 'Enter');
  await window.see(/^again$/m);
  window.type('C-z');
  await window.see(/Stopped/);
  window.type('kill %1; exit', 'Enter');
  window.type('exit', 'Enter');
  await window.see(/outer>$/m);
});

/** Seconds that no other test asks for, by which the processes of this one are found. */
const seconds = 1_000_000 + process.pid;
const sleeping = () => execFileSync('sh', ['-c', `pgrep -f "^sleep ${seconds}" || true`]).length > 0;
for (const [what, line] of [
  ['the command', `kill -9 $(pgrep -f "^sleep ${seconds}")`],
  ['the supervisor', `kill -9 $(pgrep -o -f "^[^ ]*node.*md-isolate.*${seconds}")`],
] as const) {
  test(`kill -9 of ${what} leaves the terminal as it was`, { skip: skip || needs('pgrep', 'dash') }, async (t) => {
    const root = makeRoot(t);
    const terminal = await shellAt(t, { argv: ['dash', '-i'] });
    const before = terminal.settings();
    terminal.type(`${isolate} ${root} sleep ${seconds}\r`);
    await until(() => terminal.settings() !== before);
    await until(sleeping);
    execFileSync('sh', ['-c', line]);
    await terminal.see('shell> ');
    await until(() => terminal.settings() === before);
    await terminal.run('echo alive-$((6 * 7))', 'alive-42');
    await until(() => !sleeping());
  });
}

test('where no process more may be started the terminal goes without its guard', { skip: needsRoot }, async () => {
  const lib = join(import.meta.dirname, '../../lib');
  const script = `
    const { prlimit64, setresuid } = await import('${lib}/sys/syscalls/calls.js');
    const { guardTerminal } = await import('${lib}/isolate/stdio/terminal-guard.js');
    const NPROC = 6;
    prlimit64(0, NPROC, Buffer.alloc(16), null);
    setresuid(61234, 61234, 61234);
    guardTerminal(Buffer.alloc(36), Buffer.alloc(36))();
    console.log('unguarded');`;
  const { stdout, stderr } = await run([process.execPath, '--input-type=module', '-e', script]);
  assert.deepEqual([stdout, stderr], ['unguarded\n', '']);
});

test('closing the window ends a command that has no handler for it', {
  skip: needsContainer || needs('pgrep'),
}, async (t) => {
  const root = makeRoot(t);
  const terminal = await shellAt(t);
  terminal.type(`${isolate} ${root} sleep ${seconds}\r`);
  await until(sleeping);
  terminal.end();
  await until(() => !sleeping());
});

test('closing the window leaves a command that has a handler for it the time to put things in order', {
  skip: needsContainer,
}, async (t) => {
  const root = makeRoot(t);
  const script = 'trap "sleep 0.2; : > /tmp/over; exit" HUP; : > /tmp/up; while :; do sleep 0.02; done';
  const terminal = await shellAt(t);
  terminal.type(`${isolate} ${root} sh -c '${script}'\r`);
  await until(() => existsSync(join(root, 'tmp/up')));
  terminal.end();
  await until(() => existsSync(join(root, 'tmp/over')));
});

test('closing the window while the command writes ends both without an abort of Node', {
  skip: needsContainer,
}, async (t) => {
  const root = makeRoot(t);
  const terminal = await shellAt(t);
  const [told, status] = [join(root, 'told'), join(root, 'status')];
  const writing = `${isolate} ${root} sh -c 'while :; do echo in; done'`;
  const script = join(root, 'script');
  writeFileSync(script, `trap : HUP; ${writing} 2>${told}; echo $? >${status}\n`);
  terminal.type(`sh ${script}\r`);
  await terminal.see(/in\r\nin\r\n/);
  terminal.end();
  await until(() => existsSync(status) && readFileSync(status, 'latin1') !== '');
  assert.equal(readFileSync(told, 'latin1'), '');
  // 137 where SIGHUP came first, 141 where writing failed first.
  assert.match(readFileSync(status, 'latin1'), /^(137|141)\n$/);
});

test('the exit status of the command comes back through a terminal', { skip: needsContainer }, async (t) => {
  const root = makeRoot(t);
  const terminal = await shellAt(t);
  const before = terminal.settings();
  await terminal.run(`${isolate} ${root} sh -c 'tty; exit 7'`, /pts\/0[\s\S]*shell> /);
  await terminal.run('echo status=$?', 'status=7');
  // A line end becomes two characters only where the terminal has its settings back.
  await terminal.run(`${isolate} ${root} nosuch`, /nosuch: not found in the container's PATH\r\n/);
  assert.equal(terminal.settings(), before);
});

test('the detach keys leave the container running, and fg attaches again', {
  skip: needsContainer || needs('dash'),
}, async (t) => {
  const root = makeRoot(t);
  // It leaves the settings of the terminal to its jobs, as bash does not.
  const terminal = await shellAt(t, { argv: ['dash', '-i'] });
  const before = terminal.settings();
  terminal.type(`${isolate} ${root} env "PS1=inner> " sh\r`);
  await terminal.see(/\r\ninner> /);
  await terminal.run('x=kept', 'inner> ');
  terminal.type('\x10\x11');
  await terminal.see('Stopped');
  await terminal.run('echo outside-$((6 * 7))', 'outside-42');
  assert.equal(terminal.settings(), before);
  terminal.type('fg\r');
  await terminal.see('md-isolate');
  await terminal.run('echo $x-$((1 + 1))', 'kept-2');
  await terminal.run('exit', 'shell> ');
  await terminal.run('echo outside-$((7 * 7))', 'outside-49');
  assert.equal(terminal.settings(), before);
});

test('an ordinary user has job control and the size of the window in a shell of a container, and around it', {
  skip: needsRootless || needs('bash', 'stty'),
}, async (t) => {
  const { root, uid, container } = await rootless(t);
  const terminal = await shellAt(t, { argv: [...bash], user: uid });
  const before = terminal.settings();
  const words = container(...commandVolumes, '-e', "'PS1=inner> '", root, ...bash);
  terminal.type(`${words.join(' ')}\r`);
  await terminal.see(/\n.*inner> /);
  terminal.resize(33, 99);
  await terminal.run("until stty size | grep '33 99'; do sleep 0.05; done", /\n33 99/);
  await useJobs(terminal, 'md-isolate');
  assert.equal(terminal.settings(), before);
});

test('a command that has closed its terminal may open it again, and write much', {
  skip: needsContainer,
}, async (t) => {
  const root = makeRoot(t);
  const script =
    'exec < /dev/null > /dev/null 2>&1; sleep 0.2; seq 1 5000 > /dev/console; echo last > /dev/tty; exit 4';
  const { stdout, status } = await shell('"$1" -t "$2" sh -c "$3"', [isolate, root, script]);
  assert.match(stdout, /^1\r\n2\r\n[\s\S]*\n5000\r\nlast\r\n$/);
  assert.equal(status, 4);
});

test('when nobody reads the output any more, the terminal hangs up and all ends quietly', {
  skip: needsContainer,
}, async (t) => {
  const root = makeRoot(t);
  const { stdout, stderr } = await shell('{ "$1" -t "$2" yes; echo >&2 status=$?; } | head -n 1', [isolate, root]);
  assert.equal(stdout, 'y\r\n');
  assert.equal(stderr, 'status=141\n');
});

test('a signal reaches the command while nobody reads what it wrote, and ends a wait for the reader', {
  skip: needsContainer,
}, async (t) => {
  const root = makeRoot(t);
  const pipe = fullPipe(t);
  const script = 'trap "echo > /tmp/heard; exit 3" TERM; echo begun; : > /tmp/up; yes & wait';
  const child = spawn(isolate, ['-t', root, 'sh', '-c', script], {
    stdio: ['ignore', pipe, 'ignore'],
    env: cleanEnv(),
  });
  killAfterwards(t, child);
  // Until nothing more fits into the terminal.
  const taken = () => Number(/rchar: (\d+)/.exec(procText(child.pid!, 'io'))?.[1]);
  let before = -1;
  await until(() => {
    const stands = existsSync(join(root, 'tmp/up')) && taken() === before;
    before = taken();
    return stands;
  }, 300);
  child.kill('SIGTERM');
  await until(() => existsSync(join(root, 'tmp/heard')));
  // The command has ended, or is about to.
  await until(() => {
    child.kill('SIGTERM');
    return child.signalCode === 'SIGTERM';
  });
});

/** The writing end of a pipe that nobody reads, and into which nothing more fits. */
function fullPipe(t: TestContext): number {
  const ends = Buffer.alloc(8);
  pipe2(ends, O.CLOEXEC | O.NONBLOCK);
  const [from, to] = [ends.readInt32LE(0), ends.readInt32LE(4)];
  for (const fd of [from, to]) afterwards(t, () => closeSync(fd));
  assert.throws(() => {
    for (;;) writeSync(to, '\n'.repeat(4096));
  }, /EAGAIN/);
  fcntl(to, F.SETFL, O.WRONLY);
  return to;
}

test('a quarter of a gigabyte goes through cat without a terminal, byte for byte', {
  skip: needsContainer,
}, async (t) => {
  const root = makeRoot(t);
  const script =
    'head -c 256000000 /dev/zero | tr "\\0" "\\377" | $0 $1 cat | sha256sum; head -c 256000000 /dev/zero | tr "\\0" "\\377" | sha256sum';
  const [through = '', direct = ''] = execFileSync('sh', ['-c', script, isolate, root], { encoding: 'utf8' })
    .trim()
    .split('\n');
  assert.equal(through, direct);
});

test("a pipe on the caller's stderr stays blocking, since others may have it as well", {
  skip: needsContainer,
}, async (t) => {
  const script = '{ md-isolate -t "$1" true >/dev/null; grep flags /proc/self/fdinfo/2; } 2>&1 </dev/null | cat';
  assert.equal((await shell(script, [makeRoot(t)])).stdout, 'flags:\t01\n');
});
