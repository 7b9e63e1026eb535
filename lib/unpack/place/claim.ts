/**
 * What a run keeps beside its target while it works: the growing tree `.BASE.md-unpack-INODE`, named after the inode of
 * its root, and files of that name with an ending. One of these, `.lock`, is locked as long as the process lives. The
 * kernel releases the lock however the process dies, and processes in other containers see it as well. So files whose
 * lock nobody holds were left by a killed run.
 */
import { randomBytes } from 'node:crypto';
import { Failure, hasErrno, ignoring } from '../../base/failure.js';
import { Status } from '../../base/status.js';
import { interimName, interimPrefix, isBelievable } from '../../pipe/interim.js';
import { disinherit } from '../../sys/files/disinherit.js';
import { tryLock } from '../../sys/files/lock.js';
import { close, flock, lseek, mkdirat, openat, renameat2, unlinkat } from '../../sys/syscalls/calls.js';
import { AT, LOCK, O, SEEK } from '../../sys/syscalls/constants.js';
import { EACCES, EAGAIN, EEXIST, ENOENT, ENOTDIR, ENOTEMPTY } from '../../sys/syscalls/errno.js';
import { SyscallError } from '../../sys/syscalls/syscall.js';
import { byteString } from '../../tar/bytes.js';
import { closing, directoryFlags, entriesOf } from '../tree/directory.js';
import { removeTree } from '../tree/remove-tree.js';
import { isNameOf, type Stat, statAt, statOf } from '../tree/stat.js';

/** The files that go with a tree. The document comes last: when it is in its place, everything is. */
export const sideFiles = ['.unset.jsonl', '.json'] as const;

const lockFlags = O.RDWR | O.CREAT | O.CLOEXEC | O.NOFOLLOW | O.NONBLOCK;

/** The record of what an old tree lacks, until the new one's document is in its place. */
const oldRecord = '.old';

const ownName = /^([0-9a-f-]+)(?:\.lock|\.spare|\.old|\.json|\.unset\.jsonl)?$/;

export interface Claim {
  /** The name of the growing tree. The names of its files begin with it. */
  name: string;
  /** The root of the tree, open. */
  fd: number;
  lock: number;
}

/** What rename(2) says when others were there: the new tree is gone, or something has its name. */
const taken = [ENOENT, EEXIST, ENOTEMPTY, ENOTDIR];

/**
 * Makes a new tree beside `base` and locks its name. Until it has that name it is locked by its first one: another run
 * that took it for a leftover would go on to empty it after the renaming.
 */
export function claim(parent: number, base: string): Claim {
  const drafts: Claim[] = [];
  try {
    for (let tries = 0; tries < 10; tries++) {
      const draft = makeDraft(parent, base);
      if (!draft) continue;
      // When its name is taken, it stays until the end: otherwise the next attempt could get the same inode and name.
      drafts.push(draft);
      const { fd } = draft;
      const name = interimName(base, statOf(fd).inode);
      const lock = lockFile(parent, `${name}.lock`, 'wanted');
      if (lock === undefined) continue;
      const renamed = renameat2.try(parent, draft.name, parent, name, 0);
      if (renamed === 0) {
        drafts.pop();
        unlock(parent, draft.name, draft.lock);
        return { name, fd, lock };
      }
      unlock(parent, name, lock);
      if (!taken.includes(-renamed)) throw new SyscallError('renameat2', -renamed, name);
    }
  } finally {
    for (const { name, fd, lock } of drafts) {
      close(fd);
      unlinkat.try(parent, name, AT.REMOVEDIR);
      unlock(parent, name, lock);
    }
  }
  throw new Failure(Status.io, base, 'other processes take every temporary name beside it');
}

/** A new tree whose name does not tell its inode yet; `undefined` when another process has that name, or its lock. */
function makeDraft(parent: number, base: string): Claim | undefined {
  const name = `${interimPrefix(base)}${randomBytes(8).toString('hex')}`;
  const lock = lockOpen(parent, `${name}.lock`, openat(parent, `${name}.lock`, lockFlags | O.EXCL, 0o600), 'wanted');
  if (lock === undefined) return undefined;
  try {
    return { name, fd: makeRoot(parent, name), lock };
  } catch (error) {
    unlock(parent, name, lock);
    throw error;
  }
}

