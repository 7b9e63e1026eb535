/** What the supervisor does for a command whose window was closed, and when it has ended. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { endUnlessHandled, Signals } from '../../lib/isolate/supervisor/signals.js';
import { exitStatus } from '../../lib/sys/process/wait.js';
import { until } from '../support/rootfs.js';
import { killAfterwards, scratch } from '../support/run.js';

const skip = spawnSync('env', ['--block-signal=HUP', 'true']).status !== 0 && 'env(1) has no --block-signal here';

test('a status of wait(2) is the exit status, or 128 and the signal, whether or not it left a core file', () => {
  assert.deepEqual([0x0000, 0x0700, 0xff00, 0x000f, 0x008b].map(exitStatus), [0, 7, 255, 143, 139]);
});

test('each signal that a caller or a terminal sends is passed on, one that came early as soon as there is somebody', {
  timeout: 20_000,
}, async (t) => {
  const sent = ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM', 'SIGUSR1', 'SIGUSR2', 'SIGALRM', 'SIGPWR'] as const;
  for (const signal of sent) {
    // SIGQUIT may leave a core file.
    const command = spawn('sleep', ['1000'], { stdio: 'ignore', cwd: scratch(t) });
    killAfterwards(t, command);
    const ended = once(command, 'exit');
    const signals = new Signals(true);
    const came = once(process, signal);
    process.kill(process.pid, signal);
    await came;
    signals.to(command.pid!);
    signals.end();
    assert.deepEqual(await ended, [null, signal]);
  }
  const caught = (names: readonly NodeJS.Signals[]) => names.filter((name) => process.listenerCount(name) > 0);
  const ofTerminal = ['SIGCONT', 'SIGWINCH'] as const;
  for (const hasTerminal of [true, false]) {
    const signals = new Signals(hasTerminal);
    assert.deepEqual(caught([...sent, ...ofTerminal]), hasTerminal ? sent : [...sent, ...ofTerminal]);
    signals.end();
    assert.deepEqual(caught([...sent, ...ofTerminal]), []);
  }
});

test('a command that neither ignores nor blocks SIGHUP is ended, any other is not', { skip }, async (t) => {
  for (const [flag, signal] of [
    ['--default-signal=HUP', 'SIGKILL'],
    ['--ignore-signal=HUP', 'SIGTERM'],
    ['--block-signal=HUP', 'SIGTERM'],
  ] as const) {
    const command = spawn('env', [flag, 'sleep', '1000'], { stdio: 'ignore' });
    killAfterwards(t, command);
    const ended = once(command, 'exit');
    await until(() => readFileSync(`/proc/${command.pid}/comm`, 'latin1') === 'sleep\n');
    endUnlessHandled(command.pid!);
    command.kill('SIGTERM');
    assert.deepEqual(await ended, [null, signal], flag);
  }
  // It may have ended by itself already.
  assert.doesNotThrow(() => endUnlessHandled(2 ** 22));
});
