/**
 * A tree appears under its name whole or not at all: it grows beside its place under a temporary name, and is renamed
 * when it is complete. The files that go with it stand ready before that: `claim.ts` has their names, and `interim.ts`
 * tells how a reader finds the right document at every moment.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { onFailure } from '../pipe/cleanup.js';
import { errnoName, errnoText, Failure, failureOf, statusOfErrno } from '../pipe/failure.js';
import { pause } from '../pipe/pause.js';
import { Status } from '../pipe/status.js';
import { close, openat, renameat2 } from '../sys/calls.js';
import { AT, O, RENAME, S } from '../sys/constants.js';
import { EACCES, EBUSY, EEXIST, EINVAL, ENOENT, ENOTDIR, ENOTEMPTY, EXDEV } from '../sys/errno.js';
import { errnoNameOf, SyscallError } from '../sys/syscall.js';
import { type ByteString, shown } from './bytes.js';
import { type Claim, claim, clearLeftovers, makeSpare, placeFile, release, sideFiles, toName } from './claim.js';
import { entriesOf, openDirectory } from './directory.js';
import { isHeld } from './held.js';
import { mountPoints } from './mounts.js';
import { isRemovable, notRemovable } from './removable.js';
import { type Stat, statAt } from './stat.js';
import { type Unset, unsetLines } from './unset.js';

/** The user may name DIR and what is above it by a symlink. */
const openFollowing = O.RDONLY | O.DIRECTORY | O.CLOEXEC;
/** Configuration and manifest have 4 MiB each at most, and more when indented. */
const maxDocumentBytes = 64 * 1024 * 1024;

export interface StageOptions {
  /** Replace a directory that is not empty. */
  force: boolean;
  /** `DIR.json` may be replaced, whatever it is: in the store no person has put it there. */
  ownsDocument?: boolean;
}

export class Stage {
  private readonly claim: Claim;
  private readonly finished: () => void;
  private isDiscarded = false;
  /** The directory that is replaced. It stays open, and locked, so that no container can start in it. */
  private replaced = -1;

  private constructor(
    /** The absolute path where the tree is to be. */
    readonly target: string,
    private readonly parent: number,
    private readonly base: string,
    private readonly force: boolean,
    /** The temporary directory that this tree grows in, if it does. It is removed with this one. */
    private readonly around?: Stage,
  ) {
    // First of all, so that a signal from now on cleans up what is made here.
    this.finished = onFailure(() => this.discard());
    try {
      this.claim = claim(parent, base);
    } catch (error) {
      this.finished();
      throw error;
    }
  }

  /**
   * Begins a tree that is to be at `dir`. Throws `Failure` 64 when something is there that `force` does not allow to
   * replace: a directory that is not empty is replaced with `force` only, what is no directory never, nor a `DIR.json`
   * that is something else than the document of a tree; 75 when a container runs in it; and 77 when what is there cannot
   * be removed.
   */
  static begin(dir: string, { force, ownsDocument }: StageOptions): Stage {
    return Stage.beside(dir, force, (parent, base, target) => {
      checkTarget(parent, base, target, force);
      if (!ownsDocument) checkDocument(parent, base, target);
    });
  }

  /**
   * Begins a tree that is only compared and then discarded. It grows beside the directory `dir`, on the same
   * filesystem, so that whatever could be stored in `dir` can be stored in it; or in $TMPDIR when nothing can be made
   * beside `dir`.
   */
  static aside(dir: string): Stage {
    try {
      return Stage.beside(dir, false, (parent, base) => close(openat(parent, base, openFollowing, 0)));
    } catch (error) {
      if (!isClosed(error)) throw error;
      return Stage.elsewhere(dir);
    }
  }

  private static elsewhere(dir: string): Stage {
    // When `dir` cannot be read either, that should be said before a layer is unpacked.
    try {
      close(openat(AT.FDCWD, dir, openFollowing, 0));
    } catch (error) {
      throw failureOf(error, dir);
    }
    const around = Stage.temporary();
    try {
      return new Stage(resolve(dir), openat(around.fd, '.', openFollowing, 0), 'tree', false, around);
    } catch (error) {
      around.discard();
      throw failureOf(error, around.target);
    }
  }

  /**
   * A directory in $TMPDIR that stays closed to other users: the root of a finished tree need not be. The default is
   * /var/tmp, for large files: /tmp may be in memory (hier(7)).
   */
  private static temporary(): Stage {
    const place = process.env.TMPDIR || '/var/tmp';
    try {
      return Stage.beside(join(place, 'md-verify'), false, () => {});
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      const hint = 'nothing can be made beside DIR, so the image is unpacked there: TMPDIR names another place';
      throw new Failure(error.status, place, error.why, { cause: error, hint });
    }
  }

