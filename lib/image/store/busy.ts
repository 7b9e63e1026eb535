/**
 * Keeps pulling and pruning apart. Each first leaves a file with the mark of its process in $MD_HOME/partial, and then
 * looks for files of the other kind: of two that begin at the same moment, at least one sees the other. The file of a
 * killed process names a process that is no longer alive, and the next pull removes it. Where there is no store yet
 * there is nothing to protect, and no file.
 */

import * as fs from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { monotonic } from '../../base/clock.js';
import { Failure, failingAs, ignoring, ignoringSystemErrors } from '../../base/failure.js';
import { openRegular } from '../../base/regular-file.js';
import { Status } from '../../base/status.js';
import { warn } from '../../base/trace.js';
import { noSpace } from './file-operations.js';
import { partialsIn, storeHome } from './home.js';
import { isOwned, ownPath } from './own-files.js';

const pollMs = 50;
/** Most prunes take fewer milliseconds. After that there is a message, since somebody may wonder. */
const patienceMs = 5000;
/** Errors where a directory does not exist, or this user may not write or read there, by errno names. */
const outOfReach = ['ENOENT', 'ENOTDIR', 'EROFS', 'EACCES'];

/** Waits for a prune that is under way. Keeps others from starting until the returned function is called. */
export async function beginPulling(home: string = storeHome()): Promise<() => void> {
  const directory = partialsIn(home);
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

/**
 * Keeps pulls from starting until the returned function is called. Throws `Failure` 75 while a pull or prune is under
 * way.
 */
export function beginPruning(home: string): () => void {
  const directory = partialsIn(home);
  // A full disk of btrfs or XFS may have no room for a mark. It is better to go on without: there is none for the mark
  // of a pull, either, and one that begins when something has gone will at worst miss a layer and have to be repeated.
  const end = leaveMark(directory, 'pruning', noSpace);
  if (!whoIsAtWork(directory, 'pulling') && !whoIsAtWork(directory, 'pruning')) return end;
  end();
  throw new Failure(Status.tryLater, home, 'an image is being pulled into it, or it is being pruned', {
    hint: 'try again when that has ended',
  });
}

/** Goes on without a mark after one of the errors `bearable`, by errno names. */
function leaveMark(directory: string, kind: string, bearable: readonly string[] = []): () => void {
  const path = ownPath(directory, kind);
  const { O_WRONLY, O_CREAT, O_NOFOLLOW } = fs.constants;
  // A store that is not there, or is read-only, cannot be pruned.
  const open = () => ignoring([...outOfReach, ...bearable], () => openRegular(path, O_WRONLY | O_CREAT | O_NOFOLLOW));
  const fd = failingAs(path, open);
  if (fd === undefined) return () => {};
  fs.closeSync(fd);
  // Where it cannot be removed, as on a disk that was made read-only meanwhile, it is that of a dead process soon.
  return () => {
    ignoringSystemErrors(() => fs.rmSync(path, { force: true }));
  };
}

/** The file of another process that is alive and at work. */
function whoIsAtWork(directory: string, kind: string): string | undefined {
  const own = ownPath('', kind);
  const names = failingAs(directory, () => ignoring(outOfReach, () => fs.readdirSync(directory)) ?? []);
  return names.find((name) => name.startsWith(`${kind}.`) && name !== own && isOwned(directory, name));
}
