/**
 * Somebody who renames a file without end. The kernel then cannot be sure of where a `..` leads: openat2(2), EAGAIN.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { killAfterwards } from './run.js';

/** Begins in a directory, and goes on until the test ends. */
export async function renameWithoutEnd(t: TestContext, directory: string): Promise<void> {
  const loop = `const { renameSync, writeFileSync } = require('node:fs');
    const [a, b] = ${JSON.stringify([join(directory, 'a'), join(directory, 'b')])};
    writeFileSync(a, '');
    process.stdout.write('.');
    for (;;) { renameSync(a, b); renameSync(b, a); }`;
  const renaming = spawn(process.execPath, ['-e', loop], { stdio: ['ignore', 'pipe', 'inherit'] });
  killAfterwards(t, renaming);
  await once(renaming.stdout, 'data');
}