  private static beside(
    dir: string,
    force: boolean,
    check: (parent: number, base: string, target: string) => void,
  ): Stage {
    // resolve() would make it the working directory, and an unset variable must not replace that.
    if (dir === '') throw new Failure(Status.usage, 'command line', 'DIR is empty');
    const target = resolve(dir);
    const base = basename(target);
    if (base === '') throw new Failure(Status.usage, target, 'the root directory is no place for an image');
    const parent = openParent(dirname(target));
    try {
      clearAway(parent, base, target);
      check(parent, base, target);
      return new Stage(target, parent, base, force);
    } catch (error) {
      close(parent);
      throw failureOf(error, dir);
    }
  }

  /** The root directory of the tree that grows, open. */
  get fd(): number {
    return this.claim.fd;
  }

  /** The root of another empty tree on the same filesystem, open; the caller closes it, and the stage removes it. */
  spare(): number {
    return makeSpare(this.parent, this.claim);
  }

  /** The path of the record of what could not be set. */
  get unsetPath(): string {
    return `${this.target}.unset.jsonl`;
  }

  /**
   * Puts the tree into its place, and beside it the document as `DIR.json` and what could not be set as
   * `DIR.unset.jsonl`, which the document then names. Returns the document. Files of these names that belonged to an
   * earlier tree go.
   */
  commit<T extends object | undefined>(document: T, unset: Map<ByteString, Unset>): T {
    const whole = document && unset.size > 0 ? { ...document, unset: this.unsetPath } : document;
    const { parent, base } = this;
    let takeBack: (() => void) | undefined;
    try {
      // Before the tree, since on a full disk there must be no tree without its document.
      this.writeFile('.unset.jsonl', unsetLines(unset));
      this.writeFile('.json', whole ? [JSON.stringify(whole, null, 2)] : []);
      for (const ending of sideFiles) checkFile(parent, `${base}${ending}`, `${this.target}${ending}`);
      takeBack = this.putTree();
      // If this run is killed from here on, the next one completes what is missing (clearLeftovers).
      for (const ending of sideFiles) placeFile(parent, this.claim.name, base, ending);
    } catch (error) {
      takeBack?.();
      throw failureOf(error, this.target);
    }
    // The old tree has the temporary name now, and is removed.
    this.discard();
    return whole;
  }

  private writeFile(ending: string, lines: string[]): void {
    const path = join(dirname(this.target), `${this.claim.name}${ending}`);
    writeFileSync(path, lines.map((line) => `${line}\n`).join(''), { mode: 0o644, flag: 'wx' });
  }

  /** Removes what has grown so far. It is tried only once. */
  discard(): void {
    if (this.isDiscarded) return;
    this.isDiscarded = true;
    this.finished();
    try {
      release(this.parent, this.claim);
    } catch (error) {
      throw cannotBeRemoved(error, this.target);
    }
    if (this.replaced >= 0) close(this.replaced);
    close(this.parent);
    this.around?.discard();
  }

  /** Exchanges the new tree for what is at the target, or moves it there. Returns a function that undoes it. */
  private putTree(): () => void {
    const { parent, base } = this;
    const { name } = this.claim;
    // A container may have begun to run in it since the check at the start.
    if (this.force) this.replaced = openUnheld(parent, base, this.target);
    const exchanged = this.force ? renameat2.try(parent, name, parent, base, RENAME.EXCHANGE) : -ENOENT;
    if (exchanged === 0) return () => renameat2(parent, name, parent, base, RENAME.EXCHANGE);
    const result = renameat2.try(parent, name, parent, base, 0);
    // EXDEV: an overlay, for a directory of its lower layers. EINVAL: a filesystem that has no exchange.
    if (result < 0 && (exchanged === -EXDEV || exchanged === -EINVAL)) {
      const why = `its filesystem cannot exchange it for the new tree: ${errnoText(errnoNameOf(-exchanged))}`;
      throw new Failure(Status.io, this.target, why, { hint: 'remove it first' });
    }
    if (result === -ENOTEMPTY || result === -EEXIST || result === -ENOTDIR) throw occupied(this.target);
    if (result === -EBUSY) throw isMountPoint(this.target);
    if (result < 0) throw new SyscallError('renameat2', -result, this.target);
    return () => renameat2(parent, base, parent, name, 0);
  }
}

/** Opens the directory around the target. An error names this directory: the target itself is usually not there yet. */
function openParent(path: string): number {
  try {
    return openat(AT.FDCWD, path, openFollowing, 0);
  } catch (error) {
    throw failureOf(error, path, errnoName(error) === 'ENOENT' ? { hint: 'mkdir -p makes it' } : {});
  }
}

