/**
 * Pulling and pruning keep out of each other's way. Each leaves a file with the mark of its process in $MD_HOME/partial, and
 * looks for files of the other kind only then: of two that begin at the same moment one sees the other at least. A process
 * that was killed leaves a mark of nobody who is alive, and the next pull sweeps it. Where there is no store yet, there is
 * nothing to be lost, and no mark.
 */

import * as fs from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { monotonic } from '../pipe/clock.js';
import { errnoName, Failure, failureOf } from '../pipe/failure.js';
import { Status } from '../pipe/status.js';
import { warn } from '../pipe/trace.js';
import { storeHome } from './home.js';
import { isAbandoned, ownPath } from './own-files.js';

const pollMs = 50;
/** Milliseconds that most prunes take less than: from then on somebody may wonder. */
const patienceMs = 5000;

/** Waits for a prune that is under way, and keeps others off until the function is called that it returns. */
export async function beginPulling(home: string = storeHome()): Promise<() => void> {
  const directory = join(home, 'partial');
  const end = leaveMark(directory, 'pulling');
  const since = monotonic();
  for (let told = false; ; await sleep(pollMs)) {
    const other = whoIsAtWork(directory, 'pruning');
    if (other === undefined) return end;
    if (told || monotonic() - since < patienceMs) continue;
    warn(`${home}: waiting for md-prune, which has left ${join(directory, other)}`);
    told = true;
  }
}

/** Keeps pulls off until the function is called that it returns. Throws `Failure` 75 while one is under way. */
export function beginPruning(home: string): () => void {
  const directory = join(home, 'partial');
  const end = leaveMark(directory, 'pruning');
  if (!whoIsAtWork(directory, 'pulling') && !whoIsAtWork(directory, 'pruning')) return end;
  end();
  throw new Failure(Status.tryLater, home, 'an image is being pulled into it, or it is being pruned', {
    hint: 'try again when that has ended',
  });
}

function leaveMark(directory: string, kind: string): () => void {
  const path = ownPath(directory, kind);
  try {
    fs.writeFileSync(path, '', { mode: 0o600 });
  } catch (error) {
    // Nobody prunes a store that is not there, or can only be read.
    if (isOutOfReach(error)) return () => {};
    throw failureOf(error, path);
  }
  return () => fs.rmSync(path, { force: true });
}

/** The mark of another process than this one that is at it. */
function whoIsAtWork(directory: string, kind: string): string | undefined {
  const own = ownPath('', kind);
  return namesIn(directory).find(
    (name) => name.startsWith(`${kind}.`) && name !== own && !isAbandoned(directory, name),
  );
}

function namesIn(directory: string): string[] {
  try {
    return fs.readdirSync(directory);
  } catch (error) {
    if (isOutOfReach(error)) return [];
    throw failureOf(error, directory);
  }
}

/** It is not there, or another user's who lets nobody write or look. */
function isOutOfReach(error: unknown): boolean {
  return ['ENOENT', 'ENOTDIR', 'EROFS', 'EACCES'].includes(errnoName(error) ?? '');
}
