/** Where an image comes from: a registry, and whatever else can hand out manifests and blobs by their digest. */
import type { Descriptor } from '../pipe/oci.js';

export interface RawManifest {
  /** As they came: their hash is the digest. */
  bytes: Buffer;
  /** The media type that the source claims, as in Content-Type; undefined when it claims none. */
  contentType: string | undefined;
}

/** Where the bytes of a blob go. It may hold a beginning of them already. */
export interface BlobSink {
  /** How many bytes it has. */
  readonly offset: number;
  /** Takes the next bytes, which are its own from now on. A promise asks to send no more until it is fulfilled. */
  write(chunk: Buffer): Promise<void> | undefined;
  /** Forgets all that it has: the bytes come again from the first one. */
  restart(): void;
  /** Whether it holds the whole blob, by size and digest. Ask when no more bytes come. */
  isVerified(): boolean;
}

/** What is asked for. A foreign layer has `urls`: other places where it may be. */
export type BlobRequest = Pick<Descriptor, 'digest' | 'size' | 'urls'>;

export interface Source {
  /** A manifest or index, by tag or digest; at most `limit` bytes of it. Nothing is verified. */
  manifest(reference: string, limit: number): Promise<RawManifest>;
  /** Writes a blob into `sink`, from its offset on up to `size` bytes and never more. Nothing is verified. */
  blob(blob: BlobRequest, sink: BlobSink): Promise<void>;
}