/** Whether nothing can be made in a directory, because of its mode, its mount or an attribute such as immutable. */
function isClosed(error: unknown): boolean {
  const code = error instanceof Failure ? errnoName(error.cause) : undefined;
  return code === 'EACCES' || code === 'EROFS' || code === 'EPERM';
}

/** Removes what killed runs have left for the target. */
function clearAway(parent: number, base: string, target: string): void {
  try {
    clearLeftovers(parent, base);
  } catch (error) {
    throw cannotBeRemoved(error, target);
  }
}

function checkTarget(parent: number, base: string, target: string, force: boolean): void {
  const stat = statAt(parent, toName(base));
  if (!stat) return;
  const type = stat.mode & S.IFMT;
  if (type === S.IFLNK)
    throw new Failure(Status.usage, target, 'it is a symbolic link', { hint: 'name what it leads to, or remove it' });
  if (type !== S.IFDIR) throw new Failure(Status.usage, target, 'it is there, and is no directory');
  const fd = openat.try(parent, base, openDirectory, 0);
  // An empty directory can be replaced whatever its mode, and the user's own be made accessible. Other cases fail
  // later.
  if (fd === -EACCES && force) return;
  if (fd < 0) throw new SyscallError('openat', -fd, target);
  try {
    const [mounted] = mountPoints(fd);
    if (mounted === '') throw isMountPoint(target);
    if (!force && entriesOf(fd).length > 0) throw occupied(target);
    // It would be emptied with the old tree, and it might be somebody's home.
    if (mounted)
      throw new Failure(Status.usage, target, `something is mounted at ${shown(mounted)} in it`, {
        hint: 'unmount it first',
      });
    if (!isRemovable(fd)) {
      throw new Failure(Status.notPermitted, target, notRemovable, { hint: whoCan });
    }
  } finally {
    close(fd);
  }
  const unheld = openUnheld(parent, base, target);
  if (unheld >= 0) close(unheld);
}

/**
 * Opens the directory at the target, and locks it; returns a negative errno when that fails. Throws `Failure` 75 when a
 * container runs in it. Another run holds the lock only for a moment, so it is tried a few times.
 */
function openUnheld(parent: number, base: string, target: string): number {
  for (let tries = 0; tries < 5; tries++) {
    if (tries > 0) pause(20);
    const fd = openat.try(parent, base, openDirectory, 0);
    if (fd < 0 || !isHeld(fd)) return fd;
    close(fd);
  }
  throw new Failure(Status.tryLater, target, 'a container runs in it', {
    hint: 'end it first, or name another directory',
  });
}

/**
 * Unpacking into `package` must not replace a `package.json` of somebody's project. Throws `Failure` 64, even with
 * `force`.
 */
function checkDocument(parent: number, base: string, target: string): void {
  checkFile(parent, `${base}.unset.jsonl`, `${target}.unset.jsonl`);
  const path = `${target}.json`;
  const stat = checkFile(parent, `${base}.json`, path);
  if (!stat || (stat.size <= maxDocumentBytes && isRootfsDocument(readFileSync(path, 'utf8')))) return;
  throw new Failure(Status.usage, path, 'it is there, and is not the document of a root filesystem', {
    hint: 'move it away, or name another directory',
  });
}

function isRootfsDocument(text: string): boolean {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && 'rootfs' in value && 'config' in value && 'image' in value;
  } catch (error) {
    if (error instanceof SyntaxError) return false;
    throw error;
  }
}

/**
 * The status of a file that is to be replaced; `undefined` when there is none. Throws `Failure` 64 for anything but a
 * file.
 */
function checkFile(parent: number, name: string, path: string): Stat | undefined {
  const stat = statAt(parent, toName(name));
  if (stat && (stat.mode & S.IFMT) !== S.IFREG) {
    throw new Failure(Status.usage, path, 'it is there, and is no regular file');
  }
  return stat;
}

function occupied(target: string): Failure {
  return new Failure(Status.usage, target, 'it is there and not empty', {
    hint: '--force replaces it and deletes what is in it',
  });
}

function isMountPoint(target: string): Failure {
  return new Failure(Status.usage, target, 'something is mounted there', { hint: 'name a directory below it' });
}

function cannotBeRemoved(error: unknown, target: string): Failure {
  const isForeign = process.geteuid!() !== 0 && statusOfErrno(errnoName(error)) === Status.notPermitted;
  const hint = errnoName(error) === 'EXDEV' ? 'something is mounted there: unmount it' : isForeign ? whoCan : undefined;
  const what = error instanceof SyscallError ? `${target}: ${error.call}` : target;
  return failureOf(error, what, { hint });
}

const whoCan = 'what --map has unpacked, only --map removes';
