/** The files of a local image, in a directory or in an archive. They may be hostile. */
import * as fs from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { errnoName, Failure, failingAs, failingLater, failureOf } from '../../base/failure.js';
import { openRegular } from '../../base/regular-file.js';
import { Status } from '../../base/status.js';

const read = promisify(fs.read);
const chunkBytes = 1 << 20;

export interface Files {
  /** Where they are, for messages. */
  readonly place: string;
  /** A regular file by its path, undefined when there is none. Throws `Failure` 65 for anything but a regular file. */
  open(path: string): FilePart | undefined;
}

/** A stretch of a file. */
export class FilePart {
  constructor(
    readonly name: string,
    readonly size: number,
    private readonly fd: number,
    /** Where it begins in the file. */
    readonly start: number,
    private readonly ownsFd: boolean,
  ) {}

  /** The bytes from `offset` on. */
  async *chunks(offset = 0): AsyncGenerator<Buffer> {
    for (let at = offset; at < this.size; ) {
      const chunk = await this.at(at, Buffer.allocUnsafe(Math.min(chunkBytes, this.size - at)));
      at += chunk.length;
      yield chunk;
    }
  }

  /** The first bytes, `length` at most. */
  async head(length: number): Promise<Buffer> {
    return this.size === 0 ? Buffer.alloc(0) : this.at(0, Buffer.alloc(Math.min(length, this.size)));
  }

  /** All of it. Throws `Failure` 65 when that is more than `limit` bytes. */
  async whole(limit: number): Promise<Buffer> {
    if (this.size > limit) throw bad(this.name, `it has ${this.size} bytes, and at most ${limit} are accepted`);
    const chunks: Buffer[] = [];
    for await (const chunk of this.chunks()) chunks.push(chunk);
    return Buffer.concat(chunks);
  }

  close(): void {
    if (this.ownsFd) fs.closeSync(this.fd);
  }

  private async at(offset: number, buffer: Buffer): Promise<Buffer> {
    const part = () => read(this.fd, buffer, 0, buffer.length, this.start + offset);
    const { bytesRead } = await failingLater(this.name, part);
    if (bytesRead === 0) throw bad(this.name, 'it is shorter than it was');
    return buffer.subarray(0, bytesRead);
  }
}

/** Opens a file that a stranger may have made. Undefined when there is none. */
function openPart(path: string): FilePart | undefined {
  try {
    const fd = openRegular(path, fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW);
    return new FilePart(path, fs.fstatSync(fd).size, fd, 0, true);
  } catch (error) {
    if (errnoName(error) === 'ENOENT') return undefined;
    if (errnoName(error) === 'ELOOP') throw bad(path, 'it is a symbolic link', 'cp -rL makes a layout without any');
    throw failureOf(error, path);
  }
}

/** The files in a directory. No symbolic link in it is followed, since a stranger may have made it. */
export class DirectoryFiles implements Files {
  constructor(readonly place: string) {}

  open(path: string): FilePart | undefined {
    let directory = this.place;
    for (const name of path.split('/').slice(0, -1)) {
      directory = join(directory, name);
      if (isOther(directory)) throw bad(directory, 'it is not a directory');
    }
    return openPart(join(this.place, path));
  }
}

/** Whether something exists at a path and is not a directory. */
function isOther(path: string): boolean {
  const stat = failingAs(path, () => fs.lstatSync(path, { throwIfNoEntry: false }));
  return stat !== undefined && !stat.isDirectory();
}

/** The failure for something missing or wrong in a local image. */
export function bad(what: string, why: string, hint?: string): Failure {
  return new Failure(Status.data, what, why, { hint });
}
