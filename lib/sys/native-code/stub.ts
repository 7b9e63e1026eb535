/**
 * An executable of a few hundred bytes that exists only in memory. The child of a program executes it, and it goes on
 * with the same table of calls.
 *
 * Before that the child is a copy of Node, and /proc/self/exe leads to Node's file on the host. With a script that
 * begins with `#!/proc/self/exe` as its command, the kernel would run that file inside the container, as its root, who
 * could then open it for writing (CVE-2019-5736). Therefore the child first becomes this stub, which is no file of the
 * host and is gone when the process ends. From there it executes the command.
 *
 * Sources: elf(5), memfd_create(2), execveat(2).
 */
import { closeSync, writeSync } from 'node:fs';
import { failureOf, hasErrno } from '../../base/failure.js';
import { close, execveat, fcntl, memfd_create } from '../syscalls/calls.js';
import { AT, arch, F, MFD } from '../syscalls/constants.js';
import { SyscallError } from '../syscalls/syscall.js';
import { stubCode } from './machine-code.js';
import type { Program } from './program.js';
import { pointerArray, type Step, stepOf } from './step.js';

/** The address of the stub in memory, and the offsets of its parts: after the header come parameters and code. */
const base = 0x400000;
const layout = { parameters: 0x100, code: 0x140 } as const;

/**
 * The message when the stub is executed again, without the table: by a script with `#!/proc/self/exe`, or as the
 * command.
 */
const stray = Buffer.from(
  'md-isolate: /proc/self/exe: it leads to no program of the container; name the interpreter, or the command, by its path\n',
);

export interface StubSteps {
  /** Before the change: the table's descriptor loses its close-on-exec mark. */
  prepare: Step;
  /** The change. It has no result when it has succeeded. */
  change: Step;
  /** The first step of the stub. */
  resume: Step;
}

export class Stub {
  /** The memory file with the program's table: shared with the supervisor before and after the change. */
  readonly memory = memfd('md table');
  private readonly file = memfd('md');
  readonly steps: StubSteps = {
    prepare: stepOf(fcntl, [this.memory, F.SETFD, 0]),
    change: stepOf(execveat, [this.file, '', pointerArray(['md-isolate']), pointerArray([]), AT.EMPTY_PATH]),
    resume: stepOf(close, [this.memory]),
  };

  /** Writes the executable for a program; to be called before the start. `resume` is the step to go on at. */
  write(program: Program, resume: Step): void {
    const { address, size, entry } = program.location(resume);
    const code = stubCode();
    const strayAt = base + layout.code + code.length;
    const bytes = elfHeader(layout.code + code.length + stray.length);
    [address, size, this.memory, entry, strayAt, stray.length].forEach((value, i) => {
      bytes.writeBigUInt64LE(BigInt(value), layout.parameters + 8 * i);
    });
    writeSync(this.file, Buffer.concat([bytes, code, stray]));
  }

  /** Closes the supervisor's copies, once the child is started. */
  close(): void {
    closeSync(this.memory);
    closeSync(this.file);
  }
}

/**
 * A memory file that may be executed. Linux 6.3 and later want MFD_EXEC for that; earlier ones refuse the flag. Throws
 * `Failure` 77 where the host forbids such files.
 */
function memfd(name: string): number {
  try {
    return memfd_create(name, MFD.CLOEXEC | MFD.EXEC);
  } catch (error) {
    if (hasErrno(error, 'EINVAL')) return memfd_create(name, MFD.CLOEXEC);
    if (!(error instanceof SyscallError) || error.code !== 'EACCES') throw error;
    throw failureOf(error, error.call, { hint: 'vm.memfd_noexec is 2 on this host: sudo sysctl -w vm.memfd_noexec=1' });
  }
}

/** The beginning of an executable of `length` bytes: one segment, readable and executable, loaded at `base`. */
function elfHeader(length: number): Buffer {
  const bytes = Buffer.alloc(layout.code);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1], 0); // 64 bits, little-endian, version 1
  bytes.writeUInt16LE(2, 16); // ET_EXEC
  bytes.writeUInt16LE(arch === 'arm64' ? 183 : 62, 18); // EM_AARCH64, EM_X86_64
  bytes.writeUInt32LE(1, 20);
  bytes.writeBigUInt64LE(BigInt(base + layout.code), 24); // entry point
  bytes.writeBigUInt64LE(64n, 32); // program headers follow
  bytes.writeUInt16LE(64, 52); // size of this header
  bytes.writeUInt16LE(56, 54); // size of a program header
  bytes.writeUInt16LE(1, 56); // how many there are
  bytes.writeUInt32LE(1, 64); // PT_LOAD
  bytes.writeUInt32LE(5, 68); // PF_R | PF_X
  bytes.writeBigUInt64LE(BigInt(base), 80); // address
  bytes.writeBigUInt64LE(BigInt(base), 88);
  bytes.writeBigUInt64LE(BigInt(length), 96); // size in the file
  bytes.writeBigUInt64LE(BigInt(length), 104); // size in memory
  bytes.writeBigUInt64LE(0x1000n, 112); // alignment
  return bytes;
}
