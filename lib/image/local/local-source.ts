/** What a layout and an archive have in common as sources: an image in them is found by a name or a digest. */
import { Failure } from '../../base/failure.js';
import type { Source } from '../../base/source.js';
import { Status } from '../../base/status.js';

/** Whether IMAGE is a place on this machine, and no name. */
export function isPlace(image: string): boolean {
  // `oci:1` could also be a tag of docker.io/library/oci. For that image, the full name can be written.
  return /^(?:oci|oci-archive|docker-archive):/.test(image);
}

/** An image as it was found. */
export interface Found {
  /** The digest of its manifest or index, or the name that several entries have. */
  reference: string;
  /** What it is called there: a tag, or a name. */
  name: string | undefined;
}

export interface LocalSource extends Source {
  /**
   * The image that a user means: by its digest, by a name for which `isNamed` holds, or the only one. Throws `Failure`
   * 66 when there is none, 64 when there are several and no selector says which.
   */
  find(selector: string | undefined, isNamed: (name: string) => boolean): Promise<Found>;
}

/** The failure of `find`: no image fits, or several do. `names` are those that there are. */
export function noSuchImage(place: string, selector: string | undefined, names: string[]): Failure {
  const has = names.length > 0 ? `it has ${[...new Set(names)].slice(0, 20).join(', ')}` : 'it has no images at all';
  if (selector === undefined && names.length > 1) {
    return new Failure(Status.usage, place, 'it has several images', { hint: `name one of them: ${has}` });
  }
  const why = selector === undefined ? 'there is no image in it' : `there is no image ${selector} in it`;
  return new Failure(Status.missing, place, why, { hint: has });
}
