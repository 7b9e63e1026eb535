/**
 * Images that need no registry: in an OCI image layout, in an archive of a layout or of `docker save`, or already in
 * the store. The field `source` of the document tells all stages where:
 *
 *     oci:/absolute/directory    oci-archive:/absolute/file    docker-archive:/absolute/file    store
 *
 * Without it the image is in its registry.
 */
import { type Stats, statSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import { isDigest } from '../../base/check.js';
import { Failure, failureOf, hasErrno } from '../../base/failure.js';
import { once } from '../../base/once.js';
import type { Source } from '../../base/source.js';
import { Status } from '../../base/status.js';
import type { Choice } from '../manifest/platform.js';
import { Offline } from '../store/offline.js';
import { Store } from '../store/store.js';
import { ArchiveFiles } from './archive.js';
import { DockerArchive } from './docker-archive.js';
import { bad, DirectoryFiles } from './files.js';
import { Layout } from './layout.js';
import type { Found, LocalSource } from './local-source.js';

interface LocalImage {
  /** For the document. */
  source: string;
  reference: string;
  /** Possible names, the best one first. Those from the files may be malformed, the last one is not. */
  names: string[];
}

/**
 * `oci:DIR[:NAME|@DIGEST]`, `oci-archive:FILE[:NAME|@DIGEST]` or `docker-archive:FILE[:NAME:TAG|@DIGEST]`, as skopeo
 * has them. Archives are told by what is in them, so either name will do.
 */
const localForm = /^(oci|oci-archive|docker-archive):([^:@]+|[^:]+?)(?::(.+)|@(sha(?:256|512):[0-9a-f]+))?$/s;

/**
 * Finds the image that a command line names. `sameName` tells whether two texts name the same image. Throws `Failure`
 * 64 for what is not of the form, 65 for what is no image or damaged, 66 when it is not there.
 */
export async function findLocal(text: string, sameName: (a: string, b: string) => boolean): Promise<LocalImage> {
  const [, kind, place = '', name, digest] = localForm.exec(text) ?? [];
  if (kind === undefined) {
    throw new Failure(Status.usage, JSON.stringify(text), 'it names no image of this machine', {
      hint: 'oci:DIR[:NAME|@DIGEST], oci-archive:FILE[:NAME|@DIGEST] or docker-archive:FILE[:NAME:TAG|@DIGEST]',
    });
  }
  const path = resolve(place);
  const selector = digest ?? name;
  const source = await open(kind, path);
  const found = await source.find(selector, (it) => selector !== undefined && sameName(it, selector));
  const { reference, names } = await asPromised(found, source, path, selector);
  return { source: `${kind}:${path}`, reference, names };
}

/**
 * Who names an image by a digest is to have that one, and a stranger's layout may call any image so. Where it has the
 * index of that digest, as the store has it, the image is looked for there. Otherwise nobody can tell, and the name is
 * passed over; when the user has given it, that is a failure.
 */
async function asPromised(found: Found, source: LocalSource, path: string, selector: string | undefined) {
  const { name, reference } = found;
  const [, promised = ''] = /@(.*)$/s.exec(name ?? '') ?? [];
  // What is no digest promises nothing: image-spec, annotations.md, has @ among the separators of any name.
  if (!isDigest(promised) || promised === reference) return { reference, names: namesOf(found, path) };
  if (await source.has?.(promised)) return { reference: promised, names: namesOf({ name, reference: promised }, path) };
  if (selector?.includes(promised)) {
    const hint = isDigest(reference) ? `@${reference} in the place of the name takes that image` : undefined;
    throw bad(path, `an image in it is called ${selector}, and nothing in it has that digest`, hint);
  }
  return { reference, names: namesOf({ name: undefined, reference }, path) };
}

/**
 * The source that a document names in its field `source`, for the image that it is about. Throws `Failure` 65 for one
 * that is none, and when it is asked for something as `findLocal` does.
 */
export function openLocal(place: string, image: string, choice: Choice): Source {
  if (place === 'store') return new Offline(new Store(), image, choice);
  const [, kind = '', path = ''] = /^(oci|oci-archive|docker-archive):(\/.*)$/s.exec(place) ?? [];
  if (kind === '') throw bad('source', `${JSON.stringify(place)} is not a known kind of source`);
  return openedLate(() => open(kind, path));
}

/** A source that is opened only when it is asked for something: everything may be in the store already. */
function openedLate(open: () => Promise<Source>): Source {
  const source = once(open);
  return {
    manifest: async (reference) => (await source()).manifest(reference),
    blob: async (blob, sink) => (await source()).blob(blob, sink),
    has: async (digest) => (await (await source()).has?.(digest)) ?? true,
  };
}

async function open(kind: string, path: string): Promise<LocalSource> {
  return kind === 'oci' ? openDirectory(path) : openArchive(path);
}

async function openDirectory(path: string): Promise<LocalSource> {
  if (!statOf(path).isDirectory()) {
    throw bad(path, 'it is not a directory', 'of an archive say oci-archive:FILE or docker-archive:FILE');
  }
  const found = await Layout.open(new DirectoryFiles(path));
  if (found) return found;
  throw bad(path, 'it has no oci-layout', 'an OCI image layout is a directory with that file');
}

async function openArchive(path: string): Promise<LocalSource> {
  if (statOf(path).isDirectory()) throw bad(path, 'it is a directory', 'of an OCI image layout say oci:DIR');
  const files = await ArchiveFiles.open(path);
  // docker writes both in one today. The layout comes first, since it has the digests that registries know.
  const found = (await Layout.open(files)) ?? (await DockerArchive.open(files));
  if (found) return found;
  throw bad(path, 'it has no manifest.json and no oci-layout', 'docker save writes the one, podman save either');
}

function statOf(path: string): Stats {
  try {
    return statSync(path);
  } catch (error) {
    if (!hasErrno(error, 'ENOENT', 'ENOTDIR')) throw failureOf(error, path);
    const hint = basename(path) === '-' ? 'stdin is no source, an archive is a file: save it first' : undefined;
    throw new Failure(Status.missing, path, 'it is not there', { hint });
  }
}

function namesOf({ name, reference }: Found, path: string): string[] {
  const base = basename(path)
    .toLowerCase()
    .replace(/\.(?:tar|tar\.gz|tgz|tar\.zst)$/, '')
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '');
  const own = `localhost/${base || 'image'}`;
  const last = isDigest(reference) ? `${own}@${reference}` : own;
  if (name === undefined) return [last];
  return [/[/:]/.test(name) ? name : `${own}:${name}`, last];
}
