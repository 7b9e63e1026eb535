/**
 * The store: an OCI image layout below $MD_HOME, and beside it the blobs that are not whole yet.
 *
 *     $MD_HOME/oci/       oci-layout, index.json, blobs/sha256/HEX: readable as `oci:` by skopeo, umoci, podman
 *     $MD_HOME/partial/   sha256-HEX.PIDNS.PID.START: being written by that process, or left behind by it
 *
 * A blob is in the layout whole or not at all. A partial file survives its process: the next one that wants the same
 * blob takes it over by renaming it, unless its owner is alive.
 *
 * index.json names the manifest that was resolved for a platform, not the index in which that was found: an index would
 * promise images for other platforms, which are not here. The index is kept as a blob, for `--offline` with its digest.
 *
 * Source: image-spec, image-layout.md.
 */

import * as fs from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDigest } from '../../base/check.js';
import { monotonic } from '../../base/clock.js';
import { Failure, failingAs, hasErrno, ignoring, ignoringSystemErrors } from '../../base/failure.js';
import { type Descriptor, type IndexEntry, platformName } from '../../base/oci.js';
import { fill, type Source } from '../../base/source.js';
import { Status } from '../../base/status.js';
import { warn } from '../../base/trace.js';
import type { ManifestDocument } from '../../pipe/document.js';
import { blobPath, readDocument } from './blob-files.js';
import { makeDirectory, removeAll, renameInStore, storing } from './file-operations.js';
import { blobsIn, layoutIn, partialsIn, storeHint, storeHome } from './home.js';
import { IndexFile } from './index-file.js';
import { imageOf, indexJson, named, unnamed } from './index-json.js';
import { isOld, ownPath, sweepAbandoned, writeWhole } from './own-files.js';
import { PartialBlob } from './partial.js';

const pollMs = 50;
/** How long an incomplete blob is kept when nobody asks for it. */
const keptPartialMs = 7 * 24 * 60 * 60 * 1000;

/** The files of a layout without images. */
const layoutFiles = { 'oci-layout': '{"imageLayoutVersion":"1.0.0"}', 'index.json': indexJson([]) };

interface Fetched {
  path: string;
  /** It was in the store already. */
  found: boolean;
}

/** An image whose manifest is in the store. */
type ImageEntry = Pick<ManifestDocument, 'image' | 'digest' | 'mediaType' | 'platform'>;

export interface StoredBlob {
  digest: string;
  path: string;
  /** Bytes. */
  size: number;
}

export class Store {
  private readonly oci: string;
  private readonly blobsDirectory: string;
  private readonly partials: string;
  private readonly index: IndexFile;

  /**
   * Makes the layout if there is none. When another process that fetches the same blob makes no progress for
   * `patienceMs`, there is a message. Throws `Failure` 74 or 77 when the disk does not permit it.
   */
  constructor(
    readonly home: string = storeHome(),
    private readonly patienceMs = 5000,
  ) {
    this.oci = layoutIn(home);
    this.blobsDirectory = blobsIn(home);
    this.partials = partialsIn(home);
    this.index = new IndexFile(home);
    const hint = storeHint;
    failingAs(this.partials, () => makeDirectory(this.partials, 0o700), { hint });
    failingAs(this.oci, () => this.ensureLayout(), { hint });
  }

  /** The path of a blob, which need not exist. */
  path(digest: string): string {
    return blobPath(this.blobsDirectory, digest);
  }

  /** A document, verified: see `readDocument`. */
  read(digest: string): Buffer | undefined {
    return readDocument(this.blobsDirectory, digest);
  }

  /** Adds a blob whose digest was verified. */
  put(digest: string, bytes: Buffer): void {
    if (this.read(digest)) return;
    storing(this.path(digest), () => writeWhole(this.partials, this.path(digest), bytes));
  }

