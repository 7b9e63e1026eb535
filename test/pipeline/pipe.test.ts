/** What holds for every command of the pipe: how the document, failures and vanished neighbours are met. */
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoName } from '../../lib/base/failure.js';
import { fcntl } from '../../lib/sys/syscalls/calls.js';
import { F, O } from '../../lib/sys/syscalls/constants.js';
import { image, layer, put } from '../support/image.js';
import { signal } from '../support/processes.js';
import { pull } from '../support/pull.js';
import { type Registry, registryFor, startRegistry } from '../support/registry.js';
import { until } from '../support/rootfs.js';
import { afterwards, binDir, cleanEnv, md, needs, run, scratch, shell } from '../support/run.js';
import { shellAt } from '../support/terminal.js';

const stages = ['md-token', 'md-manifest', 'md-fetch-layer', 'md-unpack'];
const commands = [...stages, 'md-isolate'];
const wrappers = ['md-pull', 'md-run'];

let registry: Registry;
/** Of an image of two layers. */
let name: string;

before(async () => {
  registry = await startRegistry();
  name = registry.image('library/two');
  const built = image({ layers: [layer([{ name: 'a', data: 'one' }]), layer([{ name: 'b', data: 'two' }])] });
  await put(registry, 'library/two', ['latest'], built);
});
after(() => registry.close());

/** A directory of the test's own, and a store in it. */
function place(t: TestContext) {
  const cwd = scratch(t);
  return { cwd, env: { MD_HOME: join(cwd, 'home') } };
}

/** A registry with an image whose only layer stalls, and what asks for that. */
async function stalling(t: TestContext) {
  const registry = await registryFor(t);
  const built = image({ layers: [layer([{ name: 'a', data: 'x'.repeat(100_000) }], { compression: 'none' })] });
  await put(registry, 'library/slow', ['latest'], built);
  const blob = new RegExp(`blobs/${built.layers[0]!.descriptor.digest}`);
  registry.faults.add({ on: blob, stallAfter: 512 });
  return { registry, name: registry.image('library/slow'), blob };
}

for (const command of [...commands, ...wrappers]) {
  for (const flag of ['--help', '--version']) {
    test(`${command} ${flag} says that stdout cannot be written, and nothing else`, async () => {
      const { status, stderr } = await shell(`${command} ${flag} >/dev/full`);
      assert.equal(status, command === 'md-isolate' || command === 'md-run' ? 125 : 74);
      assert.match(stderr, new RegExp(`^${command}: [^\n]*stdout[^\n]*\n$`));
    });
  }
}

for (const [command, status] of [
  ['md-pull', 64],
  ['md-run', 125],
] as const) {
  test(`${command} ends with its own status where stdout and stderr are closed`, async () => {
    const { stdout } = await shell(`(${command} --no-such-flag <&- >&- 2>&-) || echo $?`);
    assert.equal(stdout, `${status}\n`);
  });
}

for (const command of stages.slice(1)) {
  const operands = command === 'md-unpack' ? ['rootfs'] : [];

  test(`a terminal on the stdin of ${command} is a usage error`, { skip: needs('script') }, async (t) => {
    const cwd = scratch(t);
    const line = [join(binDir, command), ...operands].join(' ');
    // script(1) gives the command a terminal; both outputs come together.
    const { status, stdout } = await run(['script', '-qec', line, '/dev/null'], { cwd });
    assert.equal(status, 64);
    assert.match(stdout, /stdin: a document is expected here, and this is a terminal/);
  });

  test(`${command} passes an error on, says nothing, and ends with its status`, async (t) => {
    const line = '{"error":{"command":"md-token","code":69,"message":"no route","extra":[1]}}\n';
    const result = await md(command, operands, { stdin: line, cwd: scratch(t) });
    assert.deepEqual([result.status, result.stderr, result.stdout], [69, '', line]);
  });
}

