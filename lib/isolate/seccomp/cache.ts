/** Keeps the compiled default filter in a file: it is the same each time, and reading is faster than compiling. */
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { ignoringSystemErrors } from '../../base/failure.js';
import { isOwn } from '../../base/own.js';
import { userHome, xdgDirectory } from '../../base/user-home.js';

export interface FilterKey {
  /** Of this program: another version may have another profile. */
  version: string;
  /** When the program's file was last changed, in milliseconds: it tells two builds of one version apart. */
  built: number;
  arch: string;
  kernel: string;
  /** The numbers of the capabilities that the profile is resolved for. */
  capabilities: readonly number[];
}

/**
 * Filters of earlier builds and kernels would stay for ever. One that is still used is compiled again after that time.
 */
const keptMs = 30 * 24 * 60 * 60 * 1000;

/**
 * For root a place that only root can write; otherwise the user's own. Not among other caches: those are shared with
 * containers (`-v ~/.cache:/root/.cache`), and one could leave a filter there that refuses nothing, for all that follow.
 */
function cacheDirectory(): string {
  if (process.geteuid!() === 0) return '/var/lib/md';
  return join(xdgDirectory(process.env, 'XDG_STATE_HOME') ?? join(userHome(process.env), '.local/state'), 'md');
}

/** For `FilterKey.built`. */
export function builtAt(program = process.argv[1] ?? process.execPath): number {
  return Math.trunc(statSync(program).mtimeMs);
}

function nameOf({ version, built, arch, kernel, capabilities }: FilterKey): string {
  const set = capabilities.reduce((mask, number) => mask | (1n << BigInt(number)), 0n);
  return `seccomp-${version}-${built.toString(36)}-${arch}-${kernel.replace(/[^A-Za-z0-9.+_-]/g, '_')}-${set.toString(16)}.bpf`;
}

/**
 * The filter for a key: from the cache, or from `compile`, whose result is then kept. A cache that cannot be read or
 * written is not an error. A file that another user could have written is not used.
 */
export async function cachedFilter(
  key: FilterKey,
  compile: () => Promise<Buffer>,
  directory = cacheDirectory(),
): Promise<Buffer> {
  const path = join(directory, nameOf(key));
  const known = readOwn(directory, path);
  if (known) return known;
  const filter = await compile();
  keep(directory, path, filter);
  return filter;
}

function readOwn(directory: string, path: string): Buffer | undefined {
  return ignoringSystemErrors(() => {
    // Whoever may rename in there could put the filter of a container with more powers in the place of this one.
    if (!isOwn(statSync(directory))) return undefined;
    // A FIFO would wait for a writer.
    const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const stats = fstatSync(fd);
      return isOwn(stats) && stats.isFile() ? unsealed(readFileSync(fd)) : undefined;
    } finally {
      closeSync(fd);
    }
  });
}

/** Behind the filter in the file. */
const sealBytes = 4;

/**
 * The filter of a file; undefined for one that is not as it was written. A disk may have lost what was written to it
 * shortly before a power failure, and leave zeros there. The kernel would refuse those each time, or have less refused.
 */
function unsealed(file: Buffer): Buffer | undefined {
  const filter = file.subarray(0, -sealBytes);
  return filter.length > 0 && file.equals(sealed(filter)) ? filter : undefined;
}

/** A filter, whose length is a multiple of 8, with a checksum: FNV-1a of its words, which are fewer than its bytes. */
function sealed(filter: Buffer): Buffer {
  const seal = Buffer.alloc(sealBytes);
  const words = new Uint32Array(Uint8Array.from(filter).buffer, 0, filter.length >>> 2);
  seal.writeUInt32LE(words.reduce((hash, word) => Math.imul(hash ^ word, 0x01000193), 0x811c9dc5) >>> 0);
  return Buffer.concat([filter, seal]);
}

/**
 * Writes the file under another name first, so that a reader finds a whole filter or none. In a read-only or foreign
 * directory the next run compiles again.
 */
function keep(directory: string, path: string, filter: Buffer): void {
  const draft = `${path}.${process.pid}`;
  ignoringSystemErrors(() => {
    mkdirSync(directory, { recursive: true, mode: 0o755 });
    try {
      writeFileSync(draft, sealed(filter), { mode: 0o644, flag: 'wx' });
      renameSync(draft, path);
    } catch (error) {
      // A part of it on a full disk, or what a run that was killed has left, if it had the same number.
      rmSync(draft, { force: true });
      throw error;
    }
    sweep(directory);
  });
}

/** A run that reads a filter meanwhile has it open, or finds none and compiles it. */
function sweep(directory: string): void {
  for (const name of readdirSync(directory)) {
    const path = join(directory, name);
    const isOld = name.startsWith('seccomp-') && lstatSync(path).mtimeMs < Date.now() - keptMs;
    if (isOld) rmSync(path, { force: true });
  }
}
