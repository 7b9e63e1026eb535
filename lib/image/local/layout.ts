/**
 * An OCI image layout as a source of images, in a directory or in an archive. It is the user's own, and only read.
 * Source: image-spec, image-layout.md.
 */
import { asJson, asObject, asString, isDigest } from '../../base/check.js';
import type { Failure } from '../../base/failure.js';
import { namesImage } from '../../base/media-types.js';
import { documentLimit, type IndexEntry, isAttestation } from '../../base/oci.js';
import type { BlobRequest, BlobSink, RawManifest } from '../../base/source.js';
import { blobPath } from '../store/blob-files.js';
import { imageOf, indexJson, parseIndex, tagOf } from '../store/index-json.js';
import { bad, type FilePart, type Files } from './files.js';
import { type Found, type LocalSource, noSuchImage } from './local-source.js';

const damaged = 'the image layout is damaged';

export class Layout implements LocalSource {
  private constructor(
    private readonly files: Files,
    private readonly entries: IndexEntry[],
  ) {}

  /** Undefined when there is no layout in these files. */
  static async open(files: Files): Promise<Layout | undefined> {
    const marker = files.open('oci-layout');
    if (!marker) return undefined;
    checkVersion(await wholeOf(marker), `${files.place}: oci-layout`);
    const file = files.open('index.json');
    if (!file) throw bad(files.place, 'it has no index.json');
    const { entries } = parseIndex(await wholeOf(file), `${files.place}: index.json`, damaged);
    const checkable = entries.filter(({ digest }) => isDigest(digest));
    return new Layout(files, checkable);
  }

  async find(selector: string | undefined, isNamed: (name: string) => boolean): Promise<Found> {
    const { entries } = this;
    const chosen = selector === undefined ? ownImages(entries) : this.select(selector, isNamed);
    const [entry, ...more] = chosen;
    if (!entry) throw this.notOne(selector);
    // The same image may have several names.
    if (more.every(({ digest }) => digest === entry.digest)) return { reference: entry.digest, name: imageOf(entry) };
    // Several entries of one name are one image for several platforms.
    const reference = imageOf(entry);
    if (more.some((it) => imageOf(it) !== reference) || reference === undefined) throw this.notOne(selector);
    return { reference, name: reference };
  }

  async manifest(reference: string): Promise<RawManifest> {
    if (isDigest(reference)) {
      const entry = this.entries.find(({ digest }) => digest === reference);
      return { bytes: await wholeOf(this.blobFile(reference, entry?.size)), contentType: entry?.mediaType };
    }
    const entries = this.entries.filter((entry) => imageOf(entry) === reference);
    return { bytes: Buffer.from(indexJson(entries)), contentType: undefined };
  }

  async blob({ digest, size, urls: [url] = [] }: BlobRequest, sink: BlobSink): Promise<void> {
    // Nothing is downloaded: who names a place on this machine may have no network, or want none.
    const hint = url === undefined ? undefined : `it is a foreign layer: put what is at ${url} there`;
    const file = this.blobFile(digest, size, hint);
    try {
      for await (const chunk of file.chunks(sink.offset)) await sink.write(chunk);
    } finally {
      file.close();
    }
  }

  async has(digest: string): Promise<boolean> {
    const file = this.openBlob(digest);
    file?.close();
    return file !== undefined;
  }

  private select(selector: string, isNamed: (name: string) => boolean): IndexEntry[] {
    if (isDigest(selector)) return this.entries.filter(({ digest }) => digest === selector);
    const named = this.entries.filter((entry) => imageOf(entry) === selector || tagOf(entry) === selector);
    return named.length > 0 ? named : this.entries.filter((entry) => isNamed(imageOf(entry) ?? ''));
  }

  /** A blob of a given size, if that is known. `hint` is for one that is missing. */
  private blobFile(digest: string, size?: number, hint?: string): FilePart {
    const file = this.openBlob(digest);
    if (!file) throw bad(this.files.place, `${blobPath('blobs', digest)} is missing`, hint);
    if (size === undefined || file.size === size) return file;
    file.close();
    throw bad(file.name, `it has ${file.size} bytes, not ${size}`);
  }

  private openBlob(digest: string): FilePart | undefined {
    return this.files.open(blobPath('blobs', digest));
  }

  private notOne(selector: string | undefined): Failure {
    return noSuchImage(
      this.files.place,
      selector,
      ownImages(this.entries).map((entry) => imageOf(entry) ?? `@${entry.digest}`),
    );
  }
}

/** Without what only goes with an image: SBOMs, signatures, and whatever else a layout may list. */
function ownImages(entries: IndexEntry[]): IndexEntry[] {
  const images = entries.filter((entry) => namesImage(entry) && !isAttestation(entry));
  return images.length > 0 ? images : entries;
}

/** image-spec, image-layout.md, "oci-layout file". A layout of the next version may keep its blobs anywhere. */
function checkVersion(marker: Buffer, name: string): void {
  const value = asObject(asJson(marker, name, damaged), name);
  const version = asString(value.imageLayoutVersion, `${name}: imageLayoutVersion`);
  if (!version.startsWith('1.')) throw bad(name, `the layout is of version ${version}, and only 1 is known`);
}

async function wholeOf(file: FilePart): Promise<Buffer> {
  try {
    return await file.whole(documentLimit);
  } finally {
    file.close();
  }
}
