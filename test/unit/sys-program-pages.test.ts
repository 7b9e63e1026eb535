import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { cleanEnv } from '../support/run.js';

const modulePath = new URL('../../lib/sys/process/program-pages.js', import.meta.url).href;

/** Resident pages of files in kB, before and after, of a Node that goes on to work. It reads its program from stdin. */
const program = `
  import(${JSON.stringify(modulePath)}).then(({ releaseProgramPages }) => {
    const resident = () => Number(/RssFile:\\s*(\\d+)/.exec(require('node:fs').readFileSync('/proc/self/status', 'utf8'))[1]);
    const before = resident();
    releaseProgramPages();
    const after = resident();
    const worked = require('node:zlib').gunzipSync(require('node:zlib').gzipSync('still here')).toString();
    console.log(JSON.stringify({ before, after, worked }));
  });
`;

function residentIn(env: NodeJS.ProcessEnv) {
  const { stdout, stderr, status } = spawnSync(process.execPath, ['-'], { input: program, env, encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout) as { before: number; after: number; worked: string };
}

test('the pages of the program are given back, and come back when they are needed', () => {
  const { before, after, worked } = residentIn(cleanEnv());
  assert.ok(after < before - 10_000, `${before} kB, then ${after} kB`);
  assert.equal(worked, 'still here');
});

test('with options for Node they stay: its code may be in memory of no file', () => {
  const { before, after, worked } = residentIn({ ...cleanEnv(), NODE_OPTIONS: '--use-largepages=silent' });
  assert.ok(after >= before, `${before} kB, then ${after} kB`);
  assert.equal(worked, 'still here');
});
