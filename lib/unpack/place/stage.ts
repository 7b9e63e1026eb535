/**
 * A tree appears under its name whole or not at all: it grows beside its place under a temporary name, and is renamed
 * when it is complete. The files that go with it stand ready before that: `claim.ts` has their names, and `interim.ts`
 * tells how a reader finds the right document at every moment.
 */
import { closeSync, openSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { jsonOf } from '../../base/check.js';
import { errnoNameOf } from '../../base/errno-names.js';
import { errnoText, Failure, failingAs, failureOf, hasErrno } from '../../base/failure.js';
import { Status } from '../../base/status.js';
import { warn } from '../../base/trace.js';
import { onFailure } from '../../pipe/cleanup.js';
import { tryLock } from '../../sys/files/lock.js';
import { close, openat, renameat2 } from '../../sys/syscalls/calls.js';
import { AT, RENAME } from '../../sys/syscalls/constants.js';
import { EBUSY, EEXIST, EINVAL, ENOENT, ENOTDIR, ENOTEMPTY, EXDEV } from '../../sys/syscalls/errno.js';
import { SyscallError } from '../../sys/syscalls/syscall.js';
import { type ByteString, byteString } from '../../tar/bytes.js';
import { followingFlags } from '../tree/directory.js';
import { isNameOf } from '../tree/stat.js';
import { type Unset, unsetLines } from '../tree/unset.js';
import { type Claim, claim, clearLeftovers, makeSpare, placeFile, release, sideFiles, takeRecord } from './claim.js';
import {
  checkDocument,
  checkFile,
  checkTarget,
  isFilled,
  mountInTheWay,
  occupied,
  openTarget,
  openUnheld,
  type Target,
  whoCan,
} from './target.js';

export interface StageOptions {
  /** Replace a directory that is not empty. */
  force: boolean;
  /** `DIR.json` may be replaced, whatever it is: in the store no person has put it there. */
  ownsDocument?: boolean;
}

export class Stage {
  private readonly claim: Claim;
  private isDiscarded = false;
  /** The directory that is replaced. It stays open, and locked, so that no container can start in it. */
  private replaced = -1;

  private constructor(
    private readonly target: Target,
    private readonly force: boolean,
    /** The temporary directory that this tree grows in, if it does. It is removed with this one. */
    private readonly around?: Stage,
  ) {
    // First of all, so that a signal from now on cleans up what is made here.
    const nothingBegun = onFailure(() => this.discard());
    try {
      this.claim = claim(target.parent, target.base);
    } catch (error) {
      nothingBegun();
      throw error;
    }
  }

  /**
   * Begins a tree that is to be at `dir`. Throws `Failure` 64 when something is there that `force` does not allow to
   * replace: a directory that is not empty is replaced with `force` only, what is not a directory never, nor a
   * `DIR.json` that is something else than the document of a tree; 75 when a container runs in it; and 77 when what is
   * there cannot be removed.
   */
  static begin(dir: string, { force, ownsDocument }: StageOptions): Stage {
    const stage = Stage.beside(dir, force, (target) => {
      checkTarget(target, force);
      if (!ownsDocument) checkDocument(target);
    });
    if (force) stage.expectExchange();
    return stage;
  }

  /**
   * Begins a tree that is only compared and then discarded. It grows beside the directory `dir`, on the same
   * filesystem, so that whatever could be stored in `dir` can be stored in it; or in $TMPDIR when nothing can be made
   * beside `dir`.
   */
  static aside(dir: string): Stage {
    try {
      return Stage.beside(dir, false, ({ parent, base }) => close(openat(parent, base, followingFlags, 0)));
    } catch (error) {
      if (!isClosed(error)) throw error;
      return Stage.elsewhere(dir);
    }
  }

  private static elsewhere(dir: string): Stage {
    // When `dir` cannot be read either, that should be said before a layer is unpacked.
    failingAs(dir, () => close(openat(AT.FDCWD, dir, followingFlags, 0)));
    const around = Stage.temporary();
    try {
      const parent = openat(around.fd, '.', followingFlags, 0);
      return new Stage({ path: resolve(dir), parent, base: 'tree' }, false, around);
    } catch (error) {
      around.discard();
      throw failureOf(error, around.path);
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

  private static beside(dir: string, force: boolean, check: (target: Target) => void): Stage {
    const target = openTarget(dir);
    try {
      clearAway(target);
      check(target);
      return new Stage(target, force);
    } catch (error) {
      close(target.parent);
      throw isForeign(error)
        ? notOwned(dir, error)
        : failureOf(error, dir, { hint: unmappedHint(error) ?? unchangeableHint(error) });
    }
  }

  /** The absolute path where the tree is to be. */
  get path(): string {
    return this.target.path;
  }

  /** The root directory of the tree that grows, open. */
  get fd(): number {
    return this.claim.fd;
  }

  /** Whether names that differ only in case are one name here, as on FAT, or in a directory of ext4 with chattr +F. */
  get foldsCase(): boolean {
    const other = this.claim.name.replace('md-unpack', 'MD-UNPACK');
    return isNameOf(this.fd, this.target.parent, byteString(other));
  }

  /** The root of another empty tree on the same filesystem, open; the caller closes it, and the stage removes it. */
  spare(): number {
    return makeSpare(this.target.parent, this.claim);
  }

  /** The path of the record of what could not be set. */
  get unsetPath(): string {
    return `${this.path}.unset.jsonl`;
  }

  /**
   * Puts the tree into its place, and beside it the document as `DIR.json` and what could not be set as
   * `DIR.unset.jsonl`, which the document then names. Returns the document. Files of these names that belonged to an
   * earlier tree go.
   */
  commit<T extends object | undefined>(document: T, unset: Map<ByteString, Unset>): T {
    const whole = document && unset.size > 0 ? { ...document, unset: this.unsetPath } : document;
    const { parent, base } = this.target;
    const undo: (() => void)[] = [];
    try {
      // Before the tree, since on a full disk there must be no tree without its document.
      this.writeFile('.unset.jsonl', unsetLines(unset));
      this.writeFile('.json', whole ? [jsonOf(whole, 2)] : []);
      for (const ending of sideFiles) checkFile(this.target, ending);
      // Another run that is to replace this tree waits for this lock: otherwise it could put its own tree there before the
      // files of this one are in place, and they would come to lie beside that. Containers may begin meanwhile.
      tryLock(this.claim.fd, 'shared');
      undo.push(this.putTree());
      undo.push(placing(this.unsetPath, () => takeRecord(parent, this.claim.name, base)));
      // If this run is killed from here on, the next one completes what is missing (clearLeftovers).
      for (const ending of sideFiles)
        placing(`${this.path}${ending}`, () => placeFile(parent, this.claim.name, base, ending));
    } catch (error) {
      this.takeBack(undo);
      throw failureOf(error, this.path, { hint: unchangeableHint(error) });
    }
    // The old tree has the temporary name now, and is removed.
    this.discard();
    return whole;
  }

  /**
   * Undoes what a commit has done so far. Where that fails as well, all stays as after a kill: it may be the old tree
   * that has the temporary name, and the next run completes the new one before it removes what has such a name.
   */
  private takeBack(undo: (() => void)[]): void {
    try {
      for (const step of undo) step();
    } catch (error) {
      this.isDiscarded = true;
      const { message } = failureOf(error, 'taking back what was there before');
      warn(`${message}; ${join(dirname(this.path), this.claim.name)} may be that, and the next run here removes it`);
    }
  }

  private writeFile(ending: string, lines: Iterable<string>): void {
    // By the descriptor: who may rename something on the way to it could lead the path elsewhere since.
    const path = `/proc/self/fd/${this.target.parent}/${this.claim.name}${ending}`;
    const fd = openSync(path, 'wx', 0o644);
    try {
      // Piece by piece: the record of a large image may be longer than a string can be.
      for (const piece of inPieces(lines)) writeFileSync(fd, piece);
    } finally {
      closeSync(fd);
    }
  }

  /** Removes what has grown so far. It is tried only once. */
  discard(): void {
    if (this.isDiscarded) return;
    this.isDiscarded = true;
    try {
      release(this.target.parent, this.claim);
    } catch (error) {
      throw cannotBeRemoved(error, this.path);
    }
    if (this.replaced >= 0) close(this.replaced);
    close(this.target.parent);
    this.around?.discard();
  }

  /** Tries with an empty tree what `putTree` will need: better now than when all is unpacked. */
  private expectExchange(): void {
    const { parent, base } = this.target;
    if (!isFilled(parent, base)) return;
    const { name } = this.claim;
    const spare = `${name}.spare`;
    close(this.spare());
    const exchange = () => renameat2.try(parent, name, parent, spare, RENAME.EXCHANGE);
    const result = exchange();
    if (result === 0) exchange();
    if (result === -EINVAL) throw this.cannotExchange(result);
  }

  private cannotExchange(result: number): Failure {
    const why = `its filesystem cannot exchange it for the new tree: ${errnoText(errnoNameOf(-result))}`;
    return new Failure(Status.io, this.path, why, { hint: 'remove it first' });
  }

  /** Exchanges the new tree for what is at the target, or moves it there. Returns a function that undoes it. */
  private putTree(tries = 5): () => void {
    const { path, parent, base } = this.target;
    const { name } = this.claim;
    // A container may have begun to run in it since the check at the start.
    if (this.force) this.replaced = openUnheld(this.target);
    const mayExchange = this.force && this.replaced !== -ENOENT;
    const exchanged = mayExchange ? renameat2.try(parent, name, parent, base, RENAME.EXCHANGE) : -ENOENT;
    if (exchanged === 0) return () => renameat2(parent, name, parent, base, RENAME.EXCHANGE);
    const result = renameat2.try(parent, name, parent, base, 0);
    const isFilled = result === -ENOTEMPTY || result === -EEXIST;
    // Another run has put its tree there just now: that one is replaced, by way of its lock.
    if (isFilled && this.force && exchanged === -ENOENT) {
      if (tries === 0) throw new Failure(Status.tryLater, path, unclear, { hint: later });
      return this.putTree(tries - 1);
    }
    // EXDEV: an overlay, for a directory of its lower layers. EINVAL: a filesystem that has no exchange.
    if (result < 0 && (exchanged === -EXDEV || exchanged === -EINVAL)) throw this.cannotExchange(exchanged);
    if (isFilled && this.force) throw new SyscallError('renameat2', -exchanged, path);
    if (isFilled || result === -ENOTDIR) throw occupied(path);
    if (result === -EBUSY) throw mountInTheWay(path);
    if (result < 0) throw new SyscallError('renameat2', -result, path);
    return () => renameat2(parent, base, parent, name, 0);
  }
}

/** Does what puts a file beside the tree. A failure names that file, which another user may have made, as in /tmp. */
function placing<T>(path: string, act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw failureOf(error, path, { hint: unchangeableHint(error) });
  }
}

/** Characters that are written at once. */
const pieceLength = 64 * 1024;

function* inPieces(lines: Iterable<string>): Generator<string> {
  let piece = '';
  for (const line of lines) {
    piece += `${line}\n`;
    if (piece.length < pieceLength) continue;
    yield piece;
    piece = '';
  }
  yield piece;
}

/** As on a network, where a name that was not there is remembered as such for a while. */
const unclear = 'its filesystem says now that it is there, and now that it is not';
const later = 'another machine may have made it just now: try again in a minute';

/** Whether what this user has just made belongs to somebody else, who alone may give it away. */
function isForeign(error: unknown): boolean {
  return error instanceof SyscallError && error.syscall === 'fchown' && error.code === 'EPERM';
}

/** An owner that has no id in the user namespace around this process: that of the caller. user_namespaces(7) */
function unmappedHint(error: unknown): string | undefined {
  if (!(error instanceof SyscallError) || error.syscall !== 'fchown' || error.code !== 'EINVAL') return undefined;
  return 'the user namespace around this process has no id for this user: unshare -r maps one';
}

/** ioctl_iflags(2): what root is refused, too. */
function unchangeableHint(error: unknown): string | undefined {
  if (!hasErrno(error, 'EPERM') || process.geteuid!() !== 0) return undefined;
  return 'where lsattr -a shows an i or an a, chattr -ia allows changes';
}

function notOwned(dir: string, cause: unknown): Failure {
  const why = 'its filesystem gives to another user what you make there, as NFS with root_squash does to root';
  const hint = 'unpack as the user whom it belongs to then, or on a disk of this machine';
  return new Failure(Status.notPermitted, dir, why, { cause, hint });
}

/** Whether nothing can be made in a directory, because of its mode, its mount or an attribute such as immutable. */
function isClosed(error: unknown): boolean {
  return error instanceof Failure && hasErrno(error.cause, 'EACCES', 'EROFS', 'EPERM');
}

/** Removes what killed runs have left for the target. */
function clearAway({ path, parent, base }: Target): void {
  try {
    clearLeftovers(parent, base);
  } catch (error) {
    throw cannotBeRemoved(error, path);
  }
}

function cannotBeRemoved(error: unknown, path: string): Failure {
  const what = error instanceof SyscallError ? `${path}: ${error.call}` : path;
  return failureOf(error, what, { hint: removalHint(error) });
}

function removalHint(error: unknown): string | undefined {
  if (hasErrno(error, 'EXDEV')) return 'something is mounted there: unmount it';
  return process.geteuid!() !== 0 && hasErrno(error, 'EPERM', 'EACCES') ? whoCan : unchangeableHint(error);
}
