/**
 * What a run keeps beside its target while it is at work: `.BASE.md-unpack-INODE`, the tree that grows, by the inode of
 * its root, and files of that name with an ending. One of them, `.lock`, is locked for as long as the process lives. The
 * kernel drops the lock however a process dies, and keeps it for all containers that share the directory: what nobody
 * holds is what a killed run has left.
 */
import { randomBytes } from 'node:crypto';
import { errnoName, Failure, statusOfErrno } from '../pipe/failure.js';
import { interimName, interimPrefix, isBelievable } from '../pipe/interim.js';
import { Status } from '../pipe/status.js';
import { close, fchmod, fchown, flock, fremovexattr, mkdirat, openat, renameat2, unlinkat } from '../sys/calls.js';
import { AT, LOCK, O } from '../sys/constants.js';
import { EACCES, EAGAIN, ENOENT } from '../sys/errno.js';
import { SyscallError } from '../sys/syscall.js';
import { type ByteString, fromBytes } from './bytes.js';
import { entriesOf, openDirectory } from './directory.js';
import { removeTree } from './remove.js';
import { statAt, statOf } from './stat.js';

/** The files that go with a tree, the document last: it is what says that all is in place. */
export const sideFiles = ['.unset.jsonl', '.json'] as const;

const ownName = /^([0-9a-f-]+)(?:\.lock|\.spare|\.json|\.unset\.jsonl)?$/;

export interface Claim {
  /** Of the tree, and how the names of all its files begin. */
  name: string;
  /** The root of the tree, open. */
  fd: number;
  lock: number;
}

/** Makes a new tree beside `base` and locks its name. */
export function claim(parent: number, base: string): Claim {
  const inTheWay: string[] = [];
  try {
    for (let tries = 0; tries < 10; tries++) {
      const made = `${interimPrefix(base)}${randomBytes(8).toString('hex')}`;
      const fd = makeRoot(parent, made);
      if (fd === undefined) continue;
      // If it is not taken it keeps its inode, so that the next one gets another.
      inTheWay.push(made);
      const name = interimName(base, statAt(fd, '.')!.inode);
      const lock = lockFile(parent, `${name}.lock`, false);
      // Until it has its name, another run takes it for a leftover.
      if (lock !== undefined && renameat2.try(parent, made, parent, name, 0) === 0) {
        inTheWay.pop();
        return { name, fd, lock };
      }
      close(fd);
      if (lock !== undefined) unlock(parent, name, lock);
    }
  } finally {
    for (const name of inTheWay) unlinkat.try(parent, name, AT.REMOVEDIR);
  }
  throw new Failure(Status.io, base, 'other processes take every temporary name beside it');
}

/** Removes the tree and all its files, the lock last. */
export function release(parent: number, { name, fd, lock }: Claim): void {
  close(fd);
  removeAll(parent, name);
  unlock(parent, name, lock);
}

/**
 * Removes what killed runs have left for `base`. Where one had put its tree in its place, but not yet the files that go
 * with it, that is done now. What another user has left stays.
 */
export function clearLeftovers(parent: number, base: string): void {
  for (const name of namesOf(parent, base)) {
    const lock = lockFile(parent, `${name}.lock`, true);
    if (lock === undefined) continue;
    try {
      complete(parent, base, name);
      removeAll(parent, name);
    } catch (error) {
      if (statusOfErrno(errnoName(error)) !== Status.notPermitted) throw error;
    } finally {
      // It may be new: nobody else would remove it then.
      unlock(parent, name, lock);
    }
  }
}

/** Puts a file that goes with a tree in its place. An empty one stands for none, and removes what is there. */
export function placeFile(parent: number, name: string, base: string, ending: string): void {
  const stat = statAt(parent, toName(`${name}${ending}`));
  if (!stat) return;
  if (stat.size > 0) {
    renameat2(parent, `${name}${ending}`, parent, `${base}${ending}`, 0);
    return;
  }
  unlinkat.try(parent, `${base}${ending}`, 0);
  unlinkat(parent, `${name}${ending}`, 0);
}

