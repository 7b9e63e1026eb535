/** What /proc says of processes. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { statFields } from '../../lib/sys/proc-status.js';
import { until } from '../support/rootfs.js';
import { killAfterwards, scratch } from '../support/run.js';

test('a process may have a name that looks like the fields after it', async (t) => {
  const program = join(scratch(t), ') Z 1 (');
  symlinkSync('/bin/sleep', program);
  const child = spawn(program, ['1000'], { argv0: 'sleep', stdio: 'ignore' });
  killAfterwards(t, child);
  await until(() => statFields(child.pid!)[0] === 'S');
  assert.equal(statFields(child.pid!)[1], String(process.pid));
});
