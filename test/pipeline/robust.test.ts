/**
 * Nothing is left on the host: after many containers in a row, many at once, and supervisors or commands killed at
 * random. As root. MD_ROBUST=1 in the environment for the full numbers; without it a tenth of them.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { createCgroup, probeCgroups } from '../../lib/isolate/cgroup/cgroup.js';
import { childrenOf, procText, signal } from '../support/processes.js';
import { makeRoot, needsContainer, until } from '../support/rootfs.js';
import { binDir, cleanEnv, killAfterwards } from '../support/run.js';

const skip = needsContainer;
const share = process.env.MD_ROBUST === '1' ? 1 : 0.1;
const isolate = join(binDir, 'md-isolate');

/**
 * What a container could leave on the host; its supervisor's temporary directory is the container's own /tmp here. A
 * namespace lives as long as a process or a mount of it.
 */
interface Traces {
  mounts: string[];
  cgroups: string[];
  processes: string[];
  temporary: string[];
}

function traces(mark: string): Traces {
  return {
    mounts: readFileSync('/proc/self/mountinfo', 'latin1')
      .split('\n')
      .filter((line) => line.includes(mark)),
    cgroups: cgroupsHere(),
    processes: processes(mark),
    temporary: readdirSync(join(mark, 'tmp')),
  };
}

/** The supervisors that were started here: other tests, which run at the same time, have cgroups as well. */
const supervisors = new Set<number>();

/** The cgroups of our own supervisors. */
function cgroupsHere(): string[] {
  const host = probeCgroups();
  const parents = ['memory', 'cpu', 'pids', 'cpuset'].flatMap((name) => {
    const found = host.find(name);
    return found ? [join(found.mount, 'md')] : [];
  });
  return [...new Set(parents)]
    .filter((parent) => existsSync(parent))
    .flatMap((parent) =>
      readdirSync(parent)
        .filter((name) => name.startsWith('md-'))
        .map((name) => join(parent, name)),
    )
    .filter((path) => supervisors.has(Number(/md-\d+\.(\d+)\./.exec(path)?.[1])));
}

/**
 * Processes of our containers, which have the mark in their environment, and their supervisors, which have it as an
 * argument.
 */
function processes(mark: string): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((pid) => {
      try {
        const line = readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ');
        const marked = line.includes(mark) || readFileSync(`/proc/${pid}/environ`, 'latin1').includes(mark);
        return marked ? [`${pid} ${line}`] : [];
      } catch {
        // It has ended since the directory was read.
        return [];
      }
    });
}

interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  stderr: string;
}

function start(root: string, flags: string[], ...argv: string[]): { child: ChildProcess; ended: Promise<Ended> } {
  const child = spawn(isolate, [...flags, '-e', `MD_MARK=${root}`, root, ...argv], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...cleanEnv(), TMPDIR: join(root, 'tmp') },
  });
  supervisors.add(child.pid!);
  let stderr = '';
  child.stderr!.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  const ended = new Promise<Ended>((resolve) => {
    child.once('close', (code, signal) => resolve({ code, signal, stderr }));
  });
  return { child, ended };
}

/** Runs `act`, and compares what is on the host before and after. */
async function leavesNothing(t: TestContext, act: (root: string, mark: string) => Promise<void>): Promise<void> {
  const root = makeRoot(t);
  const mark = root;
  const before = traces(mark);
  await act(root, mark);
  await until(() => processes(mark).length === 0);
  // A killed supervisor leaves its cgroup to the next run, which sweeps: unless a process is still on its way out of
  // it, which has neither arguments nor an environment any more.
  await until(() => {
    createCgroup({ pids: 100 }).remove();
    return cgroupsHere().length === 0;
  });
  assert.deepEqual(traces(mark), before);
}

const limits = ['--pids-limit', '50'];
const variants = [limits, ['--init'], []];

test('many containers in a row leave nothing', { skip }, async (t) => {
  await leavesNothing(t, async (root) => {
    for (let i = 0; i < 500 * share; i++) {
      const { ended } = start(root, variants[i % 3]!, 'sh', '-c', `exit ${i % 7}`);
      const { code, stderr } = await ended;
      assert.equal(code, i % 7, stderr);
    }
  });
});

