/**
 * One wrapper for every system call: it calls, traces and checks, and throws errno together with the call's arguments.
 * The same definition is used for calls here and for those of a child (program.ts).
 */
import { errnoNameOf } from '../../base/errno-names.js';
import { errnoText } from '../../base/failure.js';
import { trace, tracing } from '../../base/trace.js';
import { type FfiArg, lastErrno, libcSyscall } from '../ffi/ffi.js';
import { arch } from './constants.js';

/** A path or name: a string (UTF-8), or the bytes themselves where names need not be UTF-8. No NUL at the end. */
export type Path = string | Uint8Array;
/** Memory that the kernel reads or writes: a Buffer, an address, or null. */
export type Memory = Uint8Array | number | bigint | null;
export type Arg = number | bigint | string | Uint8Array | null;

/** A kind of argument: how it is passed to the kernel, and how a trace shows it. */
export interface Kind<T extends Arg = Arg> {
  /** The value as the kernel takes it. */
  lower(value: T): FfiArg;
  show(value: T): string;
}

type ArgsOf<K extends readonly Kind<never>[]> = { [I in keyof K]: K[I] extends Kind<infer T> ? T : never };

/** What a program of a child (program.ts) has to know of a system call. */
export interface SyscallInfo {
  readonly callName: string;
  readonly number: number;
  readonly kinds: readonly Kind[];
}

export interface Syscall<A extends readonly Arg[]> extends SyscallInfo {
  (...args: A): number;
  /** The same, but returns a negative errno instead of throwing. */
  try(...args: A): number;
}

/** A system call that failed. `code` is the errno name, as in Node's own errors. */
export class SyscallError extends Error {
  readonly code: string;

  constructor(
    readonly syscall: string,
    /** errno, positive. */
    readonly errno: number,
    /** The call in the notation of strace. */
    readonly call: string,
  ) {
    const code = errnoNameOf(errno);
    super(`${call}: ${errnoText(code)}`);
    this.name = 'SyscallError';
    this.code = code;
  }
}

/** Declares a system call: its name, its numbers on x64 and arm64 (asm/unistd.h), its arguments. */
export function syscall<const K extends readonly Kind<never>[]>(
  callName: string,
  [x64, arm64]: readonly [x64: number, arm64: number],
  ...declared: K
): Syscall<ArgsOf<K>> {
  const kinds = declared as unknown as readonly Kind[];
  const number = arch === 'arm64' ? arm64 : x64;

  const attempt = (...args: Arg[]): number => {
    const lowered: FfiArg[] = [number, 0, 0, 0, 0, 0, 0];
    for (let i = 0; i < kinds.length; i++) lowered[i + 1] = kinds[i]!.lower(args[i]!);
    let result = libcSyscall()(...lowered);
    if (result === -1) result = -lastErrno();
    if (tracing()) trace(formatCall(callName, kinds, args, result));
    return result;
  };
  const checked = (...args: Arg[]): number => {
    const result = attempt(...args);
    if (isErrno(result)) throw new SyscallError(callName, -result, formatCall(callName, kinds, args));
    return result;
  };
  return Object.assign(checked, { try: attempt, callName, number, kinds }) as unknown as Syscall<ArgsOf<K>>;
}

/** Whether a result is an error. Errors are -4095 to -1; other negative numbers may be addresses. */
export function isErrno(result: number): boolean {
  return result < 0 && result >= -4095;
}

/** A call as strace writes it: `mkdirat(AT_FDCWD, "etc", 0755) = 0`. Without a result only up to the parenthesis. */
function formatCall(name: string, kinds: readonly Kind[], args: readonly Arg[], result?: number): string {
  const call = `${name}(${kinds.map((kind, i) => kind.show(args[i]!)).join(', ')})`;
  return result === undefined ? call : `${call} = ${formatResult(result)}`;
}

export function formatResult(result: number): string {
  return isErrno(result) ? `-1 ${errnoText(errnoNameOf(-result))}` : String(result);
}
