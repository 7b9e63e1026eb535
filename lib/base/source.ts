/** A source of images: a registry, or anything else that provides manifests and blobs by their digest. */
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

/** What receives the bytes of a blob, from whatever source they come. */
export interface BlobSink {
  /** How many bytes it has. It may have the first ones already. */
  readonly offset: number;
  /**
   * Takes the next bytes, and owns the buffer from then on. When it returns a promise, the next bytes have to wait for
   * that. It never rejects: what has failed is thrown by the next call.
   */
  write(chunk: Buffer): Promise<void> | undefined;
  /** Drops all bytes: the blob will be sent again from its beginning. */
  restart(): void;
  /** Whether it has the whole blob, by size and digest. Only to be asked when no more bytes come. */
  isVerified(): boolean;
}

/**
 * Has `send` write a blob from the sink's offset on, and returns whether the sink has the right one then. What it had
 * before, from an earlier process or another place, may be what is wrong: then all is sent once more.
 */
export async function fill(sink: BlobSink, send: () => Promise<void>): Promise<boolean> {
  const begun = sink.offset > 0;
  await send();
  const isRight = sink.isVerified();
  if (isRight || !begun) return isRight;
  sink.restart();
  await send();
  return sink.isVerified();
}