test('fifty containers at once leave nothing', { skip }, async (t) => {
  await leavesNothing(t, async (root) => {
    const all = Array.from({ length: 50 }, (_, i) =>
      start(root, i % 5 === 0 ? limits : ['--net', 'none'], 'sh', '-c', `sleep 0.2; exit ${i}`),
    );
    const results = await Promise.all(all.map(({ ended }) => ended));
    assert.deepEqual(
      results.map(({ code }) => code),
      results.map((_, i) => i),
      results.map(({ stderr }) => stderr).join(''),
    );
  });
});

test('supervisors killed at random moments take their containers along and leave nothing', { skip }, async (t) => {
  await leavesNothing(t, async (root, mark) => {
    for (let i = 0; i < 200 * share; i++) {
      const { child, ended } = start(root, variants[i % 3]!, 'sh', '-c', 'sleep 1000 & exec sleep 1000');
      // From before its first line to long after the start of the command.
      await new Promise((resolve) => setTimeout(resolve, (i * 37) % 250));
      child.kill('SIGKILL');
      const { signal } = await ended;
      assert.equal(signal, 'SIGKILL');
    }
    await until(() => processes(mark).length === 0);
  });
});

test('the count of processes sees those of a container', { skip }, async (t) => {
  const root = makeRoot(t);
  const { child, ended } = start(root, [], 'sh', '-c', 'sleep 1000 & exec sleep 1000');
  killAfterwards(t, child);
  await until(() => processes(root).filter((line) => !line.includes('md-isolate')).length === 2);
  child.kill('SIGKILL');
  await ended;
  await until(() => processes(root).length === 0);
});

test('commands killed at random moments end their supervisors with 137 and leave nothing', { skip }, async (t) => {
  await leavesNothing(t, async (root) => {
    for (let i = 0; i < 100 * share; i++) {
      const { child, ended } = start(root, variants[i % 3]!, 'sh', '-c', 'sleep 1000 & exec sleep 1001');
      await until(() => childrenOf(child.pid!).length > 0);
      await new Promise((resolve) => setTimeout(resolve, (i * 13) % 60));
      for (const pid of childrenOf(child.pid!)) signal(pid, 'SIGKILL');
      const { code, stderr } = await ended;
      // Killed before its execve, the container could not be made; after it, the command has ended by a signal.
      assert.ok(code === 137 || code === 125, `${code}: ${stderr}`);
    }
  });
});

/**
 * Stops a child while it makes the container, after it has left Node behind: then all signals are blocked there, and
 * that is its name.
 */
async function stopped(supervisor: ChildProcess): Promise<number | undefined> {
  await until(() => childrenOf(supervisor.pid!).length > 0, 1);
  const [child = 0] = childrenOf(supervisor.pid!);
  signal(child, 'SIGSTOP');
  const making = procText(child, 'cmdline') === 'md-isolate\0' && procText(child, 'status').includes('SigBlk:\tff');
  if (making) return child;
  signal(child, 'SIGCONT');
  return undefined;
}

for (const flags of [[], ['--init']]) {
  test(`a signal that comes before the command has begun ends the container ${flags.join(' ')}`, {
    skip,
  }, async (t) => {
    await leavesNothing(t, async (root) => {
      // Enough to do that the moment is met.
      const volumes = Array.from({ length: 100 }, (_, i) => ['--tmpfs', `/tmp/${i}`]).flat();
      for (let tries = 0; ; tries++) {
        assert.ok(tries < 100);
        const { child: supervisor, ended } = start(root, [...flags, '--overlay', ...volumes], 'sleep', '1000');
        killAfterwards(t, supervisor);
        const child = await stopped(supervisor);
        if (child === undefined) {
          supervisor.kill('SIGKILL');
          await ended;
          continue;
        }
        supervisor.kill('SIGTERM');
        await until(() => /^ShdPnd:.*4...$/m.test(procText(child, 'status')));
        signal(child, 'SIGCONT');
        await until(() => supervisor.exitCode !== null);
        assert.equal((await ended).code, 143);
        return;
      }
    });
  });
}

test('a terminated supervisor passes the signal on and leaves nothing', { skip }, async (t) => {
  await leavesNothing(t, async (root) => {
    for (let i = 0; i < 50 * share; i++) {
      const script = 'trap "exit 3" TERM; echo >&2 up; while :; do sleep 0.02; done';
      const { child, ended } = start(root, limits, 'sh', '-c', script);
      await new Promise((resolve) => child.stderr!.once('data', resolve));
      child.kill('SIGTERM');
      assert.equal((await ended).code, 3);
    }
  });
});
