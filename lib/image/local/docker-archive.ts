/**
 * What `docker save` writes, and `podman save` and skopeo as `docker-archive:`: a tar archive with a manifest.json that
 * names a config and layers for each image. It has no manifest as registries have them, so one is made, the same each
 * time. Layers are usually plain tar archives, whose digest is the diffID in the config; some tools compress them.
 * Source: moby's image/spec, "Combined Image JSON + Filesystem Changeset Format".
 */
import { arrayOf, asJson, asObject, asString, optional } from '../../base/check.js';
import { digestOf, digestOfChunks } from '../../base/digest.js';
import { ociConfigType, ociLayerType, ociManifestType } from '../../base/media-types.js';
import { asImageConfig, checkDiffIDs, type Descriptor, documentLimit, type ImageConfig } from '../../base/oci.js';
import { once } from '../../base/once.js';
import type { BlobRequest, BlobSink, RawManifest } from '../../base/source.js';
import { compressionOf } from '../../compress/magic.js';
import { bad, type FilePart, type Files } from './files.js';
import { type Found, type LocalSource, noSuchImage } from './local-source.js';

/** Even somebody's whole collection has only some hundreds. */
const maxImages = 1000;

/** An image of manifest.json. */
interface Item {
  config: string;
  tags: string[];
  layers: string[];
}

/** What a manifest needs of a config, which may be large. */
interface Config extends Pick<ImageConfig, 'rootfs'> {
  digest: string;
  size: number;
}

interface Made {
  item: Item;
  bytes: Buffer;
  digest: string;
  /** The path of each blob that it names, by digest. */
  blobs: Map<string, string>;
}

export class DockerArchive implements LocalSource {
  /**
   * Layers that were looked at, by where they begin, since one may have any number of names; undefined for one that is
   * not compressed.
   */
  private readonly described = new Map<number, Descriptor | undefined>();
  /** Likewise configs. */
  private readonly configs = new Map<number, Config>();

  private constructor(
    private readonly files: Files,
    private readonly items: Item[],
  ) {}

  /** Undefined when there is no manifest.json in these files. */
  static async open(files: Files): Promise<DockerArchive | undefined> {
    const file = files.open('manifest.json');
    if (!file) return undefined;
    const name = `${files.place}: manifest.json`;
    const items = arrayOf(asItem)(asJson(await file.whole(documentLimit), name), name);
    if (items.length > maxImages) throw bad(name, `it has more than ${maxImages} images`);
    return new DockerArchive(files, items);
  }

  async find(selector: string | undefined, isNamed: (name: string) => boolean): Promise<Found> {
    const fits = ({ item, digest }: Made) => selector === undefined || digest === selector || item.tags.some(isNamed);
    const [found, ...more] = (await this.images()).filter(fits);
    if (!found || (more.length > 0 && selector === undefined)) {
      throw noSuchImage(this.files.place, selector, (await this.images()).flatMap(namesOf));
    }
    return { reference: found.digest, name: found.item.tags.find(isNamed) ?? found.item.tags[0] };
  }

  async manifest(reference: string): Promise<RawManifest> {
    const found = (await this.images()).find(({ digest }) => digest === reference);
    if (!found) throw bad(this.files.place, `image ${reference} is not in it any more`);
    return { bytes: found.bytes, contentType: ociManifestType };
  }

  async blob({ digest, size }: BlobRequest, sink: BlobSink): Promise<void> {
    const path = (await this.images()).flatMap(({ blobs }) => blobs.get(digest) ?? [])[0];
    const file = path === undefined ? undefined : this.files.open(path);
    if (!file) throw bad(this.files.place, `blob ${digest} is not in it any more`);
    if (file.size !== size) throw bad(file.name, `it has ${file.size} bytes, not ${size}`);
    for await (const chunk of file.chunks(sink.offset)) await sink.write(chunk);
  }

  /** Makes the manifests one after the other. Each file is hashed once, since many images may share a large one. */
  private readonly images = once(async () => {
    const made: Made[] = [];
    for (const item of this.items) made.push(await this.make(item));
    return made;
  });

  private async make(item: Item): Promise<Made> {
    const { digest, size, rootfs } = await this.config(item.config);
    const [, promised] = /([0-9a-f]{64})(?:\.json)?$/.exec(item.config) ?? [];
    if (promised !== undefined && digest !== `sha256:${promised}`)
      throw bad(`${this.files.place}: ${item.config}`, 'its name is not its digest');
    checkDiffIDs(item, { rootfs }, this.files.place);
    const layers: Descriptor[] = [];
    for (const [i, path] of item.layers.entries()) layers.push(await this.layer(path, rootfs.diff_ids[i]!));
    const config = { mediaType: ociConfigType, digest, size };
    const manifest = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: ociManifestType, config, layers }));
    const blobs = new Map([[digest, item.config]]);
    for (const [i, layer] of layers.entries()) blobs.set(layer.digest, item.layers[i]!);
    return { item, bytes: manifest, digest: digestOf(manifest), blobs };
  }

  private async config(path: string): Promise<Config> {
    const file = this.file(path);
    const known = this.configs.get(file.start);
    if (known) return known;
    const bytes = await file.whole(documentLimit);
    const name = `${this.files.place}: ${path}`;
    const { type, diff_ids } = asImageConfig(asJson(bytes, name), name).rootfs;
    const config = { digest: digestOf(bytes), size: bytes.length, rootfs: { type, diff_ids } };
    this.configs.set(file.start, config);
    return config;
  }

  private async layer(path: string, diffID: string): Promise<Descriptor> {
    const file = this.file(path);
    const { described } = this;
    if (!described.has(file.start)) described.set(file.start, await describe(file));
    // The digest is the one that the config claims. It is verified when the layer is read.
    return described.get(file.start) ?? { mediaType: ociLayerType, digest: diffID, size: file.size };
  }

  private file(path: string): FilePart {
    const file = this.files.open(path);
    if (!file) throw bad(this.files.place, `${path} is missing`);
    return file;
  }
}

function asItem(value: unknown, name: string): Item {
  const it = asObject(value, name);
  return {
    config: asString(it.Config, `${name}.Config`),
    tags: optional(it.RepoTags, `${name}.RepoTags`, arrayOf(asString)) ?? [],
    layers: optional(it.Layers, `${name}.Layers`, arrayOf(asString)) ?? [],
  };
}

/** The descriptor of a compressed layer, whose digest no config has; undefined for any other. */
async function describe(file: FilePart): Promise<Descriptor | undefined> {
  const compression = compressionOf(await file.head(4));
  if (compression === 'none') return undefined;
  return { mediaType: `${ociLayerType}+${compression}`, digest: await digestOfChunks(file.chunks()), size: file.size };
}

function namesOf({ item, digest }: Made): string[] {
  return item.tags.length > 0 ? item.tags : [`@${digest}`];
}