/** Removes the tree and all its files, the lock last. */
export function release(parent: number, { name, fd, lock }: Claim): void {
  close(fd);
  removeClaimed(parent, name);
  unlock(parent, name, lock);
}

/**
 * Removes what killed runs have left for `base`. When one had already put its tree in place, but not the files that go
 * with it, those are put in place now. What cannot be removed stays, and so does what a stranger has made: in /tmp
 * everybody can make such names, with a file system in one, or more entries by the minute than can be removed. Returns
 * the names that were removed.
 */
export function clearLeftovers(parent: number, base: string): string[] {
  const removed: string[] = [];
  for (const name of namesOf(parent, base)) {
    if (isStrangers(parent, name)) continue;
    const lock = lockFile(parent, `${name}.lock`, 'needed');
    if (lock === undefined) continue;
    try {
      if (!complete(parent, base, name)) continue;
      removeClaimed(parent, name);
      removed.push(name);
    } catch (error) {
      // EROFS: on btrfs a container can make a subvolume, and that read-only.
      if (!hasErrno(error, 'EPERM', 'EACCES', 'EROFS')) throw error;
    } finally {
      // The lock file may have been created just now, and nobody else would remove it.
      unlock(parent, name, lock);
    }
  }
  return removed;
}

/** The names that `clearLeftovers` would remove. */
export function findLeftovers(parent: number, base: string): string[] {
  return [...namesOf(parent, base)].filter((name) => !isStrangers(parent, name) && isUnlocked(parent, `${name}.lock`));
}

/** Whether no process holds a lock file, or there is none. Nothing is made. */
function isUnlocked(parent: number, name: string): boolean {
  const fd = openat.try(parent, name, O.RDWR | O.CLOEXEC | O.NOFOLLOW | O.NONBLOCK, 0);
  if (fd < 0) return fd === -ENOENT;
  return closing(fd, () => flock.try(fd, LOCK.EX | LOCK.NB) === 0);
}

/**
 * Puts a file that goes with a tree in its place. An empty one means that there is none: it removes what is there, which
 * would be taken for this tree's. Throws `SyscallError`.
 */
export function placeFile(parent: number, name: string, base: string, ending: string): void {
  const stat = statAt(parent, byteString(`${name}${ending}`));
  if (!stat) return;
  if (stat.size > 0) {
    renameat2(parent, `${name}${ending}`, parent, `${base}${ending}`, 0);
    return;
  }
  ignoring(['ENOENT'], () => unlinkat(parent, `${base}${ending}`, 0));
  unlinkat(parent, `${name}${ending}`, 0);
}

/**
 * Takes away the record of what an old tree lacks. Returns a function that puts it back, in the place of the new one: to
 * be called when the document, which comes after it, cannot be put in its place.
 */
export function takeRecord(parent: number, name: string, base: string): () => void {
  const [record] = sideFiles;
  const taken = renameat2.try(parent, `${base}${record}`, parent, `${name}${oldRecord}`, 0);
  if (taken < 0 && taken !== -ENOENT) throw new SyscallError('renameat2', -taken, `${base}${record}`);
  if (taken === 0) return () => renameat2(parent, `${name}${oldRecord}`, parent, `${base}${record}`, 0);
  return () => ignoring(['ENOENT'], () => unlinkat(parent, `${base}${record}`, 0));
}

/**
 * Makes a second tree, in place of an earlier one, that lasts as long as the claim. Returns its root, for the caller to
 * close.
 */
export function makeSpare(parent: number, { name }: Claim): number {
  removeTree(parent, byteString(`${name}.spare`));
  return makeRoot(parent, `${name}.spare`);
}

/**
 * Makes the root directory of a new tree, whose lock this process has, and opens it. Nothing stays after a failure.
 * Throws `Failure` 75 when something else is opened than was made.
 */
function makeRoot(parent: number, name: string): number {
  mkdirat(parent, name, 0o700);
  let fd = -1;
  try {
    fd = openat(parent, name, directoryFlags, 0);
    expectNew(fd, name);
    // Nobody else may enter while it grows: entries are created by name, which others could exchange.
    disinherit(fd);
    // From here on nobody else can put anything there.
    expectNew(fd, name);
    return fd;
  } catch (error) {
    if (fd >= 0) close(fd);
    unlinkat.try(parent, name, AT.REMOVEDIR);
    throw error;
  }
}