test('a pipe ends with the status of the stage that failed, and one message, in any shell', async (t) => {
  const result = await shell(`${pull} | md-unpack rootfs`, [`${name}:nope`], place(t));
  assert.equal(result.status, 66);
  assert.match(result.stderr, /^md-manifest: manifest of \S+:nope: .*not found: HTTP 404.*\n$/);
  assert.match(result.stdout, /^\{"error":\{"command":"md-manifest","code":66,.*\n$/);
});

test('an upstream that was killed between two layers is told from one that ended well', async (t) => {
  const where = place(t);
  const result = await shell(`${pull} | head -n 2 | md-unpack rootfs`, [name], where);
  assert.equal(result.status, 65, result.stderr);
  assert.match(result.stderr, /1 of 2 layers/);
  assert.equal((await run(['ls', '-A', where.cwd])).stdout, 'home\n');
});

test('md-unpack says which stage is missing when no layer is announced', async (t) => {
  const result = await shell('md-token "$1" | md-manifest | md-unpack rootfs', [name], place(t));
  assert.equal(result.status, 65);
  assert.match(result.stderr, /0 of 2 layers; md-fetch-layer announces them: pipe its output in here\n$/);
});

test('md-unpack names the directory that is missing above DIR', async (t) => {
  const cwd = scratch(t);
  const { status, stderr } = await md('md-unpack', ['above/tree'], { cwd, stdin: '{"layer":{"path":"a"}}\n' });
  const why = `${join(cwd, 'above')}: no such file or directory (ENOENT); mkdir -p makes it`;
  assert.deepEqual([status, stderr], [74, `md-unpack: ${why}\n`]);
});

test('a stage whose reader has gone stops, though it has nothing to write yet', async (t) => {
  const { name } = await stalling(t);
  const script = '(md-token "$1" | md-manifest) > doc; (md-fetch-layer < doc; echo $? >&2) | sleep 0.2';
  const result = await shell(script, [name], place(t));
  assert.deepEqual([result.timedOut, result.stderr], [false, '141\n']);
});

test('a wrapper that is killed takes its pull along', async (t) => {
  const cwd = scratch(t);
  const { registry, name, blob } = await stalling(t);
  for (const wrapper of wrappers) {
    const asked = registry.requests.length;
    const child = spawn(join(binDir, wrapper), [name], {
      env: { ...cleanEnv(), MD_HOME: join(cwd, wrapper) },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    afterwards(t, () => signal(-child.pid!, 'SIGKILL'));
    await until(() => registry.requests.slice(asked).some(({ url }) => blob.test(url)));
    child.kill('SIGTERM');
    // The stages have stderr open as long as they are there.
    await once(child, 'close', { signal: AbortSignal.timeout(60_000) });
  }
});

test('a stage whose reader has gone stops, though its document has not come yet', async (t) => {
  const script = 'mkfifo silent; exec 3<>silent; md-manifest <silent 3<&- | true; echo ended';
  const result = await shell(script, [], { cwd: scratch(t) });
  assert.equal(result.timedOut, false);
  assert.deepEqual([result.stdout, result.stderr], ['ended\n', '']);
});

test('a failure is told where the reader has gone, too', { skip: needs('mkfifo') }, async (t) => {
  const script = 'mkfifo f; exec 3<>f 4>f 3<&-; md-manifest </dev/null >&4; echo $?';
  const { stdout, stderr } = await shell(script, [], { cwd: scratch(t) });
  assert.equal(stdout, '65\n');
  assert.match(stderr, /^md-manifest: document on stdin: .*\n$/);
});

/** Both ends of a pipe, as another process may have made them: a read or a write that would have to wait fails. */
function nonBlockingPipe(t: TestContext): number {
  const path = join(scratch(t), 'pipe');
  execFileSync('mkfifo', [path]);
  const pipe = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  afterwards(t, () => closeSync(pipe));
  return pipe;
}

/**
 * By a shell and as descriptor 3, since Node makes 0, 1 and 2 of its children blocking. With libuv 1.53 it does so with
 * all that it hands on, and this one is open here as well: a read would wait for ever.
 */
function onPipe(pipe: number, script: string): ChildProcess {
  const child = spawn('sh', ['-c', script], { env: cleanEnv(), stdio: ['ignore', 'ignore', 'inherit', pipe] });
  fcntl(pipe, F.SETFL, O.RDWR | O.NONBLOCK);
  return child;
}

test('a stage waits for its document on a pipe that is non-blocking', { skip: needs('mkfifo') }, async (t) => {
  const pipe = nonBlockingPipe(t);
  const ended = once(onPipe(pipe, 'exec md-manifest <&3'), 'exit');
  await sleep(500);
  writeSync(pipe, '{"error":{"command":"md-token","code":69,"message":"none"}}\n');
  assert.deepEqual(await ended, [69, null]);
});

test('a stage waits for its reader on a pipe that is non-blocking', { skip: needs('mkfifo') }, async (t) => {
  const pipe = nonBlockingPipe(t);
  assert.throws(() => {
    for (;;) writeSync(pipe, '\n'.repeat(4096));
  }, /EAGAIN/);
  const child = onPipe(pipe, 'exec md-unpack --help >&3');
  const ended = once(child, 'exit');
  // By then it has found the pipe full.
  await sleep(1000);
  const buffer = Buffer.alloc(65536);
  let text = '';
  for (let over = false; !over; await sleep(5)) {
    // The last bytes are there when it has ended.
    over = child.exitCode !== null;
    try {
      for (;;) text += buffer.toString('utf8', 0, readSync(pipe, buffer));
    } catch (error) {
      assert.equal(errnoName(error), 'EAGAIN');
    }
  }
  assert.deepEqual(await ended, [0, null]);
  assert.equal(text.trimStart(), (await md('md-unpack', ['--help'])).stdout);
});

test('a signal ends a stage that waits for its document, as it does any program', async (t) => {
  const cwd = scratch(t);
  const child = spawn(join(binDir, 'md-manifest'), [], { cwd, env: cleanEnv(), stdio: ['pipe', 'pipe', 'inherit'] });
  await sleep(500);
  child.kill('SIGTERM');
  assert.deepEqual(await once(child, 'exit'), [null, 'SIGTERM']);
});

test('closing the window ends md-unpack as a signal does, without a crash of Node, and leaves nothing', {
  skip: needs('setsid', 'mkfifo'),
}, async (t) => {
  const cwd = scratch(t);
  const [around, lines, status] = [join(cwd, 'around'), join(cwd, 'lines'), join(cwd, 'status')];
  mkdirSync(around);
  execFileSync('mkfifo', [lines]);
  // Open for writing as well, so that its end never comes.
  const fifo = openSync(lines, 'r+');
  afterwards(t, () => closeSync(fifo));
  writeFileSync(join(cwd, 'a.tar.gz'), layer([{ name: 'a', data: 'one' }]).bytes);
  writeSync(fifo, `{"layer":{"path":"${join(cwd, 'a.tar.gz')}"}}\n`);
  const script = `trap : HUP; ${join(binDir, 'md-unpack')} ${join(around, 'tree')} <${lines}; echo $? >${status}\n`;
  writeFileSync(join(cwd, 'script'), script);
  const terminal = await shellAt(t);
  terminal.type(`sh ${join(cwd, 'script')}\r`);
  await until(() => readdirSync(around).some((name) => existsSync(join(around, name, 'a'))));
  terminal.end();
  await until(() => existsSync(status) && readFileSync(status, 'latin1') !== '');
  assert.equal(readFileSync(status, 'latin1'), '129\n');
  assert.deepEqual(readdirSync(around), []);
});

test('md-pull prints the path, and takes what follows two dashes for operands', async (t) => {
  const where = place(t);
  const pulled = await md('md-pull', ['--jobs=2', '--', name, 'tree'], where);
  assert.deepEqual([pulled.status, pulled.stdout, pulled.stderr], [0, `${join(where.cwd, 'tree')}\n`, '']);
  const odd = await md('md-pull', ['--', '--offline'], where);
  assert.equal(odd.status, 64);
  assert.match(odd.stderr, /^md-fetch-layer: .*\n$/);
});

test('a mode of progress that there is not is told once, though two stages have it', async (t) => {
  const result = await md('md-pull', ['--progress', 'foo', 'x'], { env: { MD_HOME: scratch(t) } });
  assert.equal(result.status, 64);
  assert.equal(result.stderr, 'md-pull: --progress: foo is not a mode; bar, json or none; see --help\n');
});
