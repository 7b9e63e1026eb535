/** What the supervisor does for a command whose window was closed, and when it has ended. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { endUnlessHandled } from '../../lib/isolate/supervisor/signals.js';
import { exitStatus } from '../../lib/sys/process/wait.js';
import { until } from '../support/rootfs.js';
import { killAfterwards } from '../support/run.js';

const skip = spawnSync('env', ['--block-signal=HUP', 'true']).status !== 0 && 'env(1) has no --block-signal here';

test('a status of wait(2) is the exit status, or 128 and the signal, whether or not it left a core file', () => {
  assert.deepEqual([0x0000, 0x0700, 0xff00, 0x000f, 0x008b].map(exitStatus), [0, 7, 255, 143, 139]);
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
