/**
 * A tree appears under its name whole or not at all: it grows beside its place under a temporary name, and is renamed
 * when it is complete. The temporary name tells whose it is, so that the next run can remove what a killed one left.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { onFailure } from '../pipe/cleanup.js';
import { errnoName, Failure, failureOf, statusOfErrno } from '../pipe/failure.js';
import { Status } from '../pipe/status.js';
import { close, fchmod, fchown, fremovexattr, mkdirat, openat, renameat2, unlinkat } from '../sys/calls.js';
import { AT, O, RENAME, S } from '../sys/constants.js';
import { SyscallError } from '../sys/syscall.js';
import { type ByteString, fromBytes } from './bytes.js';
import { EBUSY, EEXIST, ENOTDIR, ENOTEMPTY } from './errno.js';
import { type Stat, statAt } from './stat.js';
import { entriesOf, removeTree, type Unset } from './tree.js';
import { unsetLines } from './unset.js';

const openDirectory = O.RDONLY | O.DIRECTORY | O.CLOEXEC;
/** Configuration and manifest have 4 MiB each at most, and more when indented. */
const maxDocumentBytes = 64 * 1024 * 1024;

export interface StageOptions {
  /** Replace a directory that is not empty. */
  force: boolean;
  /** Whatever stands as `DIR.json` may be replaced, since no person has put it there. */
  ownsDocument?: boolean;
}

export class Stage {
  /** The root directory of the tree that grows, open. */
  readonly fd: number;
  private readonly finished: () => void;

  private constructor(
    /** Where the tree is to be: absolute. */
    readonly target: string,
    private readonly parent: number,
    private readonly base: string,
    private readonly name: string,
    private readonly force: boolean,
  ) {
    this.fd = makeRoot(parent, name);
    this.finished = onFailure(() => this.discard());
  }

  /**
   * Begins a tree that is to be at `dir`. Throws `Failure` 64 when something is there that `force` does not allow to
   * replace: a directory that is not empty is replaced with `force` only, what is no directory never, nor a `DIR.json`
   * that is something else than the document of a tree.
   */
  static begin(dir: string, { force, ownsDocument }: StageOptions): Stage {
    const target = resolve(dir);
    const base = basename(target);
    if (base === '') throw new Failure(Status.usage, target, 'the root directory is no place for an image');
    let parent = -1;
    try {
      parent = openat(AT.FDCWD, dirname(target), openDirectory, 0);
      checkTarget(parent, base, target, force);
      if (!ownsDocument) checkDocument(parent, base, target);
      removeLeftovers(parent, base, target);
      return new Stage(target, parent, base, `${prefixOf(base)}${process.pid}-${startTime(process.pid)}`, force);
    } catch (error) {
      if (parent >= 0) close(parent);
      throw failureOf(error, dir);
    }
  }

  /** Where the record of what could not be set is put, if there is any. */
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
    const files = [
      {
        name: `${this.base}.json`,
        temporary: `${this.name}.json`,
        lines: whole ? [JSON.stringify(whole, null, 2)] : [],
      },
      { name: `${this.base}.unset.jsonl`, temporary: `${this.name}.unset.jsonl`, lines: unsetLines(unset) },
    ];
    const placed: (() => void)[] = [];
    try {
      // Written first: a disk that is full must not leave a tree without its document.
      for (const { temporary, lines } of files) this.writeFile(temporary, lines);
      placed.push(this.putTree());
      for (const { name, temporary, lines } of files) if (lines.length > 0) placed.push(this.putFile(temporary, name));
    } catch (error) {
      for (const takeBack of placed.reverse()) takeBack();
      this.dropFiles(files);
      throw failureOf(error, this.target);
    }
    for (const { name, lines } of files) if (lines.length === 0) unlinkat.try(this.parent, name, 0);
    // What was there has the temporary names now: should its removal be interrupted, the next run goes on with it.
    this.dropFiles(files);
    this.discard();
    return whole;
  }

  private writeFile(name: string, lines: string[]): void {
    if (lines.length === 0) return;
    writeFileSync(join(dirname(this.target), name), `${lines.join('\n')}\n`, { mode: 0o644, flag: 'wx' });
  }

  private dropFiles(files: { temporary: string }[]): void {
    for (const { temporary } of files) unlinkat.try(this.parent, temporary, 0);
  }

  /** Removes what has grown so far. */
  discard(): void {
    this.finished();
    removeOld(this.parent, toName(this.name), this.target);
    this.close();
  }

  private close(): void {
    close(this.fd);
    close(this.parent);
  }

  /** Returns what takes the tree back to its temporary name, and what was there to its place. */
  private putTree(): () => void {
    const { parent, name, base } = this;
    if (this.force && renameat2.try(parent, name, parent, base, RENAME.EXCHANGE) === 0) {
      return () => renameat2(parent, name, parent, base, RENAME.EXCHANGE);
    }
    const result = renameat2.try(parent, name, parent, base, 0);
    if (result === -ENOTEMPTY || result === -EEXIST || result === -ENOTDIR) throw occupied(this.target);
    if (result === -EBUSY) {
      throw new Failure(Status.usage, this.target, 'something is mounted there', { hint: 'name a directory below it' });
    }
    if (result < 0) throw new SyscallError('renameat2', -result, this.target);
    return () => renameat2(parent, base, parent, name, 0);
  }

  /** The same for a file beside the tree. */
  private putFile(temporary: string, name: string): () => void {
    const { parent } = this;
    const path = join(dirname(this.target), name);
    try {
      checkFile(parent, name, path);
      if (renameat2.try(parent, temporary, parent, name, RENAME.EXCHANGE) === 0) {
        return () => renameat2(parent, temporary, parent, name, RENAME.EXCHANGE);
      }
      renameat2(parent, temporary, parent, name, 0);
      return () => renameat2(parent, name, parent, temporary, 0);
    } catch (error) {
      throw failureOf(error, path);
    }
  }
}

