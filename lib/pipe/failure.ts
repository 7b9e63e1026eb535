import { getSystemErrorMap } from 'node:util';
import { Status } from './status.js';

/** Characters; more than two of the longest paths. */
const messageLimit = 10_000;

/** What may be added to a failure beside what failed and why. */
export interface FailureOptions {
  /** What the user can do about it, as a phrase without a full stop. */
  hint?: string;
  /** The error underneath; shown with MD_DEBUG=1. */
  cause?: unknown;
  /** Further fields of the error document, for programs (for example `retryAfter` in seconds). Never a secret. */
  details?: Record<string, unknown>;
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

/** Names and types in a hostile document may have megabytes, and an index as many platforms to list. */
function shorten(message: string): string {
  return message.length > messageLimit ? `${message.slice(0, messageLimit)}...` : message;
}

/** Control characters come from hostile input; on a terminal they could rewrite the screen, in a log forge a line. */
export const controls = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

export function oneLine(text: string): string {
  return text.replace(controls, (c) =>
    c === '\n' || c === '\t' ? ' ' : `\\x${c.codePointAt(0)!.toString(16).padStart(2, '0')}`,
  );
}

/** The errno name of a Node error ("ENOENT"), or undefined when it is no system error. */
export function errnoName(error: unknown): string | undefined {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return typeof code === 'string' && /^E[A-Z0-9]+$/.test(code) ? code : undefined;
}

const notPermitted = new Set(['EPERM', 'EACCES']);

/** The exit status that fits an errno name met while working on the disk. */
export function statusOfErrno(name: string | undefined): number {
  return name !== undefined && notPermitted.has(name) ? Status.notPermitted : Status.io;
}

/** What any call may meet, wherever it is made: no fault of it, nor of this program. */
const shortages: Record<string, string> = {
  EMFILE: 'raise the limit: ulimit -n 4096',
  ENFILE: 'the whole machine has as many open as fs.file-max allows',
  EFBIG: 'ulimit -f, or the filesystem, allows no larger files',
};

/** What to do about a lack of what every call needs, by its errno name; undefined for any other error. */
export function shortageHint(name: string | undefined): string | undefined {
  return name === undefined ? undefined : shortages[name];
}

/**
 * A system error as a `Failure`: `WHAT: no space left on device`.
 * A `Failure` passes through as it is, and what is no system error is a fault of this program and is thrown on.
 */
export function failureOf(error: unknown, what: string, options: FailureOptions = {}): Failure {
  if (error instanceof Failure) return error;
  const name = errnoName(error);
  if (name === undefined) throw error;
  const hint = shortageHint(name) ?? options.hint;
  return new Failure(statusOfErrno(name), what, errnoText(name), {
    cause: error,
    ...options,
    ...(hint ? { hint } : {}),
  });
}

/** An error that reached the top: a `Failure` as it is, or a lack of what nothing can do without. Undefined is a fault. */
export function knownFailure(error: unknown): Failure | undefined {
  if (error instanceof Failure) return error;
  if (isOfWorkingDirectory(error)) {
    const hint = 'it was removed, or may not be looked into: go to another one';
    return failureOf(error, 'the working directory', { hint });
  }
  return shortageHint(errnoName(error)) === undefined ? undefined : failureOf(error, 'this process');
}

/** Every relative path begins with it. */
function isOfWorkingDirectory(error: unknown): boolean {
  return error instanceof Error && 'syscall' in error && error.syscall === 'uv_cwd';
}

/** The kernel's words for an errno name: "ENOSPC" gives "no space left on device (ENOSPC)". */
export function errnoText(name: string): string {
  for (const [code, message] of getSystemErrorMap().values()) if (code === name) return `${message} (${name})`;
  return name;
}
