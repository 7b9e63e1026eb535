/**
 * Digests of content, as the image specification writes them: `sha256:HEX`. Source: image-spec, descriptor.md,
 * "Digests".
 */
import { createHash } from 'node:crypto';

/** The algorithm of a digest, by the name that Node has for it. */
export function algorithmOf(digest: string): string {
  return digest.slice(0, digest.indexOf(':'));
}

export function digestOf(bytes: Buffer, algorithm = 'sha256'): string {
  return `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`;
}

/** The digest of content that comes in chunks. */
export async function digestOfChunks(chunks: AsyncIterable<Buffer>, algorithm = 'sha256'): Promise<string> {
  const hash = createHash(algorithm);
  for await (const chunk of chunks) hash.update(chunk);
  return `${algorithm}:${hash.digest('hex')}`;
}

/** Whether content has a digest, which is one of a known algorithm. */
export function hasDigest(bytes: Buffer, digest: string): boolean {
  return digestOf(bytes, algorithmOf(digest)) === digest;
}
