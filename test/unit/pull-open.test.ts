import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nameLocal } from '../../lib/pull/open-image.js';

for (const [image, hint] of [
  ['docker-daemon:alpine', 'docker save NAME >FILE writes what docker-archive:FILE reads'],
  ['docker-daemon:ghcr.io/a/b:1', 'docker save NAME >FILE writes what docker-archive:FILE reads'],
  ['containers-storage:alpine', 'podman save NAME >FILE writes what docker-archive:FILE reads'],
  ['containers-storage:[overlay@/var/lib]a', 'podman save NAME >FILE writes what docker-archive:FILE reads'],
  ['dir:/tmp/a', 'skopeo copy dir:PATH oci:DIR writes what oci:DIR reads'],
  ['dir:a/b', 'skopeo copy dir:PATH oci:DIR writes what oci:DIR reads'],
] as const) {
  test(`${image} is refused with what to do instead`, async () => {
    const message = `${JSON.stringify(image)}: it is not read here; ${hint}`;
    await assert.rejects(nameLocal(image, false), { name: 'Failure', status: 64, message });
  });
}

for (const image of [
  'dir:1',
  'dir',
  'dir:5000/a',
  'docker-daemon:5000/a',
  'docker.io/library/docker-daemon:a',
  'docker:a',
])
  test(`${image} is an image of a registry`, async () => assert.equal(await nameLocal(image, false), undefined));
