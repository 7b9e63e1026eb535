import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { rootCertificates } from 'node:tls';
import { authorities } from '../../lib/registry/transport/authorities.js';
import { certificateDirectories } from '../../lib/registry/transport/certificates.js';
import { scratch, setEnv } from '../support/run.js';

const directories = (url: string) => certificateDirectories(new URL(url), { HOME: '/h' });
const parents = ['/h/.config/containers/certs.d', '/etc/containers/certs.d', '/etc/docker/certs.d'];

test('what is trusted in addition leaves out nothing that Node trusts, NODE_EXTRA_CA_CERTS included', (t) => {
  const path = join(scratch(t), 'extra.pem');
  writeFileSync(path, 'extra');
  setEnv(t, 'NODE_EXTRA_CA_CERTS', path);
  assert.deepEqual(authorities(['more']), [...rootCertificates, 'extra', 'more']);
  setEnv(t, 'NODE_EXTRA_CA_CERTS', join(path, 'none'));
  assert.deepEqual(authorities(['more']), [...rootCertificates, 'more']);
});

test("the user's certificates go before podman's, and these before docker's", () => {
  assert.deepEqual(
    directories('https://registry.test:5000/v2/'),
    parents.map((parent) => `${parent}/registry.test:5000`),
  );
});

test('a port that goes without saying may be said in the name of a directory, and no other may be left out', () => {
  const expected = parents.flatMap((parent) => [`${parent}/registry.test`, `${parent}/registry.test:443`]);
  assert.deepEqual(directories('https://Registry.test/'), expected);
  assert.deepEqual(directories('https://registry.test:443/'), expected);
});

test('Docker Hub has its certificates under the name that people know', () => {
  assert.equal(directories('https://registry-1.docker.io/')[0], `${parents[0]}/docker.io`);
  assert.ok(directories('https://registry-1.docker.io/').includes(`${parents[2]}/registry-1.docker.io`));
});

test('no name of a host leads out of the directory', () => {
  for (const host of ['.', '..', '%2e%2e', '...']) assert.deepEqual(directories(`https://${host}/`), []);
  assert.throws(() => directories('https://..%2f..%2fx/'));
});
