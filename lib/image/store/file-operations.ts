/**
 * What Node's own functions for files do otherwise than the store needs it. Where that is another user's, as for root
 * with MD_HOME, links may be in it that lead elsewhere.
 */
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { errnoName, Failure, failingAs, failingLater } from '../../base/failure.js';
import { Status } from '../../base/status.js';
import { descriptorPath } from '../../sys/files/descriptor-path.js';

/** Errors of a write for want of space, by errno names. */
export const noSpace = ['ENOSPC', 'EDQUOT'];

const moreSpace = 'md-prune gives space back; MD_HOME names another place';
const hints = Object.fromEntries(noSpace.map((name) => [name, moreSpace]));

/** Does `act`, which writes to the store. A system error becomes a `Failure` about `path`. */
export function storing<T>(path: string, act: () => T): T {
  return failingAs(path, act, { hints });
}

/** The same for a promise. */
export function storingLater<T>(path: string, act: () => Promise<T>): Promise<T> {
  return failingLater(path, act, { hints });
}

/**
 * Removes a file, or a directory with all in it, unless it is gone. Not by Node's `recursive`: that goes by paths, and
 * whoever exchanges a directory for a link meanwhile has it empty another one.
 */
export function removeAll(path: string): void {
  try {
    fs.unlinkSync(path);
  } catch (error) {
    if (errnoName(error) === 'EISDIR') removeDirectory(path);
    else if (errnoName(error) !== 'ENOENT') throw error;
  }
}

function removeDirectory(path: string): void {
  inDirectory(path, (inside) => {
    for (const name of fs.readdirSync(inside)) removeAll(join(inside, name));
  });
  fs.rmdirSync(path);
}

/** Opens a directory, which must not be a link to one, and calls `act` with a path that stays that of this one. */
export function inDirectory(path: string, act: (inside: string) => void): void {
  const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW } = fs.constants;
  const fd = fs.openSync(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  try {
    act(descriptorPath(fd));
  } finally {
    fs.closeSync(fd);
  }
}

/**
 * Makes a directory and those above it, in which nobody else may write, whatever the umask. Not by Node's `recursive`,
 * which hides the reason of a failure behind ENOENT.
 */
export function makeDirectory(path: string, mode = 0o755): void {
  try {
    makeOne(path, mode);
  } catch (error) {
    if (errnoName(error) !== 'ENOENT' || dirname(path) === path) throw error;
    makeDirectory(dirname(path), mode);
    // Where nothing can be made, as in /proc, this throws ENOENT again, and the recursion ends.
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

/**
 * Renames a finished file to its place. It is not a failure when another process has put the same content there
 * already.
 */
export function moveInto(temporary: string, path: string): void {
  makeDirectory(dirname(path));
  try {
    renameInStore(temporary, path);
  } catch (error) {
    // Another process may have taken this one for dead, and finished its file.
    if (errnoName(error) !== 'ENOENT' || !fs.existsSync(path)) throw error;
  }
}

/**
 * rename(2), which needs both on one filesystem, with the same encryption and project. People may have moved a part of
 * the store elsewhere, and left a link.
 */
export function renameInStore(from: string, to: string): void {
  try {
    fs.renameSync(from, to);
  } catch (error) {
    if (errnoName(error) !== 'EXDEV') throw error;
    const why =
      'it is on another filesystem than the rest of the store, or has another encryption or quota of a project';
    throw new Failure(Status.io, to, why, {
      cause: error,
      hint: 'move all of $MD_HOME there, and make MD_HOME or a link for the whole lead to it',
    });
  }
}
