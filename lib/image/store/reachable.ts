/** Finds the blobs of an image layout that its images consist of. */
import { asObject, isDigest, type JsonObject } from '../../base/check.js';

/** Returns the content of a document (manifest, index, config), or undefined when the blob is none or is missing. */
type Read = (digest: string) => Buffer | undefined;

/**
 * The digests of `roots`, and all digests that are mentioned anywhere in these documents, and in the documents of
 * those, and so on. That may be too many but never too few, whatever new media types there will be.
 */
export function reachable(roots: readonly string[], read: Read): Set<string> {
  const found = new Set(roots);
  for (const digest of found) for (const mentioned of digestsIn(parsed(digest, read))) found.add(mentioned);
  return found;
}

/**
 * Whether a blob is an index with one of these manifests: `--offline` finds an image by the digest of its index as
 * well.
 */
export function isIndexOf(manifests: ReadonlySet<string>, digest: string, read: Read): boolean {
  const document = parsed(digest, read);
  return document?.manifests !== undefined && digestsIn(document).some((mentioned) => manifests.has(mentioned));
}

/** A document as JSON; undefined for a layer, which is not JSON. */
function parsed(digest: string, read: Read): JsonObject | undefined {
  const bytes = read(digest);
  // Every document begins with a brace. Nothing else needs to be decoded.
  if (bytes?.[0] !== 0x7b) return undefined;
  try {
    return asObject(JSON.parse(bytes.toString('utf8')), digest);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** All digests in a document. Without recursion, since a hostile one may be nested too deep for the stack. */
function digestsIn(document: JsonObject = {}): string[] {
  const digests: string[] = [];
  const values: unknown[] = [document];
  for (let value = values.pop(); value !== undefined; value = values.pop()) {
    if (typeof value === 'string' && isDigest(value)) digests.push(value);
    if (typeof value === 'object' && value !== null) for (const inner of Object.values(value)) values.push(inner);
  }
  return digests;
}