/**
 * A new directory is empty. Whoever may rename in the one around it could have put another in its place, whose entries
 * would be a part of the tree.
 */
function expectNew(fd: number, name: string): void {
  const entries = entriesOf(fd);
  lseek(fd, 0, SEEK.SET);
  if (entries.length === 0) return;
  throw new Failure(Status.tryLater, name, 'it was exchanged for another directory just now', {
    hint: 'choose a place where nobody else can rename it',
  });
}

/**
 * Some network filesystems have no locks. A run can work without its own, which is `wanted`. But another run's files are
 * abandoned only when their lock, which is `needed` for that, can really be had.
 */
type Lock = 'wanted' | 'needed';

/**
 * Makes or opens a lock file and locks it; `undefined` when another process holds it. So it is when a lock that is
 * `needed` cannot be had, or its file cannot be opened, which may be another user's.
 */
function lockFile(parent: number, name: string, kind: Lock): number | undefined {
  const fd = openat.try(parent, name, lockFlags, 0o600);
  if (fd === -EACCES || (fd < 0 && kind === 'needed')) return undefined;
  if (fd < 0) throw new SyscallError('openat', -fd, name);
  return lockOpen(parent, name, fd, kind);
}

/** The same for a file that is open. It is closed when it is not locked. */
function lockOpen(parent: number, name: string, fd: number, kind: Lock): number | undefined {
  const result = flock.try(fd, LOCK.EX | LOCK.NB);
  const isFree = result === 0 || (kind === 'wanted' && result !== -EAGAIN);
  // A process that held it may have removed the file in between: then this lock protects nothing.
  if (isFree && isNameOf(fd, parent, byteString(name))) return fd;
  close(fd);
  return undefined;
}

function unlock(parent: number, name: string, lock: number): void {
  unlinkat.try(parent, `${name}.lock`, 0);
  close(lock);
}

/** The temporary names beside `base`, without their endings. */
function namesOf(parent: number, base: string): Set<string> {
  const entries = closing(openat(parent, '.', directoryFlags, 0), entriesOf);
  const prefix = byteString(interimPrefix(base));
  const ids = entries.map((name) =>
    name.startsWith(prefix) ? ownName.exec(name.slice(prefix.length))?.[1] : undefined,
  );
  return new Set(ids.filter((id) => id !== undefined).map((id) => `${interimPrefix(base)}${id}`));
}

/** Whose a temporary name is, its lock tells: the tree itself may have an owner of the image's by now. */
function isStrangers(parent: number, name: string): boolean {
  const made = ['.lock', '', '.spare', oldRecord, ...sideFiles].map((ending) =>
    statAt(parent, byteString(`${name}${ending}`)),
  );
  const first = made.find((stat) => stat !== undefined);
  return first !== undefined && !isOurs(parent, first);
}

function isOurs(parent: number, { uid }: Stat): boolean {
  return isBelievable(uid, statOf(parent).uid);
}

/**
 * Puts the files of a dead run's tree in place, if that is where it is to be. False when another run is replacing that
 * tree just now: the files of the one must not come to lie beside the other.
 */
function complete(parent: number, base: string, name: string): boolean {
  const fd = openat.try(parent, base, directoryFlags, 0);
  try {
    if (fd >= 0 && !tryLock(fd, 'shared')) return false;
    const tree = statAt(parent, byteString(base));
    if (!tree || interimName(base, tree.inode) !== name) return true;
    for (const ending of sideFiles) {
      const file = statAt(parent, byteString(`${name}${ending}`));
      if (file && isOurs(parent, file)) placeFile(parent, name, base, ending);
    }
    return true;
  } finally {
    if (fd >= 0) close(fd);
  }
}

function removeClaimed(parent: number, name: string): void {
  for (const ending of [oldRecord, ...sideFiles]) unlinkat.try(parent, `${name}${ending}`, 0);
  for (const tree of [`${name}.spare`, name]) removeTree(parent, byteString(tree));
}