/** The root directory of a new tree, open. After a failure it is not there. */
function makeRoot(parent: number, name: string): number {
  mkdirat(parent, name, 0o700);
  try {
    const fd = openat(parent, name, openDirectory | O.NOFOLLOW, 0);
    // A setgid parent and a default ACL hand themselves on to what is made below.
    fchown(fd, process.geteuid!(), process.getegid!());
    for (const acl of ['system.posix_acl_default', 'system.posix_acl_access']) fremovexattr.try(fd, acl);
    fchmod(fd, 0o755);
    return fd;
  } catch (error) {
    unlinkat.try(parent, name, AT.REMOVEDIR);
    throw error;
  }
}

/** The name of a file in the notation of `lib/unpack`. */
function toName(text: string): string {
  return fromBytes(Buffer.from(text));
}

function checkTarget(parent: number, base: string, target: string, force: boolean): void {
  const stat = statAt(parent, toName(base));
  if (!stat) return;
  if ((stat.mode & S.IFMT) !== S.IFDIR) throw new Failure(Status.usage, target, 'it is there, and is no directory');
  if (force) return;
  const fd = openat(parent, base, openDirectory | O.NOFOLLOW, 0);
  const empty = entriesOf(fd).length === 0;
  close(fd);
  if (!empty) throw occupied(target);
}

/** An archive named `package` must not cost anybody a `package.json`. Throws `Failure` 64, whatever is forced. */
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

/** The status of a file that may be replaced; `undefined` when it is not there. Throws `Failure` 64 for what is no file. */
function checkFile(parent: number, name: string, path: string): Stat | undefined {
  const stat = statAt(parent, toName(name));
  if (stat && (stat.mode & S.IFMT) !== S.IFREG) {
    throw new Failure(Status.usage, path, 'it is there, and is no regular file');
  }
  return stat;
}

function occupied(target: string): Failure {
  return new Failure(Status.usage, target, 'it is there and not empty', { hint: '--force replaces it' });
}

function prefixOf(base: string): string {
  return `.${base}.md-unpack-`;
}

/** Removes a tree that is in nobody's way any more, the one of `target` or one that was begun for it. */
function removeOld(parent: number, name: ByteString, target: string): void {
  try {
    removeTree(parent, name);
  } catch (error) {
    const isForeign = process.geteuid!() !== 0 && statusOfErrno(errnoName(error)) === Status.notPermitted;
    throw failureOf(error, target, isForeign ? { hint: 'what --map has unpacked, only --map removes' } : {});
  }
}

/** Removes the temporary trees of runs that are no more. */
function removeLeftovers(parent: number, base: string, target: string): void {
  const fd = openat(parent, '.', openDirectory, 0);
  const names = entriesOf(fd);
  close(fd);
  const prefix = toName(prefixOf(base));
  for (const name of names) {
    const [, pid, start] =
      /^([0-9]+)-([0-9]+)(?:\.json|\.unset\.jsonl)?$/.exec(name.startsWith(prefix) ? name.slice(prefix.length) : '') ??
      [];
    if (pid !== undefined && startTime(Number(pid)) !== start) removeOld(parent, name, target);
  }
}

/** When a process started, in clock ticks after boot (proc_pid_stat(5), field 22); it tells a reused id apart. */
function startTime(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The command's name stands in parentheses and may hold anything.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch (error) {
    if (errnoName(error) === 'ENOENT' || errnoName(error) === 'ESRCH') return undefined;
    throw error;
  }
}
