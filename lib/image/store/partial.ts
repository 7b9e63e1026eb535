/**
 * A blob on disk that is not complete: written and hashed as it comes. What there is stays for the next process to use.
 */
import { createHash, type Hash } from 'node:crypto';
import * as fs from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { algorithmOf } from '../../base/digest.js';
import { errnoName } from '../../base/failure.js';
import type { Descriptor } from '../../base/oci.js';
import { openRegular } from '../../base/regular-file.js';
import type { BlobSink } from '../../base/source.js';
import { moveInto, storing, storingLater } from './file-operations.js';
import { isAbandoned, isOwned, lifeOfOwner, ownPath } from './own-files.js';
import { Writer } from './writer.js';

const read = promisify(fs.read);
const sync = promisify(fs.fdatasync);
const rehashChunk = 1 << 20;

interface Elsewhere {
  bytes: number;
  /** Whether one of these processes is known to be running. */
  isRunning: boolean;
}

export class PartialBlob implements BlobSink {
  offset = 0;
  private readonly algorithm: string;
  private hash: Hash;
  private verdict: string | undefined;
  private writer: Writer;

  private constructor(
    private readonly path: string,
    private readonly fd: number,
    private readonly blob: Descriptor,
    private readonly onBytes: (bytes: number) => void,
  ) {
    this.algorithm = algorithmOf(blob.digest);
    this.hash = createHash(this.algorithm);
    this.writer = new Writer(fd, 0);
  }

  /** Takes over the longest part that a dead process has left, or begins a new file. */
  static async claim(directory: string, blob: Descriptor, onBytes: (bytes: number) => void): Promise<PartialBlob> {
    const path = ownPath(directory, blob.digest);
    return storingLater(path, async () => {
      takeOver(directory, blob.digest, path);
      const { O_RDWR, O_CREAT, O_NOFOLLOW } = fs.constants;
      // A FIFO would take 64 KiB, and then let its writer wait for a reader.
      const fd = openRegular(path, O_RDWR | O_CREAT | O_NOFOLLOW, path, 0o644);
      const partial = new PartialBlob(path, fd, blob, onBytes);
      await partial.rehash();
      return partial;
    });
  }

  /** How much of a blob other processes have; undefined when none is fetching it. */
  static elsewhere(directory: string, digest: string): Elsewhere | undefined {
    const others = leftOf(directory, digest)
      .map(({ path, name, size }) => ({ path, size, life: lifeOfOwner(directory, name) }))
      .filter(({ path, life }) => path !== ownPath(directory, digest) && life !== undefined && life !== 'gone');
    if (others.length === 0) return undefined;
    const isRunning = others.some(({ life }) => life === 'running');
    return { bytes: Math.max(...others.map(({ size }) => size)), isRunning };
  }

  /** Whether another living process began with the same blob before this one. */
  hasElder(): boolean {
    const own = basename(this.path);
    const directory = dirname(this.path);
    const age = ageOf(this.path) ?? 0n;
    return leftOf(directory, this.blob.digest).some(({ path, name }) => {
      if (name === own || !isOwned(directory, name)) return false;
      const other = ageOf(path);
      // For two of the same age the name decides, so that not both give way.
      return other !== undefined && (other < age || (other === age && name < own));
    });
  }

  write(chunk: Buffer): Promise<void> | undefined {
    const wait = storing(this.path, () => this.writer.write(chunk));
    this.hash.update(chunk);
    this.offset += chunk.length;
    this.onBytes(this.offset);
    return wait;
  }

  restart(): void {
    this.writer.restart();
    this.hash = createHash(this.algorithm);
    this.verdict = undefined;
    this.offset = 0;
  }

  /** The digest of the content. Only to be asked for when no more bytes come. */
  get digest(): string {
    this.verdict ??= `${this.algorithm}:${this.hash.digest('hex')}`;
    return this.verdict;
  }

  /** Whether it holds the whole blob, by size and digest. */
  isVerified(): boolean {
    return this.offset === this.blob.size && this.digest === this.blob.digest;
  }

  /** Gives a verified blob its name, after a sync: even a power failure leaves no incomplete blob under that name. */
  async publish(path: string): Promise<void> {
    await storingLater(path, async () => {
      await this.writer.done();
      await sync(this.fd);
      moveInto(this.path, path);
    });
  }

  remove(): void {
    fs.rmSync(this.path, { force: true });
  }

  /** Closes the file. It stays for the next process, unless it is empty. */
  async close(): Promise<void> {
    try {
      await storingLater(this.path, () => this.writer.done());
    } finally {
      fs.closeSync(this.fd);
      if (this.offset === 0) this.remove();
    }
  }

  private async rehash(): Promise<void> {
    const { size } = fs.fstatSync(this.fd);
    const buffer = Buffer.allocUnsafe(Math.min(rehashChunk, Math.max(1, size)));
    while (this.offset < size) {
      const { bytesRead } = await read(this.fd, buffer, 0, buffer.length, this.offset);
      if (bytesRead === 0) break;
      this.hash.update(buffer.subarray(0, bytesRead));
      this.offset += bytesRead;
    }
    this.writer = new Writer(this.fd, this.offset);
    if (this.offset > 0) this.onBytes(this.offset);
  }
}

/** Renames the longest part that others left of this blob to `path`. By rename(2) only one process gets it. */
function takeOver(directory: string, digest: string, path: string): void {
  const left = leftOf(directory, digest).filter(({ name }) => isAbandoned(directory, name));
  for (const { path: old } of left.sort((a, b) => b.size - a.size)) {
    try {
      fs.renameSync(old, path);
      return;
    } catch (error) {
      // Another process has taken this one.
      if (errnoName(error) !== 'ENOENT') throw error;
    }
  }
}

/** All partial files of a blob, those of other processes included. */
function leftOf(directory: string, digest: string): { path: string; name: string; size: number }[] {
  const prefix = `${digest.replace(':', '-')}.`;
  return fs
    .readdirSync(directory)
    .filter((name) => name.startsWith(prefix))
    .map((name) => {
      const path = join(directory, name);
      return { path, name, size: fs.statSync(path, { throwIfNoEntry: false })?.size ?? 0 };
    });
}

/** When a file was created, in nanoseconds: statx(2), stx_btime. */
function ageOf(path: string): bigint | undefined {
  return fs.statSync(path, { throwIfNoEntry: false, bigint: true })?.birthtimeNs;
}
