/** Waiting for whoever reads stdout. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { root, run, scratch } from '../support/run.js';

test('a stage does not wait for one that waits for its end', async (t) => {
  const script = `
    const { nextStageBegun, writeLine } = await import('${pathToFileURL(join(root, 'dist/lib/pipe/output.js'))}');
    // A second passes with each look at the clock.
    let now = 0;
    process.uptime = () => now++;
    writeLine('{}');
    await nextStageBegun();`;
  // The shell holds the pipe open, and reads nothing.
  const shell = 'mkfifo "$1" && exec 3<>"$1" && "$2" --input-type=module -e "$3" >"$1"';
  const argv = ['sh', '-c', shell, 'sh', join(scratch(t), 'pipe'), process.execPath, script];
  const { status, stderr, timedOut } = await run(argv, { timeout: 20_000 });
  assert.deepEqual([status, stderr, timedOut], [0, '', false]);
});