  /**
   * Brings a blob into the store, unless it is there: downloads it, verifies size and digest, and only then gives it
   * its name. `onBytes` is called with the number of bytes so far. Throws `Failure` 65 when the content is wrong, and
   * removes it.
   */
  async fetch(blob: Descriptor, source: Source, onBytes: (bytes: number) => void = () => {}): Promise<Fetched> {
    const path = this.path(blob.digest);
    if (this.has(blob)) return { path, found: true };
    const partial = await this.claim(blob, onBytes);
    if (!partial) return { path, found: true };
    try {
      if (!(await fill(partial, () => source.blob(blob, partial)))) {
        // Wrong content is of no use to the next process. A part that was only cut short is, and stays.
        partial.remove();
        throw mismatch(blob, partial);
      }
      await partial.publish(path);
    } finally {
      await partial.close();
    }
    return { path, found: false };
  }

  /**
   * Enters an image into index.json under its name. It replaces the one that had this name, except for other platforms.
   */
  async tag({ image, digest, mediaType, platform }: ImageEntry): Promise<void> {
    this.sweep();
    if (this.images(image)[0]?.digest === digest) return;
    const { size } = failingAs(this.path(digest), () => fs.statSync(this.path(digest)));
    const entry = named({ mediaType, digest, size, platform }, image);
    await this.index.update((entries) => [
      entry,
      // The same image for another platform stays.
      ...entries
        .filter((it) => imageOf(it) !== image || !isSamePlatform(it, entry))
        .map((it) => (imageOf(it) === image ? unnamed(it) : it)),
    ]);
  }

  /** The entries of index.json that belong to an image, the last one pulled first: one for each platform. */
  images(image: string): IndexEntry[] {
    return this.entries().filter((it) => imageOf(it) === image);
  }

  /** All entries of index.json. */
  entries(): IndexEntry[] {
    return this.index.entries();
  }

  /** Takes entries out of index.json. */
  async forget(isForgotten: (entry: IndexEntry) => boolean): Promise<void> {
    if (this.entries().some(isForgotten))
      await this.index.update((entries) => entries.filter((it) => !isForgotten(it)));
  }

  /** All blobs, needed or not. */
  blobs(): StoredBlob[] {
    const directory = this.blobsDirectory;
    const digests = failingAs(directory, () =>
      // Somebody may have removed them all.
      (ignoring(['ENOENT'], () => fs.readdirSync(directory)) ?? [])
        // Other programs may leave files of their own here.
        .filter((algorithm) => ['sha256', 'sha512'].includes(algorithm))
        .flatMap((algorithm) => {
          const names = fs.readdirSync(join(directory, algorithm));
          return names.map((name) => `${algorithm}:${name}`).filter(isDigest);
        }),
    );
    return digests.flatMap((digest) => {
      const path = this.path(digest);
      // md-prune may be removing it: with --dry-run this one does not wait for that.
      const stat = failingAs(path, () => fs.lstatSync(path, { throwIfNoEntry: false }));
      return stat ? [{ digest, path, size: stat.size }] : [];
    });
  }

  /**
   * Removes the entries of images that have a layer for which `isBad` is true, and the layer itself unless an image that
   * stays has it.
   */
  async discard(layerDigest: string, isBad: (image: IndexEntry) => boolean): Promise<void> {
    const hasLayer = ({ digest }: IndexEntry) => this.read(digest)?.includes(layerDigest) === true;
    const goes = (image: IndexEntry) => hasLayer(image) && isBad(image);
    const holders = this.entries().filter(hasLayer);
    const path = this.path(layerDigest);
    if (holders.every(isBad)) failingAs(path, () => fs.rmSync(path, { force: true }));
    if (holders.some(isBad)) await this.index.update((entries) => entries.filter((image) => !goes(image)));
  }

  /** Whether a blob is there, by its name and size. */
  has({ digest, size }: Descriptor): boolean {
    const path = this.path(digest);
    const stat = failingAs(path, () => fs.statSync(path, { throwIfNoEntry: false }));
    return stat?.isFile() === true && stat.size === size;
  }

