/** Which blobs of an image layout its images consist of. */
import { asObject, isDigest, type JsonObject } from '../pipe/check.js';

/** The content of a document (manifest, index, config), or undefined when the blob is none or is not there. */
type Read = (digest: string) => Buffer | undefined;

/**
 * The digests of `roots`, and of all that the documents mention which they lead to: rather one too many than one too few,
 * whatever media types there will be.
 */
export function reachable(roots: readonly string[], read: Read): Set<string> {
  const found = new Set(roots);
  for (const digest of found) for (const mentioned of digestsIn(parsed(digest, read))) found.add(mentioned);
  return found;
}

/** Whether a blob is an index with one of these manifests in it: what an image was found by, for `--offline` with its digest. */
export function isIndexOf(manifests: ReadonlySet<string>, digest: string, read: Read): boolean {
  const document = parsed(digest, read);
  return document?.manifests !== undefined && digestsIn(document).some((mentioned) => manifests.has(mentioned));
}

/** What is no JSON, a layer, mentions nothing. */
function parsed(digest: string, read: Read): JsonObject | undefined {
  const bytes = read(digest);
  // A brace begins every document, and spares the rest from being taken for text.
  if (bytes?.[0] !== 0x7b) return undefined;
  try {
    return asObject(JSON.parse(bytes.toString('utf8')), digest);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** A list and no recursion: a layer may be JSON that is nested deeper than the stack. */
function digestsIn(document: JsonObject = {}): string[] {
  const digests: string[] = [];
  const values: unknown[] = [document];
  for (let value = values.pop(); value !== undefined; value = values.pop()) {
    if (typeof value === 'string' && isDigest(value)) digests.push(value);
    if (typeof value === 'object' && value !== null) for (const inner of Object.values(value)) values.push(inner);
  }
  return digests;
}
