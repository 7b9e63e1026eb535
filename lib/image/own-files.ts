/** Files that are being written beside the store: `NAME.MARK`, with the mark of the process that writes it. */
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { errnoName } from '../pipe/failure.js';
import { type Life, lifeOf, markForm, ownMark } from '../sys/process-mark.js';

/** A file whose owner lives in another PID namespace, where we cannot look: nobody pauses for as long as this. */
const silenceMs = 60 * 60 * 1000;

/** The name under which this process writes what belongs to `name`, which may be a digest. */
export function ownPath(directory: string, name: string): string {
  return join(directory, `${name.replace(':', '-')}.${ownMark()}`);
}

/** What the process does that writes a file. */
export function ownerOf(directory: string, name: string): Life {
  const [, mark] = new RegExp(`\\.(${markForm})$`).exec(name) ?? [];
  const life = mark === undefined ? 'unseen' : lifeOf(mark);
  return life === 'unseen' && isOld(join(directory, name), silenceMs) ? 'gone' : life;
}

/** Whether the owner of a file is gone. */
export function isAbandoned(directory: string, name: string): boolean {
  return ownerOf(directory, name) === 'gone';
}

/** Removes the files whose owners are gone, as far as `mayGo` for their names. */
export function sweepAbandoned(directory: string, mayGo: (name: string) => boolean): void {
  for (const name of fs.readdirSync(directory)) {
    if (isAbandoned(directory, name) && mayGo(name)) fs.rmSync(join(directory, name), { recursive: true, force: true });
  }
}

/** Makes a directory and those above it. Node by itself says ENOENT where one of these cannot be made, whatever the reason. */
export function makeDirectory(path: string, mode = 0o777): void {
  try {
    makeOne(path, mode);
  } catch (error) {
    if (errnoName(error) !== 'ENOENT' || dirname(path) === path) throw error;
    makeDirectory(dirname(path), mode);
    // Where there is no making anything, as in /proc, this is ENOENT once more.
    makeOne(path, mode);
  }
}

function makeOne(path: string, mode: number): void {
  try {
    fs.mkdirSync(path, { mode });
  } catch (error) {
    if (errnoName(error) !== 'EEXIST' || !fs.statSync(path).isDirectory()) throw error;
  }
}

/** Renames a finished file to where it belongs. That somebody else has put the same there already is as good. */
export function moveInto(temporary: string, path: string): void {
  makeDirectory(dirname(path));
  try {
    fs.renameSync(temporary, path);
  } catch (error) {
    // Another process may have taken this one for dead and finished its file.
    if (errnoName(error) !== 'ENOENT' || !fs.existsSync(path)) throw error;
  }
}

/** Writes a small file whole or not at all, and so that it outlasts a power failure. */
export function writeWhole(directory: string, path: string, content: Buffer | string): void {
  const temporary = ownPath(directory, path.slice(path.lastIndexOf('/') + 1));
  fs.writeFileSync(temporary, content, { mode: 0o644, flush: true });
  moveInto(temporary, path);
}

/** Whether nothing was written to a file for so many milliseconds. */
export function isOld(path: string, ms: number): boolean {
  const stat = fs.lstatSync(path, { throwIfNoEntry: false });
  return stat !== undefined && Date.now() - stat.mtimeMs > ms;
}
