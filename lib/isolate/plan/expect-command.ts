/** Whether a directory can be meant as the root filesystem of a command, before anything is made in it. */
import { lstatSync } from 'node:fs';
import { join, posix } from 'node:path';
import { Failure, ignoringSystemErrors } from '../../base/failure.js';
import { Status } from '../../base/status.js';
import { candidates } from '../child/exec.js';
import { whatRootIs } from '../settings/root.js';
import type { Settings } from '../settings/settings.js';

/**
 * Throws `Failure` 127 where nothing of the way to the command is there, as for `md-isolate . ls` in a directory of
 * sources: mount points would be made in it, and the command not be found then.
 */
export function expectCommand({ root, argv, env, workingDirectory, overlay, volumes }: Settings): void {
  const [command = ''] = argv;
  // With an overlay nothing is made in it, and a volume may bring the command. What is no text is left to execve(2).
  if (overlay || volumes.length > 0 || typeof command !== 'string') return;
  const paths = candidates(command, env).map((path) => posix.resolve(workingDirectory, String(path)));
  const tops = [...new Set(paths.map((path) => path.split('/')[1] ?? ''))];
  // A tree in which a container has run has proc, and nothing more is made there.
  if (tops.length === 0 || [...tops, 'proc'].some((top) => mayBeThere(join(root, top)))) return;
  throw new Failure(Status.notFound, command, `not found: ${root} has no ${tops.join(', ')}`, { hint: whatRootIs });
}

function mayBeThere(path: string): boolean {
  return ignoringSystemErrors(() => lstatSync(path, { throwIfNoEntry: false }) !== undefined) ?? true;
}