/** The name of a file in the notation of `lib/unpack`. */
export function toName(text: string): ByteString {
  return fromBytes(Buffer.from(text));
}

/** A second tree for as long as the claim lasts: its root, open, which the caller closes. One that was there is gone. */
export function makeSpare(parent: number, { name }: Claim): number {
  removeTree(parent, toName(`${name}.spare`));
  const fd = makeRoot(parent, `${name}.spare`);
  if (fd === undefined) throw new Failure(Status.io, `${name}.spare`, 'something else removed it');
  return fd;
}

/** The root directory of a new tree, open; `undefined` when another run has removed it at once. After a failure it is not there. */
function makeRoot(parent: number, name: string): number | undefined {
  mkdirat(parent, name, 0o700);
  try {
    const fd = openat.try(parent, name, openDirectory, 0);
    if (fd === -ENOENT) return undefined;
    if (fd < 0) throw new SyscallError('openat', -fd, name);
    // A setgid parent and a default ACL hand themselves on to what is made below.
    fchown(fd, process.geteuid!(), process.getegid!());
    for (const acl of ['system.posix_acl_default', 'system.posix_acl_access']) fremovexattr.try(fd, acl);
    // Nobody else goes in while it grows: a directory for everybody, as /tmp, is no place to create things by name in.
    fchmod(fd, 0o700);
    return fd;
  } catch (error) {
    unlinkat.try(parent, name, AT.REMOVEDIR);
    throw error;
  }
}

/**
 * Makes or opens a lock file and locks it; `undefined` when somebody else has it. Some network filesystems have no locks:
 * a run can do without, but none may take another's files for abandoned then, which is what `needed` says. Nor may it what
 * cannot be opened: it is another user's, or no lock at all.
 */
function lockFile(parent: number, name: string, needed: boolean): number | undefined {
  const fd = openat.try(parent, name, O.RDWR | O.CREAT | O.CLOEXEC | O.NOFOLLOW | O.NONBLOCK, 0o600);
  if (fd === -EACCES || (fd < 0 && needed)) return undefined;
  if (fd < 0) throw new SyscallError('openat', -fd, name);
  const result = flock.try(fd, LOCK.EX | LOCK.NB);
  const isFree = result === 0 || (!needed && result !== -EAGAIN);
  // Whoever held it may have removed it in between.
  if (isFree && statAt(parent, toName(name))?.inode === statOf(fd).inode) return fd;
  close(fd);
  return undefined;
}

function unlock(parent: number, name: string, lock: number): void {
  unlinkat.try(parent, `${name}.lock`, 0);
  close(lock);
}

/** The temporary names beside `base`, without their endings. */
function namesOf(parent: number, base: string): Set<string> {
  const fd = openat(parent, '.', openDirectory, 0);
  const entries = entriesOf(fd);
  close(fd);
  const prefix = toName(interimPrefix(base));
  const ids = entries.map((name) =>
    name.startsWith(prefix) ? ownName.exec(name.slice(prefix.length))?.[1] : undefined,
  );
  return new Set(ids.filter((id) => id !== undefined).map((id) => `${interimPrefix(base)}${id}`));
}

function complete(parent: number, base: string, name: string): void {
  const tree = statAt(parent, toName(base));
  if (!tree || interimName(base, tree.inode) !== name) return;
  const { uid: directoryOwner } = statAt(parent, '.')!;
  for (const ending of sideFiles) {
    const file = statAt(parent, toName(`${name}${ending}`));
    if (file && isBelievable(file.uid, directoryOwner)) placeFile(parent, name, base, ending);
  }
}

function removeAll(parent: number, name: string): void {
  for (const ending of sideFiles) unlinkat.try(parent, `${name}${ending}`, 0);
  for (const tree of [`${name}.spare`, name]) removeTree(parent, toName(tree));
}
