/** The steps that open the working directory, without a container around them. */

import assert from 'node:assert/strict';
import { mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { step } from '../../lib/isolate/child/step.js';
import { workingDirectory } from '../../lib/isolate/filesystem/root.js';
import { Program } from '../../lib/sys/native-code/program.js';
import { Result } from '../../lib/sys/native-code/step.js';
import { exit_group, fchdir, openat, wait4 } from '../../lib/sys/syscalls/calls.js';
import { AT, O } from '../../lib/sys/syscalls/constants.js';
import { renameWithoutEnd } from '../support/renaming.js';
import { scratch } from '../support/run.js';

test('a working directory behind links with `..` is found also while somebody renames files without end', async (t) => {
  const root = scratch(t);
  mkdirSync(join(root, 'srv/app'), { recursive: true });
  symlinkSync(`srv/${'../srv/'.repeat(500)}app`, join(root, 'work'));
  await renameWithoutEnd(t, root);
  const fd = new Result('root');
  const program = new Program([
    step(openat, [AT.FDCWD, root, O.PATH | O.DIRECTORY, 0], 'The root.', { saves: fd }),
    ...Array.from({ length: 500 }, () => {
      const next = step(fchdir, [fd], 'The step after it.');
      return [...workingDirectory(fd, '/work', next).steps, next];
    }).flat(),
    step(exit_group, [0], 'The end.'),
  ]);
  wait4(program.start(0), null, 0, null);
  assert.equal(program.failure()?.error.message, undefined);
});
