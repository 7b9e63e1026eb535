/** The one file that knows koffi: functions of the C library that this process already has in memory. */
import koffi from 'koffi';
import { once } from '../../base/once.js';

/** How an argument crosses to C: a number, or a pointer given as a Buffer, an address or null. */
export type FfiType = 'int64_t' | 'void *';
export type FfiArg = number | bigint | Uint8Array | null;
export type NativeFunction = (...args: FfiArg[]) => number;

/**
 * `syscall(2)` of the C library, with a number and six arguments: the kernel ignores those that a call does not have,
 * and variadic and plain calls pass integers alike here. All are pointers, for which koffi takes a number as well. One
 * function for each list of types would be faster to call by a twentieth, and takes longer to make than most calls.
 */
export const libcSyscall = once(
  () => koffi.load(null).func('syscall', 'int64_t', ['int64_t', ...Array<FfiType>(6).fill('void *')]) as NativeFunction,
);

/** The errno that the last call in this thread left. */
export function lastErrno(): number {
  return koffi.errno();
}

/** Memory at an address that the kernel gave us, as a Buffer. The mapping must outlive the Buffer. */
export function viewMemory(address: number, bytes: number): Buffer {
  return Buffer.from(koffi.view(BigInt(address), bytes));
}

/** The address of a Buffer's bytes. It stays the same as long as the Buffer is reachable and is not transferred. */
export function addressOf(buffer: Buffer): bigint {
  return BigInt(koffi.address(buffer));
}

/** The text at an address that C code gave us, up to its NUL. */
export function textAt(address: bigint): string {
  return koffi.decode(address, 'char', -1) as string;
}

type KoffiFunction = ReturnType<ReturnType<typeof koffi.load>['func']>;

let codeType: ReturnType<typeof koffi.proto> | undefined;
const codeFunctions = new Map<number, KoffiFunction>();

/**
 * Machine code at an address as `int64_t code(void *argument)`. Making the function takes longer than most calls of it.
 */
function codeFunction(address: number): KoffiFunction {
  let native = codeFunctions.get(address);
  if (!native) {
    codeType ??= koffi.proto('int64_t md_code(void *argument)');
    native = koffi.decode(BigInt(address), codeType) as KoffiFunction;
    codeFunctions.set(address, native);
  }
  return native;
}

/** Calls machine code at an address with an address. */
export function callCode(address: number, argument: number): number {
  return codeFunction(address)(BigInt(argument)) as number;
}

/** A function that runs in the thread pool. Memory that it gets must not change until it has ended. */
export type AsyncFunction = (...args: FfiArg[]) => Promise<number>;

/**
 * The functions of a shared library, or of this process for null; `undefined` when the machine does not have the
 * library.
 */
export function libraryFunctions(name: string | null) {
  let library: ReturnType<typeof koffi.load>;
  try {
    library = koffi.load(name);
  } catch {
    return undefined;
  }
  return {
    has: (name: string): boolean => {
      try {
        library.func(name, 'void', []);
        return true;
      } catch {
        return false;
      }
    },
    plain: (name: string, types: FfiType[]) => library.func(name, 'int64_t', types) as NativeFunction,
    async: (name: string, types: FfiType[]): AsyncFunction => {
      const native = library.func(name, 'int64_t', types);
      return (...args) =>
        new Promise((resolve, reject) => {
          native.async(...args, (error: unknown, result: number) => (error ? reject(error) : resolve(result)));
        });
    },
  };
}
