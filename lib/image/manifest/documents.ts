/** The documents of an image, manifest and config, in their original form: out of a store, or into it. */
import { hasDigest } from '../../base/digest.js';
import { asManifest, type Descriptor, documentLimit } from '../../base/oci.js';
import type { BlobSink, Source } from '../../base/source.js';
import type { ManifestDocument } from '../../pipe/document.js';
import { checkContent, checkDigest, parseJson, tooLarge } from './verified.js';

/** What is needed of a store: whole documents by their digest. `read` returns only what it has verified. */
export interface DocumentStore {
  read(digest: string): Buffer | undefined;
  put(digest: string, bytes: Buffer): void;
}

/**
 * Makes sure that a store has the manifest and the config of an image in their original form: another machine may have
 * resolved them. Returns whether all layers are there as well: somebody may have removed some from the document in the
 * pipe.
 */
export async function keepDocuments(
  source: Source,
  store: DocumentStore & { has(blob: Descriptor): boolean },
  { image, digest, manifest }: Pick<ManifestDocument, 'image' | 'digest' | 'manifest'>,
): Promise<boolean> {
  let bytes = store.read(digest);
  if (!bytes) {
    bytes = (await source.manifest(digest)).bytes;
    checkDigest(bytes, digest, `manifest of ${image}`);
    store.put(digest, bytes);
  }
  const { config, layers } = asManifest(parseJson(bytes, `manifest ${digest}`), `manifest ${digest}`);
  if (config.digest !== manifest.config.digest) return false;
  store.put(config.digest, await fetchConfig(source, store, config));
  return layers.every((layer) => store.has(layer));
}

/** The config of an image, checked: from the store, from its descriptor, or from the source. */
export async function fetchConfig(source: Source, store: DocumentStore, descriptor: Descriptor): Promise<Buffer> {
  const name = `config ${descriptor.digest}`;
  if (descriptor.size > documentLimit) throw tooLarge(name, descriptor.size);
  const bytes = store.read(descriptor.digest) ?? embedded(descriptor) ?? (await readBlob(source, descriptor));
  checkContent(bytes, descriptor, name);
  return bytes;
}

/** image-spec, descriptor.md, "data": the content itself. The caller checks its size and digest like any other's. */
export function embedded({ data }: Descriptor): Buffer | undefined {
  // Go writes an absent one as null.
  return typeof data === 'string' ? Buffer.from(data, 'base64') : undefined;
}

/** Reads a small blob into memory. */
async function readBlob(source: Source, descriptor: Descriptor): Promise<Buffer> {
  const sink = new MemorySink(descriptor);
  await source.blob(descriptor, sink);
  return sink.bytes();
}

class MemorySink implements BlobSink {
  offset = 0;
  private readonly memory: Buffer;

  constructor(private readonly blob: Descriptor) {
    this.memory = Buffer.alloc(blob.size);
  }

  write(chunk: Buffer): undefined {
    chunk.copy(this.memory, this.offset);
    this.offset += chunk.length;
  }

  restart(): void {
    this.offset = 0;
  }

  isVerified(): boolean {
    const { digest, size } = this.blob;
    return this.offset === size && hasDigest(this.bytes(), digest);
  }

  bytes(): Buffer {
    return this.memory.subarray(0, this.offset);
  }
}
