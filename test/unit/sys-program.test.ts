import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { batchListings, entrances, listings } from '../../lib/sys/native-code/machine-code.js';
import { Program } from '../../lib/sys/native-code/program.js';
import { Block, compare, pointerArray, Result, stepOf } from '../../lib/sys/native-code/step.js';
import * as sys from '../../lib/sys/syscalls/calls.js';
import { AT, F, O, SIG } from '../../lib/sys/syscalls/constants.js';
import { needs, scratch } from '../support/run.js';

const exit = (status: number) => stepOf(sys.exit_group, [status]);

/** Runs a program in a child of this process; returns its exit status, negative for a signal. */
function runChild(program: Program): number {
  const pid = program.start(0);
  const status = Buffer.alloc(4);
  sys.wait4(pid, status, 0, null);
  const wait = status.readInt32LE();
  return (wait & 0x7f) === 0 ? wait >> 8 : -(wait & 0x7f);
}

test('where memory may not become executable, the message says what forbids it', (t) => {
  // PR_SET_MDWE with PR_MDWE_REFUSE_EXEC_GAIN, what MemoryDenyWriteExecute of a unit sets; of Linux 6.3.
  const script = `
    const { prctl } = await import('${new URL('../../lib/sys/syscalls/calls.js', import.meta.url)}');
    const { mapCode } = await import('${new URL('../../lib/sys/native-code/map-code.js', import.meta.url)}');
    if (prctl.try(65, 1, 0, 0, 0) < 0) process.stdout.write('not there');
    else try { mapCode(Buffer.alloc(16)); } catch (error) { process.stdout.write(error.message); }`;
  const node = ['--jitless', '--no-warnings', '--input-type=module', '--eval', script];
  const message = execFileSync(process.execPath, node, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  if (message === 'not there') t.skip('the kernel has no PR_SET_MDWE');
  else assert.match(message, /^mprotect\(.*\(EACCES\); .*MemoryDenyWriteExecute .*sudo setsebool allow_execmem 1$/);
});

test('a child makes the calls in order, and the parent reads each result', () => {
  const steps = [stepOf(sys.umask, [0o27]), stepOf(sys.umask, [0o22]), exit(7)];
  const program = new Program(steps);
  assert.equal(runChild(program), 7);
  assert.equal(program.result(steps[1]!), 0o27);
  assert.equal(program.result(steps[2]!), undefined);
  assert.equal(program.failure(), undefined);
});

test('the result of a call is an argument of later ones', (t) => {
  const path = join(scratch(t), 'file');
  const fd = new Result('file');
  const open = stepOf(sys.openat, [AT.FDCWD, path, O.WRONLY | O.CREAT, 0o600], { saves: fd });
  const text = Buffer.from('from the child');
  const program = new Program([open, stepOf(sys.write, [fd, text, text.length]), stepOf(sys.close, [fd]), exit(0)]);
  assert.equal(program.show(open), `openat(AT_FDCWD, "${path}", O_WRONLY|O_CREAT, 0600)`);
  assert.equal(runChild(program), 0);
  assert.equal(readFileSync(path, 'utf8'), 'from the child');
  assert.match(program.show(program.steps[2]!), /^close\([0-9]+\)$/);
});

test('memory that the child fills is seen by the parent', () => {
  const block = new Block(new Uint8Array(64));
  const program = new Program([stepOf(sys.getcwd, [block, 64]), exit(0)]);
  assert.equal(runChild(program), 0);
  assert.equal(program.memory(block).toString().split('\0')[0], process.cwd());
});

test('numbers cross whole: negative ones, 32 bits, more than 32 bits, more than 53 bits', () => {
  for (const value of [0, -1, -100, 2 ** 31, 2 ** 32 - 1, 2 ** 32 + 5, 2 ** 47 - 8, 2n ** 63n - 1n, -(2n ** 63n)]) {
    const cell = new Block(new Uint8Array(8));
    Buffer.from(cell.content.buffer).writeBigInt64LE(BigInt(value));
    const program = new Program([stepOf(compare, [cell, -1, value, 71]), exit(3)]);
    assert.equal(runChild(program), 3, String(value));
  }
});

test('an error ends the child, and the parent knows which step and why', () => {
  const failing = stepOf(sys.openat, [AT.FDCWD, '/no/such/file', O.RDONLY, 0]);
  const program = new Program([stepOf(sys.umask, [0]), failing, exit(0)]);
  assert.equal(runChild(program), 125);
  const failure = program.failure();
  assert.equal(failure?.step, failing);
  assert.equal(failure?.error.code, 'ENOENT');
  assert.match(failure?.error.message ?? '', /^openat\(AT_FDCWD, "\/no\/such\/file", 0, 00\): no such file/);
});

test('the call is known for which a child was killed', () => {
  // PR_SET_SECCOMP with SECCOMP_MODE_STRICT: four calls are left.
  const killing = stepOf(sys.umask, [0]);
  const program = new Program([stepOf(sys.prctl, [22, 1, 0, 0, 0]), killing, exit(0)]);
  assert.equal(runChild(program), -9);
  assert.equal(program.failure(), undefined);
  assert.equal(program.unfinished(), killing);
});

test('an error may be passed over, or lead to another step, and success may lead elsewhere', () => {
  const there = exit(4);
  const bad = ['/no/such/file', O.RDONLY, 0] as const;
  assert.equal(runChild(new Program([stepOf(sys.openat, [AT.FDCWD, ...bad], { onError: 'continue' }), exit(3)])), 3);
  const jump = stepOf(sys.openat, [AT.FDCWD, ...bad], { onError: there });
  assert.equal(runChild(new Program([jump, exit(3), there])), 4);
  const skip = stepOf(sys.umask, [0], { next: there });
  assert.equal(runChild(new Program([skip, exit(3), there])), 4);
});

test('hundreds of thousands of steps that lead far away are written down in a moment', () => {
  const last = exit(0);
  const jumps = Array.from({ length: 200_000 }, () => stepOf(sys.umask, [0], { onError: last }));
  const before = process.cpuUsage();
  const program = new Program([...jumps, last]);
  for (const jump of jumps) assert.equal(program.result(jump), undefined);
  // To look for each among all the others would take more than ten.
  assert.ok(process.cpuUsage(before).user < 5_000_000);
});

test('a comparison passes what is equal under its mask and fails with the errno given for the rest', () => {
  const memory = new Block(Buffer.from([0x2f, 0xff, 1, 2, 3, 4, 5, 6]));
  const equal = new Program([stepOf(compare, [memory, 0xff, 0x2f, 2]), exit(0)]);
  assert.equal(runChild(equal), 0);
  const different = new Program([stepOf(compare, [memory, 0xff, 0x30, 2]), exit(0)]);
  assert.equal(runChild(different), 125);
  assert.equal(different.failure()?.error.code, 'ENOENT');
});

test('blocks may hold the addresses of other blocks: argv and envp of a command', (t) => {
  const path = join(scratch(t), 'out');
  const program = new Program([
    stepOf(sys.rt_sigprocmask, [SIG.SETMASK, Buffer.alloc(8), null, 8]),
    stepOf(sys.execve, [
      '/bin/sh',
      pointerArray(['sh', '-c', `printf '%s|' "$0" "$A" > ${path}`, 'it']),
      pointerArray(['A=1 2']),
    ]),
  ]);
  assert.equal(runChild(program), 0);
  assert.equal(readFileSync(path, 'utf8'), 'it|1 2|');
});

test('a result may be written into a block, for calls that take structures', () => {
  const fd = new Result('null');
  // struct pollfd: fd, events, revents. The result takes 8 bytes, and its upper half is 0: no events.
  const pollfd = new Block(new Uint8Array(16), [{ offset: 0, value: fd }]);
  const program = new Program([
    stepOf(sys.openat, [AT.FDCWD, '/dev/null', O.RDONLY, 0], { saves: fd }),
    stepOf(sys.ppoll, [pollfd, 1, Buffer.alloc(16), null, 8]),
    exit(0),
  ]);
  assert.equal(runChild(program), 0);
  assert.ok(program.memory(pollfd).readInt32LE() > 2);
});

test('a result with two places, a part that is not aligned and a second start are mistakes that are told', () => {
  const fd = new Result('fd');
  const at = (offset: number) => new Block(new Uint8Array(16), [{ offset, value: fd }]);
  assert.throws(() => new Program([stepOf(sys.ppoll, [at(0), 1, at(8), null, 8])]), /fd has two places/);
  assert.throws(() => new Program([stepOf(sys.ppoll, [at(2), 1, null, null, 8])]), /not aligned/);
  const program = new Program([exit(0)]);
  runChild(program);
  assert.throws(() => program.start(0), /a program runs once/);
});

test('arguments of any size fit: that they are too long is for the kernel to say', () => {
  const execve = stepOf(sys.execve, ['/bin/true', pointerArray(['true', 'x'.repeat(20_000_000)]), pointerArray([])], {
    onError: 'continue',
  });
  const program = new Program([execve, exit(0)]);
  assert.equal(runChild(program), 0);
  assert.equal(program.result(execve), -7); // E2BIG
});

test('no handler of this process runs in the child: signals wait until its program lets them in', () => {
  let heard = 0;
  const hear = () => {
    heard += 1;
  };
  process.on('SIGUSR1', hear);
  const pid = new Result('pid');
  const byDefault = Buffer.alloc(32);
  const program = new Program([
    stepOf(sys.setsid, [], { saves: pid }),
    stepOf(sys.kill, [pid, 10]),
    stepOf(sys.rt_sigaction, [10, byDefault, null, 8]),
    stepOf(sys.rt_sigprocmask, [SIG.SETMASK, Buffer.alloc(8), null, 8]),
    exit(0),
  ]);
  assert.equal(runChild(program), -10);
  process.off('SIGUSR1', hear);
  assert.equal(heard, 0);
});

test('a thousand children are started while other threads allocate and collect garbage, and none hangs', async () => {
  const busy = `let keep = []; setInterval(() => { for (let i = 0; i < 2e3; i++) keep.push({ i, s: 'x' + i }); if (keep.length > 1e5) keep = []; }, 2);`;
  const workers = [new Worker(busy, { eval: true }), new Worker(busy, { eval: true })];
  const ballast = Array.from({ length: 200_000 }, (_, i) => ({ i, text: `ballast ${i}` }));
  try {
    for (let i = 0; i < 1000; i++) {
      const program = new Program([stepOf(sys.fcntl, [0, F.GETFD, 0]), exit(i % 100)]);
      assert.equal(runChild(program), i % 100);
      ballast[i] = { i, text: `changed ${i}` };
      if (i % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
});

const assemblers: Record<keyof typeof listings, { as: string; objcopy: string; prefix: string }> = {
  x64: { as: 'as', objcopy: 'objcopy', prefix: '.intel_syntax noprefix\n' },
  arm64: { as: 'aarch64-linux-gnu-as', objcopy: 'aarch64-linux-gnu-objcopy', prefix: '' },
};

const texts = Object.entries({ 'machine code': listings, entrance: entrances, batch: batchListings }).flatMap(
  ([what, set]) => (['x64', 'arm64'] as const).map((arch) => ({ arch, listing: set[arch], what })),
);
for (const { arch, listing, what } of texts) {
  const { as, objcopy, prefix } = assemblers[arch];
  const foreign = arch === 'x64' && process.arch !== 'x64' && 'as is for another processor';
  test(`the ${arch} ${what} is what its assembly says`, { skip: needs(as, objcopy) || foreign }, () => {
    const directory = mkdtempSync(join(tmpdir(), 'md-as-'));
    const at = (name: string) => join(directory, name);
    try {
      const lines = listing.split('\n').map((line) => line.replace(/;.*$/, '').replace(/^ {2}[0-9a-f]+ /, ''));
      writeFileSync(at('a.s'), `${prefix}${lines.join('\n')}\n`);
      execFileSync(as, ['-o', at('a.o'), at('a.s')]);
      execFileSync(objcopy, ['-O', 'binary', '-j', '.text', at('a.o'), at('a.bin')]);
      const hex = [...listing.matchAll(/^ {2}([0-9a-f]+)/gm)].map(([, bytes]) => bytes).join('');
      assert.ok(hex.length > 100);
      assert.equal(readFileSync(at('a.bin')).toString('hex'), hex);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
}
