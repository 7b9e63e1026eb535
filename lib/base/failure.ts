import { errnoNameOf, wordsOfErrno } from './errno-names.js';
import { Status } from './status.js';

/** Characters. A message may contain two of the longest paths. */
const messageLimit = 10_000;

/** What a failure may have besides what failed and why. */
export interface FailureOptions {
  /** What the user can do about it, as a phrase without a full stop. */
  hint?: string | undefined;
  /** The error underneath; shown with MD_DEBUG=1. */
  cause?: unknown;
  /** Further fields of the error document, for programs (for example `retryAfter` in seconds). Never a secret. */
  details?: Record<string, unknown>;
}

/** The same for a system error. */
export interface SystemFailureOptions extends FailureOptions {
  /** Hints for some errors alone, by errno names. */
  hints?: Readonly<Record<string, string>>;
}

/**
 * The one shape of error that `lib` throws: an exit status, what was attempted on what, why it failed, what to do.
 * Its message is the one line that the user reads: `WHAT: WHY; HINT`.
 */
export class Failure extends Error {
  readonly details: Record<string, unknown>;

  constructor(
    readonly status: number,
    readonly what: string,
    readonly why: string,
    options: FailureOptions = {},
  ) {
    const { hint, cause, details } = options;
    super(shorten(oneLine(hint === undefined ? `${what}: ${why}` : `${what}: ${why}; ${hint}`)), { cause });
    this.name = 'Failure';
    this.details = details ?? {};
  }
}

/** Limits the length: a hostile document may have names of megabytes, or an index with countless platforms to list. */
export function shorten(text: string, limit = messageLimit): string {
  return text.length > limit ? `${text.slice(0, limit - 3)}...` : text;
}

/**
 * Replaces control characters. From hostile input they could change the screen of a terminal, or forge a line in a log.
 * Most texts have none, and to make the classes of the expression takes longer than all else that is done with a text.
 */
export function replaceControls(text: string, replacement: (character: string) => string): string {
  return /[^ -~]/.test(text) ? text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, replacement) : text;
}

/** Makes control characters visible. */
export function oneLine(text: string): string {
  return replaceControls(text, (c) =>
    c === '\n' || c === '\t' ? ' ' : `\\x${c.codePointAt(0)!.toString(16).padStart(2, '0')}`,
  );
}

/** The errno name of a Node error ("ENOENT"), or undefined when it is not a system error. */
export function errnoName(error: unknown): string | undefined {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (typeof code !== 'string') return undefined;
  if (/^E[A-Z0-9]+$/.test(code)) return code;
  // That is how libuv calls what it has no name for.
  const [, errno] = /^Unknown system error -(\d+)$/.exec(code) ?? [];
  return errno === undefined ? undefined : errnoNameOf(Number(errno));
}

/** Whether this is a system error of one of these names. */
export function hasErrno(error: unknown, ...names: string[]): boolean {
  return names.includes(errnoName(error) ?? '');
}

const notPermitted = new Set(['EPERM', 'EACCES']);

/** The exit status for a failed operation on the disk, by its errno name. */
export function statusOfErrno(name: string | undefined): number {
  return name !== undefined && notPermitted.has(name) ? Status.notPermitted : Status.io;
}

const damaged = 'its filesystem is damaged: unmount it, and check it with fsck';

/** Hints for errors that any call may give: a limit of the process or the machine, or the state of a filesystem. */
const common: Record<string, string> = {
  EMFILE: 'raise the limit: ulimit -n 4096',
  ENFILE: 'the whole machine has as many open as fs.file-max allows',
  ENOKEY: 'it is encrypted, and locked: fscrypt unlock DIRECTORY opens it',
  ESTALE: 'its server no longer has it, or not under this number: mount the filesystem anew',
  EUCLEAN: damaged,
  EBADMSG: damaged,
  EFBIG: 'ulimit -f, or the filesystem, allows no larger files',
};

/** The hint for such an error, by errno name; undefined for any other error. */
export function commonHint(name: string | undefined): string | undefined {
  return name === undefined ? undefined : common[name];
}

/**
 * A system error as a `Failure`: `WHAT: no space left on device`.
 * A `Failure` is returned unchanged. What is not a system error is a fault of this program, and is thrown again.
 */
export function failureOf(error: unknown, what: string, options: SystemFailureOptions = {}): Failure {
  if (error instanceof Failure) return error;
  const name = errnoName(error);
  if (name === undefined) throw error;
  const hint = commonHint(name) ?? options.hints?.[name] ?? options.hint;
  return new Failure(statusOfErrno(name), what, errnoText(name), { cause: error, ...options, hint });
}

/** Does `act`, and returns its result. A system error becomes a `Failure` about `what`: see `failureOf`. */
export function failingAs<T>(what: string, act: () => T, options?: SystemFailureOptions): T {
  try {
    return act();
  } catch (error) {
    throw failureOf(error, what, options);
  }
}

/** The same for a promise. */
export async function failingLater<T>(what: string, act: () => Promise<T>, options?: SystemFailureOptions): Promise<T> {
  try {
    return await act();
  } catch (error) {
    throw failureOf(error, what, options);
  }
}

/** What `act` returns. System errors of these names are not a failure: then it is undefined. */
export function ignoring<T>(names: string[], act: () => T): T | undefined {
  try {
    return act();
  } catch (error) {
    if (!hasErrno(error, ...names)) throw error;
    return undefined;
  }
}

/** What `act` returns; undefined when it throws any system error. */
export function ignoringSystemErrors<T>(act: () => T): T | undefined {
  try {
    return act();
  } catch (error) {
    if (errnoName(error) === undefined) throw error;
    return undefined;
  }
}

/** What `act` returns; undefined when it throws a `Failure`. */
export function ignoringFailure<T>(act: () => T): T | undefined {
  try {
    return act();
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return undefined;
  }
}

/** The failure to report for an error that nobody caught; undefined when it is a fault of this program. */
export function knownFailure(error: unknown): Failure | undefined {
  if (error instanceof Failure) return error;
  if (isOfWorkingDirectory(error)) {
    const hint = 'it was removed, or may not be looked into: go to another one';
    return failureOf(error, 'the working directory', { hint });
  }
  return commonHint(errnoName(error)) === undefined ? undefined : failureOf(error, 'this process');
}

/** Whether the current directory could not be determined, which every relative path needs. */
function isOfWorkingDirectory(error: unknown): boolean {
  return error instanceof Error && 'syscall' in error && error.syscall === 'uv_cwd';
}

/** The kernel's words for an errno name: "ENOSPC" gives "no space left on device (ENOSPC)". */
export function errnoText(name: string): string {
  const words = wordsOfErrno(name);
  return words === undefined ? name : `${words} (${name})`;
}
