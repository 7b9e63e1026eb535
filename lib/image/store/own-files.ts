/**
 * Files in progress, named `NAME.MARK` after the process that writes them: sys/procfs/process-mark.ts. Everybody can
 * tell such a name in advance, and so may have put a link there: none is written through.
 */
import * as fs from 'node:fs';
import { join } from 'node:path';
import { ignoringSystemErrors } from '../../base/failure.js';
import { type Life, lifeOf, markForm, ownMark } from '../../sys/procfs/process-mark.js';
import { moveInto, removeAll } from './file-operations.js';

/**
 * The owner of a file may be in another PID namespace, where it cannot be seen. After so long without a write it counts
 * as gone.
 */
const silenceMs = 60 * 60 * 1000;

/** What is in progress has one of these names: blobs and documents, parts of the layout, links to trees, marks. */
const kinds = '(?:sha(?:256|512)-)?[0-9a-f]{64,128}|oci|oci-layout|index\\.json|decompressed|\\.link|pulling|pruning';
const ownForm = new RegExp(`^(?:${kinds})\\.(${markForm})$`);

/** The path of this process's own file for `name`, which may be a digest. Its form is `ownForm`. */
export function ownPath(directory: string, name: string): string {
  return join(directory, `${name.replace(':', '-')}.${ownMark()}`);
}

/**
 * The state of the process that writes a file. One that cannot be seen is gone once nothing is written for an hour.
 * Undefined for a name of another form, which none of ours has: where a link is in the place of the directory, such are
 * the names behind it, in /etc or of `libc.so.1.2.3`.
 */
export function lifeOfOwner(directory: string, name: string): Life | undefined {
  const [, mark] = ownForm.exec(name) ?? [];
  if (mark === undefined) return undefined;
  const life = lifeOf(mark);
  return life === 'unseen' && isOld(join(directory, name), silenceMs) ? 'gone' : life;
}

/** Whether the owner of a file is gone. */
export function isAbandoned(directory: string, name: string): boolean {
  return lifeOfOwner(directory, name) === 'gone';
}

/** Whether the owner of a file may be alive. */
export function isOwned(directory: string, name: string): boolean {
  const life = lifeOfOwner(directory, name);
  return life !== undefined && life !== 'gone';
}

/**
 * Removes the files whose owners are gone, if `mayGo` returns true for their names. What may not be removed, as in a
 * read-only store, stays: nobody needs it gone.
 */
export function sweepAbandoned(directory: string, mayGo: (name: string) => boolean): void {
  for (const name of fs.readdirSync(directory)) {
    if (isAbandoned(directory, name) && mayGo(name)) ignoringSystemErrors(() => removeAll(join(directory, name)));
  }
}

/** Writes a small file whole or not at all, even when the power fails. */
export function writeWhole(directory: string, path: string, content: Buffer | string): void {
  const temporary = ownPath(directory, path.slice(path.lastIndexOf('/') + 1));
  withTemporary(temporary, () => {
    fs.writeFileSync(temporary, content, { mode: 0o644, flush: true, flag: 'wx' });
    moveInto(temporary, path);
  });
}

/**
 * Removes a file of this process before `act` makes it and gives it another name, and after a failure, too: on a full
 * disk each further try would leave another one.
 */
export function withTemporary(temporary: string, act: () => void): void {
  fs.rmSync(temporary, { force: true });
  try {
    act();
  } catch (error) {
    // The failure that led here is the one to report. What stays is that of a dead process soon.
    ignoringSystemErrors(() => fs.rmSync(temporary, { force: true }));
    throw error;
  }
}

/** Whether nothing was written to a file for so many milliseconds. */
export function isOld(path: string, ms: number): boolean {
  const stat = fs.lstatSync(path, { throwIfNoEntry: false });
  return stat !== undefined && Date.now() - stat.mtimeMs > ms;
}