  /** A partial file to download into; undefined when another process has brought the same blob by now. */
  private async claim(blob: Descriptor, onBytes: (bytes: number) => void): Promise<PartialBlob | undefined> {
    for (let stuck = false; ; ) {
      const partial = await PartialBlob.claim(this.partials, blob, onBytes);
      const isThere = this.has(blob);
      if (!isThere && (stuck || !partial.hasElder())) return partial;
      partial.remove();
      await partial.close();
      if (isThere) return undefined;
      stuck = await this.isStuck(blob, onBytes);
    }
  }

  /**
   * Waits for another process that fetches the same blob, so that the registry is asked only once. Returns false when
   * that has ended or the blob is there. A process that is running may make no progress for any time: the registry may
   * have told it to wait, and would tell us the same. But one that is stopped, or in another PID namespace, may never
   * go on: returns true when it makes no progress for a while.
   */
  private async isStuck(blob: Descriptor, onBytes: (bytes: number) => void): Promise<boolean> {
    let most = -1;
    let since = monotonic();
    for (let told = false; ; await sleep(pollMs)) {
      const other = PartialBlob.elsewhere(this.partials, blob.digest);
      if (!other || this.has(blob)) return false;
      if (other.bytes > most) {
        most = other.bytes;
        since = monotonic();
        onBytes(most);
      }
      if (monotonic() - since < this.patienceMs) continue;
      if (!other.isRunning) return true;
      if (!told) warn(`blob ${blob.digest}: waiting for another process, which is fetching it`);
      told = true;
    }
  }

  /**
   * Makes a new layout by one rename, so that nobody sees half of one. In an existing layout it adds the missing files.
   */
  private ensureLayout(): void {
    // Not by existsSync, for which a file that cannot be reached now is none: index.json would be replaced by an empty one.
    const isThere = (name: string) => fs.lstatSync(join(this.oci, name), { throwIfNoEntry: false }) !== undefined;
    if (Object.keys(layoutFiles).every(isThere)) return;
    const staged = ownPath(this.partials, 'oci');
    removeAll(staged);
    try {
      fs.mkdirSync(staged, { mode: 0o755 });
      makeDirectory(join(staged, 'blobs/sha256'));
      for (const [name, text] of Object.entries(layoutFiles))
        fs.writeFileSync(join(staged, name), text, { mode: 0o644, flush: true, flag: 'wx' });
      renameInStore(staged, this.oci);
    } catch (error) {
      removeAll(staged);
      // ENOTDIR: a symbolic link to a directory.
      if (!hasErrno(error, 'ENOTEMPTY', 'EEXIST', 'ENOTDIR')) throw error;
      for (const [name, text] of Object.entries(layoutFiles))
        if (!isThere(name)) writeWhole(this.partials, join(this.oci, name), text);
    }
  }

  /** Removes what dead processes left and nobody will use again. The pull needs none of it gone. */
  private sweep(): void {
    ignoringSystemErrors(() => {
      sweepAbandoned(this.partials, (name) => {
        const [, algorithm, hex] = /^(sha256|sha512)-([0-9a-f]+)\./.exec(name) ?? [];
        // An incomplete blob is of use as long as somebody may want the rest.
        const isWanted = algorithm !== undefined && !fs.existsSync(this.path(`${algorithm}:${hex}`));
        return !isWanted || isOld(join(this.partials, name), keptPartialMs);
      });
    });
  }
}

function isSamePlatform(a: IndexEntry, b: IndexEntry): boolean {
  return !a.platform || !b.platform || platformName(a.platform) === platformName(b.platform);
}

function mismatch({ digest, size }: Descriptor, { offset, digest: got }: PartialBlob): Failure {
  const why = offset === size ? `digest mismatch: its content has ${got}` : `it has ${offset} bytes, not ${size}`;
  return new Failure(Status.data, `blob ${digest}`, why);
}
