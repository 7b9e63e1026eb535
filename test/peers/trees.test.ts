/**
 * Our tree against the reference's: images that buildah, GNU tar, umoci and mmdebstrap made are pulled from Debian's
 * docker-registry by the pipe, and by `skopeo copy` and `umoci unpack`, and compared in every property. A difference
 * that is right is named with its reason; any other fails the test.
 */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, suite, type TestContext, test } from 'node:test';
import { type DockerRegistry, startDockerRegistry } from '../support/docker-registry.js';
import { needsZstd } from '../support/image.js';
import { Buildah, hasOverlay, peer, runScript, skopeoCopy, umociImage, umociTree } from '../support/peers.js';
import { needs, needsRoot, remove, scratch, shell } from '../support/run.js';
import { compareTrees, describeTree } from '../support/tree.js';

/** Differences that stay: why they are right, and the lines of `compareTrees` that are meant. */
type Explained = Record<string, RegExp>;

/** Makes the reference tree of `image` in a directory; returns its root. */
type Reference = (directory: string, image: string) => Promise<string>;

const byUmoci: Reference = (directory, image) => umociTree(image, directory);

const noRoot = 'no layer has an entry for the root: umoci sets its time to 1970, here it is that of the unpacking';
const noEntry = 'no layer has an entry for these directories, so their time is that of the unpacking';
const removal = 'the root has the time that its entry says; umoci lets the removal of a file from it change that';
const rootTime = { [noRoot]: /^\.: mtime/ };

const pipe = 'md-token "$1" | md-manifest | md-fetch-layer | md-unpack "$2"';

const skip =
  needsRoot ||
  needs('docker-registry', 'skopeo', 'umoci', 'buildah', 'getfattr', 'setcap') ||
  (!hasOverlay() && 'the kernel has no overlay filesystem');

const skipLarge =
  process.env.MD_TEST_LARGE === '1' ? needs('mmdebstrap') : 'it takes two minutes: MD_TEST_LARGE=1 runs it';

suite('the tree is that of umoci unpack', { skip }, () => {
  let registry: DockerRegistry;
  let directory: string;

  before(async () => {
    directory = mkdtempSync(join(tmpdir(), 'md-peers-'));
    registry = await startDockerRegistry(join(directory, 'registry'));
  });
  after(async () => {
    await registry.close();
    remove(directory);
  });

  /** Pulls `name` and compares with the tree that `reference` makes of it in a directory. */
  async function sameTree(t: TestContext, name: string, reference = byUmoci, explained: Explained = {}): Promise<void> {
    const at = scratch(t);
    const rootfs = join(at, 'rootfs');
    const image = `${registry.host}/${name}`;
    const pulled = await shell(pipe, [image, rootfs], { cwd: at, env: { MD_HOME: join(at, 'home') } });
    assert.equal(pulled.status, 0, pulled.stderr);
    const expected = await reference(join(at, 'reference'), image);
    const differences = compareTrees(describeTree(rootfs), describeTree(expected));
    const reasons = Object.values(explained);
    const unexplained = differences.filter((line) => !reasons.some((pattern) => pattern.test(line)));
    assert.deepEqual(unexplained, []);
  }

  test('for buildah layers with whiteouts, links, replaced types, capabilities, devices and odd names', async (t) => {
    const image = new Buildah(join(scratch(t), 'buildah'));
    for (const script of ['every-kind', 'whiteouts', 'replaced-types', 'links-across-layers']) {
      await image.layer(`${script}.sh`);
    }
    await image.push(`${registry.host}/kinds:oci`, 'oci');
    await image.push(`${registry.host}/kinds:docker`, 'v2s2');
    await t.test('pushed as OCI', (t) => sameTree(t, 'kinds:oci', byUmoci, rootTime));
    await t.test('pushed as Docker schema 2', (t) => sameTree(t, 'kinds:docker', byUmoci, rootTime));
    await t.test('recompressed with zstd', { skip: needsZstd }, async (t) => {
      const layout = `oci:${join(scratch(t), 'layout')}:it`;
      const from = `docker://${registry.host}/kinds:oci`;
      await skopeoCopy(from, layout, '--dest-compress', '--dest-compress-format', 'zstd');
      await skopeoCopy(layout, `docker://${registry.host}/kinds:zstd`, '--preserve-digests');
      // umoci 0.4 reads no zstd: the tree is that of the same layers in gzip.
      const byGzip: Reference = (directory) => umociTree(`${registry.host}/kinds:oci`, directory);
      await sameTree(t, 'kinds:zstd', byGzip, rootTime);
    });
  });

  test('for layers by GNU tar: sparse files, long names, PAX and GNU headers', async (t) => {
    const at = scratch(t);
    await runScript('gnu-tar.sh', [at]);
    const formats = ['gnu', 'oldgnu', 'pax-0.0', 'pax-0.1', 'pax-1.0', 'ustar'];
    const archives = formats.map((format) => join(at, `${format}.tar`));
    await umociImage(join(at, 'layout'), 'it', archives);
    await skopeoCopy(`oci:${join(at, 'layout')}:it`, `docker://${registry.host}/gnu:it`);
    // umoci 0.4 reads no sparse files of the old GNU kind; one archive over the other is what these layers mean.
    const byTar: Reference = async (directory) => {
      const flags = ['--numeric-owner', '--xattrs', '--xattrs-include=*'];
      mkdirSync(directory);
      for (const archive of archives) await peer(['tar', '-C', directory, '-xpf', archive, ...flags]);
      return directory;
    };
    await sameTree(t, 'gnu:it', byTar, rootTime);
  });

  test('for layers that umoci wrote: insert, opaque insert and whiteout', async (t) => {
    const at = scratch(t);
    await runScript('umoci.sh', [at]);
    await skopeoCopy(`oci:${join(at, 'layout')}:it`, `docker://${registry.host}/umoci:it`);
    await sameTree(t, 'umoci:it', byUmoci, { [noEntry]: /^added(\/by)?: mtime/, [removal]: /^\.: mtime/ });
  });

  test('for a Debian base image of four layers', { skip: needs('mmdebstrap') }, async (t) => {
    const at = scratch(t);
    // These have what the layers above change. All that is essential, three times as large, shows no more.
    await peer([
      'mmdebstrap',
      '--quiet',
      '--mode=root',
      '--variant=extract',
      '--include=base-files,coreutils,dpkg,perl-base',
      'bookworm',
      join(at, 'base.tar'),
    ]);
    const image = new Buildah(join(at, 'buildah'));
    await image.layer('debian.sh', '1', join(at, 'base.tar'));
    for (const step of ['2', '3', '4']) await image.layer('debian.sh', step);
    await image.push(`${registry.host}/debian:it`);
    await sameTree(t, 'debian:it', byUmoci, rootTime);
  });

  test('for a Debian with toolchains: 650 MB and 45,000 entries in six layers', { skip: skipLarge }, async (t) => {
    const at = scratch(t);
    await runScript('toolchain.sh', [at]);
    const archives = [1, 2, 3, 4, 5, 6].map((layer) => join(at, `${layer}.tar`));
    await umociImage(join(at, 'layout'), 'it', archives);
    await skopeoCopy(`oci:${join(at, 'layout')}:it`, `docker://${registry.host}/toolchain:it`);
    await sameTree(t, 'toolchain:it');
  });
});
