/** A new file that is open while its content arrives, in pieces and with holes. */
import { close, fchmod, ftruncate, lseek, utimensat, write } from '../../sys/syscalls/calls.js';
import { O, SEEK } from '../../sys/syscalls/constants.js';
import { EFBIG, EINVAL } from '../../sys/syscalls/errno.js';
import { SyscallError } from '../../sys/syscalls/syscall.js';
import { type ByteString, shown } from '../../tar/bytes.js';
import type { Time } from '../../tar/pax.js';
import { timespecs } from './timespec.js';

/** Flags of openat(2) for a new file, and never one that a symlink at its name leads to. */
export const newFileFlags = O.WRONLY | O.CREAT | O.EXCL | O.NOFOLLOW | O.CLOEXEC;

/** What a file is to be like when it is closed. */
export interface FileEnd {
  /** Bytes, holes included. */
  size: number;
  /** Set after the content, since writing clears setuid; `undefined` when the mode is right already. */
  mode: number | undefined;
  mtime: Time;
}

export class OpenFile {
  private endsInHole = false;
  private isClosed = false;

  constructor(
    private readonly fd: number,
    private readonly path: ByteString,
  ) {}

  /** Throws `SyscallError`, as do the other methods. */
  write(bytes: Buffer): void {
    for (let rest = bytes; rest.length > 0; ) rest = rest.subarray(write(this.fd, rest, rest.length));
    this.endsInHole = false;
  }

  hole(length: number): void {
    const at = lseek.try(this.fd, length, SEEK.CUR);
    // Beyond the filesystem's largest file lseek(2) gives EINVAL, where write(2) gives EFBIG.
    if (at < 0) throw new SyscallError('lseek', at === -EINVAL ? EFBIG : -at, shown(this.path));
    this.endsInHole = true;
  }

  /** Completes and closes the file. `set` is called after the content, since writing removes file capabilities. */
  finish({ size, mode, mtime }: FileEnd, set: (fd: number) => void): void {
    if (this.endsInHole) ftruncate(this.fd, size);
    set(this.fd);
    if (mode !== undefined) fchmod(this.fd, mode);
    utimensat(this.fd, null, timespecs(mtime), 0);
    this.isClosed = true;
    close(this.fd);
  }

  /** Closes the file as it is, after a failure. */
  letGo(): void {
    if (!this.isClosed) close.try(this.fd);
    this.isClosed = true;
  }
}
