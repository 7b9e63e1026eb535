/**
 * The store: an OCI image layout below $MD_HOME, and beside it the blobs that are not whole yet.
 *
 *     $MD_HOME/oci/       oci-layout, index.json, blobs/sha256/HEX: readable as `oci:` by skopeo, umoci, podman
 *     $MD_HOME/partial/   sha256-HEX.PID.START: being written by that process, or left behind by it
 *
 * A blob is in the layout whole or not at all. A partial file survives its process; the next one that wants the same
 * blob takes it over by renaming it, unless its owner is alive.
 *
 * Source: image-spec, image-layout.md.
 */
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { homedir } from 'node:os';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { arrayOf, asObject, optional } from '../pipe/check.js';
import { errnoName, Failure, failureOf } from '../pipe/failure.js';
import { asDescriptor, type Descriptor, type Platform } from '../pipe/oci.js';
import { Status } from '../pipe/status.js';
import { Partial } from './partial.js';
import type { Source } from './source.js';

const refName = 'org.opencontainers.image.ref.name';

/** $MD_HOME, by default ${XDG_DATA_HOME:-~/.local/share}/md. */
export function storeHome(env: NodeJS.ProcessEnv = process.env): string {
  if (env.MD_HOME) return resolve(env.MD_HOME);
  // The XDG base directory specification has relative paths ignored.
  const data = env.XDG_DATA_HOME && isAbsolute(env.XDG_DATA_HOME) ? env.XDG_DATA_HOME : join(homedir(), '.local/share');
  return join(data, 'md');
}

export interface Fetched {
  path: string;
  /** It was in the store already. */
  found: boolean;
}

/** An image whose manifest is in the store. */
export interface ImageEntry {
  /** Its name. */
  image: string;
  /** Of the manifest. */
  digest: string;
  mediaType: string;
  platform: Platform;
}

export class Store {
  readonly #oci: string;
  readonly #partials: string;

