/** A new file while its content comes, in parts and with holes. */
import { close, fchmod, ftruncate, lseek, utimensat, write } from '../sys/calls.js';
import { EFBIG, EINVAL } from '../sys/errno.js';
import { SyscallError } from '../sys/syscall.js';
import { type ByteString, shown } from './bytes.js';
import type { Time } from './pax.js';
import { timespecs } from './timespec.js';

/** lseek(2), SEEK_CUR. */
const seekCurrent = 1;

/** How a file is left. */
export interface FileEnd {
  /** Bytes, with holes. */
  size: number;
  /** To be set after the content, which would take setuid away; `undefined` when it is right already. */
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

  /** Throws `SyscallError`, as all the others. */
  write(bytes: Buffer): void {
    for (let rest = bytes; rest.length > 0; ) rest = rest.subarray(write(this.fd, rest, rest.length));
    this.endsInHole = false;
  }

  hole(length: number): void {
    const at = lseek.try(this.fd, length, seekCurrent);
    // lseek(2): EINVAL beyond the largest file of the filesystem, where write(2) has EFBIG.
    if (at < 0) throw new SyscallError('lseek', at === -EINVAL ? EFBIG : -at, shown(this.path));
    this.endsInHole = true;
  }

  /** Behind the content, with what `set` does before the last of it: writing takes file capabilities away. */
  finish({ size, mode, mtime }: FileEnd, set: (fd: number) => void): void {
    if (this.endsInHole) ftruncate(this.fd, size);
    set(this.fd);
    if (mode !== undefined) fchmod(this.fd, mode);
    utimensat(this.fd, null, timespecs(mtime), 0);
    this.isClosed = true;
    close(this.fd);
  }

  /** After a failure. */
  letGo(): void {
    if (!this.isClosed) close.try(this.fd);
    this.isClosed = true;
  }
}
