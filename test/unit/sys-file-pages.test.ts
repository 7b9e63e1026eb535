import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { cleanEnv } from '../support/run.js';

const modulePath = new URL('../../lib/sys/process/file-pages.js', import.meta.url).href;

/** Resident pages of files in kB, before and after, of a Node that goes on to work. It reads its program from stdin. */
const program = `
  import(${JSON.stringify(modulePath)}).then(({ releaseFilePages }) => {
    const resident = () => Number(/RssFile:\\s*(\\d+)/.exec(require('node:fs').readFileSync('/proc/self/status', 'utf8'))[1]);
    const before = resident();
    releaseFilePages();
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

test('the pages of programs and libraries are given back, and come back when they are needed', () => {
  const { before, after, worked } = residentIn(cleanEnv());
  assert.ok(after < before - 10_000, `${before} kB, then ${after} kB`);
  assert.equal(worked, 'still here');
});

test('a Node whose code is in memory of no file goes on to work', () => {
  const { worked } = residentIn({ ...cleanEnv(), NODE_OPTIONS: '--use-largepages=silent' });
  assert.equal(worked, 'still here');
});