  /** Makes the layout where there is none. Throws `Failure` 74 or 77 when the disk does not let it. */
  constructor(readonly home: string = storeHome()) {
    this.#oci = join(home, 'oci');
    this.#partials = join(home, 'partial');
    onDisk(home, () => {
      fs.mkdirSync(this.#partials, { recursive: true, mode: 0o700 });
      if (!fs.existsSync(join(this.#oci, 'oci-layout'))) this.#makeLayout();
    });
  }

  /** Where a blob is, or would be. */
  path(digest: string): string {
    return join(this.#oci, 'blobs', digest.replace(':', '/'));
  }

  /** A small blob, or undefined when it is not there, or not what its name says: then it can be fetched anew. */
  read(digest: string): Buffer | undefined {
    let bytes: Buffer;
    try {
      bytes = fs.readFileSync(this.path(digest));
    } catch (error) {
      if (errnoName(error) === 'ENOENT') return undefined;
      throw failureOf(error, this.path(digest));
    }
    const [algorithm = ''] = digest.split(':');
    return createHash(algorithm).update(bytes).digest('hex') === digest.slice(algorithm.length + 1) ? bytes : undefined;
  }

  /** Adds a blob whose digest was verified. */
  put(digest: string, bytes: Buffer): void {
    if (this.read(digest)) return;
    onDisk(this.path(digest), () => {
      const temporary = Partial.ownPath(this.#partials, digest);
      fs.writeFileSync(temporary, bytes);
      this.#publish(temporary, digest);
    });
  }

  /**
   * Brings a blob into the store, unless it is there: downloads it, verifies size and digest, and only then gives it its
   * name. `onBytes` hears how many bytes there are. Throws `Failure` 65 when the content is wrong; then nothing stays.
   */
  async fetch(blob: Descriptor, source: Source, onBytes: (bytes: number) => void = () => {}): Promise<Fetched> {
    const path = this.path(blob.digest);
    if (this.#has(blob)) return { path, found: true };
    const partial = await Partial.claim(this.#partials, blob, onBytes);
    try {
      const resumed = partial.offset > 0;
      await source.blob(blob, partial);
      if (!partial.isVerified() && resumed) {
        // What an earlier process left behind may be the reason: this once, from the start.
        partial.restart();
        await source.blob(blob, partial);
      }
      if (!partial.isVerified()) {
        partial.remove();
        throw mismatch(blob, partial);
      }
      onDisk(path, () => this.#publish(partial.path, blob.digest));
    } finally {
      partial.close();
    }
    return { path, found: false };
  }

  /** Enters an image into index.json under its name, in place of what had that name. */
  async tag({ image, digest, mediaType, platform }: ImageEntry): Promise<void> {
    const isThere = this.#entries().some((it) => it.digest === digest && it.annotations?.[refName] === image);
    if (isThere) return;
    const { size } = onDisk(this.path(digest), () => fs.statSync(this.path(digest)));
    const entry = { mediaType, digest, size, platform, annotations: { [refName]: image } };
    await this.#updateIndex((entries) => [entry, ...entries.filter((it) => it.annotations?.[refName] !== image)]);
  }

  /**
   * Takes out a layer whose content turned out to be wrong when it was unpacked, and the image that it belongs to from
   * index.json.
   */
  async discard(layerDigest: string, imageDigest: string): Promise<void> {
    onDisk(this.path(layerDigest), () => fs.rmSync(this.path(layerDigest), { force: true }));
    if (!this.#entries().some(({ digest }) => digest === imageDigest)) return;
    await this.#updateIndex((entries) => entries.filter(({ digest }) => digest !== imageDigest));
  }

  #has({ digest, size }: Descriptor): boolean {
    const stat = fs.statSync(this.path(digest), { throwIfNoEntry: false });
    return stat?.isFile() === true && stat.size === size;
  }

  #publish(temporary: string, digest: string): void {
    const path = this.path(digest);
    fs.mkdirSync(dirname(path), { recursive: true });
    try {
      fs.renameSync(temporary, path);
    } catch (error) {
      // Another process may have taken this one for dead (another PID namespace) and finished its file.
      if (errnoName(error) !== 'ENOENT' || !fs.existsSync(path)) throw error;
    }
  }

  /** All at once, so that nobody ever sees half of a layout. */
  #makeLayout(): void {
    const staged = fs.mkdtempSync(join(this.#partials, 'oci-'));
    fs.chmodSync(staged, 0o755);
    fs.mkdirSync(join(staged, 'blobs/sha256'), { recursive: true });
    fs.writeFileSync(join(staged, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
    fs.writeFileSync(join(staged, 'index.json'), indexJson([]));
    try {
      fs.renameSync(staged, this.#oci);
    } catch (error) {
      fs.rmSync(staged, { recursive: true, force: true });
      const lost = ['ENOTEMPTY', 'EEXIST'].includes(errnoName(error) ?? '');
      if (!lost || !fs.existsSync(join(this.#oci, 'oci-layout'))) throw error;
    }
  }

  #entries(): Descriptor[] {
    const path = join(this.#oci, 'index.json');
    const text = onDisk(path, () => fs.readFileSync(path, 'utf8'));
    let index: unknown;
    try {
      index = JSON.parse(text);
    } catch {
      throw new Failure(Status.data, path, 'it is no JSON', { hint: 'the store is damaged: move it away' });
    }
    return optional(asObject(index, path).manifests, `${path}: manifests`, arrayOf(asDescriptor)) ?? [];
  }

  async #updateIndex(change: (entries: Descriptor[]) => Descriptor[]): Promise<void> {
    const unlock = await this.#lock();
    try {
      const path = join(this.#oci, 'index.json');
      const temporary = Partial.ownPath(this.#partials, 'index');
      const text = indexJson(change(this.#entries()));
      onDisk(path, () => {
        fs.writeFileSync(temporary, text);
        fs.renameSync(temporary, path);
      });
    } finally {
      unlock();
    }
  }

  /** flock(2): the kernel lets go of it when its process dies, however it dies. */
  async #lock(): Promise<() => void> {
    const [{ flock }, { LOCK }] = await Promise.all([import('../sys/calls.js'), import('../sys/constants.js')]);
    const path = join(this.home, 'lock');
    const fd = onDisk(path, () => fs.openSync(path, 'a', 0o600));
    for (;;) {
      try {
        flock(fd, LOCK.EX | LOCK.NB);
        return () => fs.closeSync(fd);
      } catch (error) {
        if (errnoName(error) !== 'EAGAIN') {
          fs.closeSync(fd);
          throw failureOf(error, path);
        }
        await sleep(20);
      }
    }
  }
}

function indexJson(manifests: Descriptor[]): string {
  return JSON.stringify({ schemaVersion: 2, mediaType: 'application/vnd.oci.image.index.v1+json', manifests });
}

function mismatch({ digest, size }: Descriptor, { offset, digest: got }: Partial): Failure {
  const why = offset === size ? `digest mismatch: its content has ${got}` : `it has ${offset} bytes, not ${size}`;
  return new Failure(Status.data, `blob ${digest}`, why);
}

function onDisk<T>(what: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw failureOf(error, what);
  }
}
