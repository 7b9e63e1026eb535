/** The store is an OCI image layout that programs of others read, at every moment. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { image, index, layer, put } from '../support/image.js';
import { peer } from '../support/peers.js';
import { registryFor } from '../support/registry.js';
import { needs, needsRoot, scratch, shell } from '../support/run.js';

interface Pulled {
  /** The layout. */
  oci: string;
  /** The image's full name. */
  name: string;
  /** Digest of its manifest. */
  digest: string;
  directory: string;
}

/** A multi-platform image, pulled for linux/amd64. */
async function pulled(t: TestContext): Promise<Pulled> {
  const directory = scratch(t);
  const registry = await registryFor(t, { auth: 'token' });
  const layers = [
    layer([
      { name: 'etc/', type: 'directory' },
      { name: 'etc/motd', data: 'hello\n' },
    ]),
    layer([{ name: 'etc/issue', data: 'second\n' }]),
  ];
  const own = image({ layers, architecture: 'amd64', run: { Cmd: ['/bin/true'] } });
  const other = image({ layers: layers.slice(1), architecture: 'arm64', variant: 'v8' });
  await put(registry, 'library/demo', ['latest'], index([other, own]));
  const name = registry.image('library/demo');
  const result = await shell('md-token "$1" | md-manifest --platform linux/amd64 | md-fetch-layer', [name], {
    env: { MD_HOME: join(directory, 'home') },
  });
  assert.equal(result.status, 0, result.stderr);
  return { directory, oci: join(directory, 'home/oci'), name: `${name}:latest`, digest: own.descriptor.digest };
}

test('skopeo inspects an image in the store by its full name', { skip: needs('skopeo') }, async (t) => {
  const { oci, name, digest } = await pulled(t);
  const found = JSON.parse(await peer(['skopeo', 'inspect', `oci:${oci}:${name}`]));
  assert.deepEqual([found.Digest, found.Architecture, found.Layers.length], [digest, 'amd64', 2]);
});

test('skopeo needs no name where the store has one image', { skip: needs('skopeo') }, async (t) => {
  const { oci, digest } = await pulled(t);
  assert.equal(JSON.parse(await peer(['skopeo', 'inspect', `oci:${oci}`])).Digest, digest);
});

test('skopeo copies an image out of the store, with the same digest', { skip: needs('skopeo') }, async (t) => {
  const { directory, oci, name, digest } = await pulled(t);
  const copy = join(directory, 'copy');
  await peer(['skopeo', '--insecure-policy', 'copy', '-q', `oci:${oci}:${name}`, `oci:${copy}:it`]);
  assert.equal(JSON.parse(await peer(['skopeo', 'inspect', `oci:${copy}:it`])).Digest, digest);
});

test('umoci lists the images of the store by their names', { skip: needs('umoci') }, async (t) => {
  const { oci, name } = await pulled(t);
  assert.equal((await peer(['umoci', 'ls', '--layout', oci])).trim(), name);
});

test('podman pulls from the store', { skip: needs('podman') || needsRoot }, async (t) => {
  const { directory, name, digest } = await pulled(t);
  const at = (part: string) => join(directory, 'podman', part);
  mkdirSync(at('.'), { recursive: true });
  writeFileSync(at('policy.json'), '{"default":[{"type":"insecureAcceptAnything"}]}');
  const podman = (...args: string[]) =>
    peer(['podman', '--root', at('root'), '--runroot', at('run'), '--storage-driver', 'vfs', ...args], {
      cwd: directory,
    });
  // Relative, since podman 4.3 makes an image name of the path, and temporary directories have capitals in theirs.
  const id = (await podman('pull', '-q', '--signature-policy', at('policy.json'), `oci:home/oci:${name}`)).trim();
  const [found] = JSON.parse(await podman('image', 'inspect', id));
  assert.deepEqual([found.Digest, found.Config.Cmd], [digest, ['/bin/true']]);
});
