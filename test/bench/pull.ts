/** Pulling a large image from a local registry, and unpacking alone. */
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startDockerRegistry } from '../support/docker-registry.js';
import { fetchers, pullers } from './contenders.js';
import { big, bigLayers, cache, prepareImages, small } from './images.js';
import { type Contender, memory, type RaceOptions, race, settledPlaces, workDirectory } from './measure.js';

/**
 * A tmpfs of its own for each run, in memory that the machine has just used: what a virtual machine has given back to
 * its host costs several times as much as what is written to it, for whoever comes to it first.
 */
function tmpfsPlaces(parent: string): RaceOptions['place'] {
  const directory = join(parent, 'tmpfs');
  mkdirSync(directory);
  return () => {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=6g', 'tmpfs', directory]);
    execFileSync('sh', ['-c', 'head -c 2G /dev/zero >"$1" && rm "$1"', 'sh', join(directory, 'used')]);
    return { directory, leave: () => execFileSync('umount', ['-l', directory]) };
  };
}

/** Calls `work` with the address of a registry that holds the images, and with places on disk and on tmpfs. */
async function withRegistry(
  work: (host: string, disk: RaceOptions['place'], tmpfs: RaceOptions['place']) => Promise<void>,
): Promise<void> {
  await prepareImages();
  const directory = workDirectory();
  const registry = await startDockerRegistry(join(cache, 'registry'));
  try {
    await work(registry.host, settledPlaces(join(directory, 'disk'), cache), tmpfsPlaces(directory));
  } finally {
    await registry.close();
  }
}

/**
 * Registry to tree, on tmpfs and on disk, with the peak memory of each process. The disk comes last, here and below:
 * what was written to it is written back for a while, which takes processors from whoever comes next.
 */
export async function benchPull(): Promise<void> {
  await withRegistry(async (host, disk, tmpfs) => {
    const contenders = pullers(`${host}/${big}`);
    await race(contenders, { title: 'Pull to a tree, on tmpfs', rounds: 3, place: tmpfs });
    await race(contenders, { title: `Pull to a tree, on the disk of ${tmpdir()}`, rounds: 3, place: disk });
    await memory(contenders, { title: 'Pull to a tree', place: tmpfs });
  });
}

/** Layers that are on disk already to a tree. */
export async function benchUnpack(): Promise<void> {
  await withRegistry(async (host, disk, tmpfs) => {
    const files = bigLayers().map((path) => `'${path}'`);
    const store = join(workDirectory(), 'home');
    const contenders: Contender[] = [
      {
        name: 'md-unpack',
        setup: `export MD_HOME=${store}
          md-token ${host}/${big} | md-manifest | md-fetch-layer >$1/lines`,
        script: 'md-unpack $1/rootfs <$1/lines',
      },
      {
        name: 'tar -xzf, one layer after the other',
        script: `mkdir $1/rootfs && for f in ${files.join(' ')}; do tar -C $1/rootfs -xpzf "$f" --numeric-owner; done`,
      },
    ];
    await race(contenders, { title: 'Unpack, on tmpfs', rounds: 5, place: tmpfs });
    await race(contenders, { title: `Unpack, on the disk of ${tmpdir()}`, rounds: 5, place: disk });
    await memory(contenders, { title: 'Unpack', place: tmpfs });
  });
}

/** Registry to verified blobs. */
export async function benchFetch(): Promise<void> {
  await withRegistry(async (host, disk, tmpfs) => {
    const contenders = fetchers(`${host}/${big}`);
    await race(contenders, { title: 'Fetch and verify, on tmpfs', rounds: 5, place: tmpfs });
    await race(contenders, { title: `Fetch and verify, on the disk of ${tmpdir()}`, rounds: 5, place: disk });
    await memory(contenders, { title: 'Fetch and verify', place: tmpfs });
  });
}

/** The whole pipe for an image of one layer of 2 MB, in units of the start of Node. */
export async function benchSmall(): Promise<void> {
  await withRegistry(async (host, _disk, tmpfs) => {
    const floor: Contender = { name: 'node -e 0', script: `'${process.execPath}' -e 0` };
    const contenders = [floor, ...pullers(`${host}/${small}`)];
    await race(contenders, { title: 'Pull of one layer of 2 MB, on tmpfs', rounds: 15, place: tmpfs });
  });
}
