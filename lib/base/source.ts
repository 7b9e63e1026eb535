/** A source of images: a registry, or anything else that provides manifests and blobs by their digest. */
import type { BlobSink } from './blob-sink.js';
import type { Descriptor } from './oci.js';

export interface RawManifest {
  /** Unchanged, so that their hash is the digest. */
  bytes: Buffer;
  /** The media type that the source claims, as in Content-Type; undefined when it claims none. */
  contentType: string | undefined;
}

/** The blob that is wanted. A foreign layer has `urls`, other places where it may be. */
export type BlobRequest = Pick<Descriptor, 'digest' | 'size' | 'urls'>;

export interface Source {
  /** A manifest or index, by tag or digest. Nothing is verified but that it is not longer than `documentLimit`. */
  manifest(reference: string): Promise<RawManifest>;
  /** Writes a blob into `sink`, from its offset on up to `size` bytes and never more. Nothing is verified. */
  blob(blob: BlobRequest, sink: BlobSink): Promise<void>;
  /** Whether it has a manifest or index, where that is known without a request for it: on this machine. */
  has?(digest: string): Promise<boolean>;
}
