/**
 * index.json of an OCI image layout: which images it has, and under which names.
 * Sources: image-spec, image-layout.md and annotations.md; `io.containerd.image.name` is where containerd, docker and
 * podman look for the full name.
 */
import { asJson, asObject, type JsonObject } from '../../base/check.js';
import { ociIndexType } from '../../base/media-types.js';
import { asIndexEntries, type IndexEntry } from '../../base/oci.js';
import { checkNesting } from '../manifest/verified.js';

const refName = 'org.opencontainers.image.ref.name';
const fullName = 'io.containerd.image.name';

/**
 * An index, and its entries checked; `path` and `hint` are for messages. Throws `Failure` 65 when it is no image index.
 */
export function parseIndex(bytes: Buffer, path: string, hint: string): { index: JsonObject; entries: IndexEntry[] } {
  const value = asJson(bytes, path, hint);
  checkNesting(bytes, path);
  const index = asObject(value, path);
  return { index, entries: asIndexEntries(index.manifests ?? null, `${path}.manifests`) };
}

export function indexJson(entries: IndexEntry[], index: JsonObject = {}): string {
  return JSON.stringify({ schemaVersion: 2, mediaType: ociIndexType, ...index, manifests: entries });
}

/** The tag of an entry: `latest`, or a full image name. */
export function tagOf({ annotations }: IndexEntry): string | undefined {
  return annotations?.[refName];
}

/** The name of the image that an entry belongs to; undefined when the entry does not say. */
export function imageOf({ annotations }: IndexEntry): string | undefined {
  return annotations?.[fullName] ?? annotations?.[refName];
}

/**
 * `entry` with the name of an image, as it is: not each name is one by annotations.md, "ref.name", which has no `__` and
 * no brackets, and another name would be that of another image.
 */
export function named(entry: IndexEntry, image: string): IndexEntry {
  return { ...entry, annotations: { ...entry.annotations, [refName]: image, [fullName]: image } };
}

/**
 * `entry` without its tag, for another platform of the same image: two entries with one tag would be ambiguous to
 * readers.
 */
export function unnamed(entry: IndexEntry): IndexEntry {
  const { [refName]: name, ...annotations } = entry.annotations ?? {};
  return name === undefined ? entry : { ...entry, annotations: { [fullName]: name, ...annotations } };
}
