/** The images of the benchmarks, in a docker-registry whose storage is kept from one run to the next. */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { asImageIndex, asManifest } from '../../lib/base/oci.js';
import { startDockerRegistry } from '../support/docker-registry.js';
import { peer, runScript, skopeoCopy, umociImage } from '../support/peers.js';
import { needs, needsRoot, remove } from '../support/run.js';

/** Where the registry's storage is kept: `$MD_BENCH_CACHE`, or a directory of the temporary ones. */
export const cache = process.env.MD_BENCH_CACHE ?? join(tmpdir(), 'md-bench-cache');

/** The skip of what needs these images: false, or the reason. */
export const needsImages = needsRoot || needs('docker-registry', 'skopeo', 'umoci', 'mmdebstrap', 'tar');

/** An OCI layout of `big`, tagged `it`. */
const layout = join(cache, 'layout');

/** The layers of `big` as files, lowest first. */
export function bigLayers(): string[] {
  const blob = (digest: string) => join(layout, 'blobs', digest.replace(':', '/'));
  const read = (path: string): unknown => JSON.parse(readFileSync(path, 'utf8'));
  const index = asImageIndex(read(join(layout, 'index.json')), 'index.json');
  const manifest = asManifest(read(blob(index.manifests[0]!.digest)), 'manifest');
  return manifest.layers.map(({ digest }) => blob(digest));
}

/** Names in the registry. */
export const big = 'debian-toolchain:it';
export const small = 'one-layer:it';
export const single = 'one-large-layer:it';
export const medium = 'one-medium-layer:it';

/**
 * Makes what is not there yet: `big`, Debian with a C toolchain, Python, kernel and Boost headers (650 MB and 45,000
 * entries in six layers, 210 MB of gzip), and `small`, `medium` and `single`, one layer of 2, 30 and 150 MB that
 * does not compress.
 */
export async function prepareImages(): Promise<void> {
  await prepare('ready', async (work, registry) => {
    const layers = [1, 2, 3, 4, 5, 6].map((n) => join(work, `${n}.tar`));
    await runScript('toolchain.sh', [work]);
    await umociImage(join(work, 'big'), 'it', layers);
    await skopeoCopy(`oci:${join(work, 'big')}:it`, `${registry}/${big}`);
    await skopeoCopy(`oci:${join(work, 'big')}:it`, `oci:${layout}:it`);
    await oneLayer(work, `${registry}/${small}`, 2_000_000);
  });
  await prepare('ready-medium', (work, registry) => oneLayer(work, `${registry}/${medium}`, 30_000_000));
  await prepare('ready-single', (work, registry) => oneLayer(work, `${registry}/${single}`, 150_000_000));
}

/** Makes images unless the file `done` says that this was done; they get a directory and `docker://HOST:PORT`. */
async function prepare(done: string, make: (work: string, registry: string) => Promise<void>): Promise<void> {
  if (existsSync(join(cache, done))) return;
  console.log(`Making images in ${cache}; this takes up to a few minutes, once.`);
  mkdirSync(cache, { recursive: true });
  const work = mkdtempSync(join(cache, 'work-'));
  const registry = await startDockerRegistry(join(cache, 'registry'));
  try {
    await make(work, `docker://${registry.host}`);
    writeFileSync(join(cache, done), '');
  } finally {
    await registry.close();
    remove(work);
  }
}

/** Copies an image of random bytes to where skopeo is told. */
async function oneLayer(parent: string, to: string, size: number): Promise<void> {
  const work = mkdtempSync(join(parent, 'one-'));
  mkdirSync(join(work, 'files/bin'), { recursive: true });
  writeFileSync(join(work, 'files/bin/data'), randomBytes(size));
  await peer(['tar', '-C', join(work, 'files'), '-cf', join(work, 'layer.tar'), '.']);
  await umociImage(join(work, 'layout'), 'it', [join(work, 'layer.tar')]);
  await skopeoCopy(`oci:${join(work, 'layout')}:it`, to);
}
