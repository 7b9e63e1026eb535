import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Failure } from '../../lib/base/failure.js';
import { apiHost, isLoopback } from '../../lib/registry/names/hosts.js';
import { formatReference, manifestName, parseReference } from '../../lib/registry/names/reference.js';
import { failure } from '../support/failure.js';

const hex = 'a'.repeat(64);

const good: [text: string, full: string][] = [
  ['alpine', 'docker.io/library/alpine:latest'],
  ['alpine:3.20', 'docker.io/library/alpine:3.20'],
  ['owner/name', 'docker.io/owner/name:latest'],
  ['docker.io/alpine', 'docker.io/library/alpine:latest'],
  ['index.docker.io/owner/name:1', 'docker.io/owner/name:1'],
  ['registry-1.docker.io/library/alpine', 'docker.io/library/alpine:latest'],
  ['localhost/x', 'localhost/x:latest'],
  ['localhost:5000/x', 'localhost:5000/x:latest'],
  ['localhost:5000/x:1', 'localhost:5000/x:1'],
  ['host:5000/a/b/c', 'host:5000/a/b/c:latest'],
  ['ghcr.io/a/b', 'ghcr.io/a/b:latest'],
  ['UPPER/x', 'UPPER/x:latest'],
  ['[::1]:5000/x', '[::1]:5000/x:latest'],
  ['127.0.0.1/x', '127.0.0.1/x:latest'],
  [`alpine@sha256:${hex}`, `docker.io/library/alpine@sha256:${hex}`],
  [`alpine:3@sha256:${hex}`, `docker.io/library/alpine:3@sha256:${hex}`],
  [`x@sha512:${hex}${hex}`, `docker.io/library/x@sha512:${hex}${hex}`],
  ['a__b/c-d--e.f_g:T_1.2-x', 'docker.io/a__b/c-d--e.f_g:T_1.2-x'],
  [`registry.example/${'a/'.repeat(127)}b`, `registry.example/${'a/'.repeat(127)}b:latest`],
  [`a:${'t'.repeat(128)}`, `docker.io/library/a:${'t'.repeat(128)}`],
];

for (const [text, full] of good) {
  test(`${text.slice(0, 40)} stands for ${full.slice(0, 50)}`, () => {
    assert.equal(formatReference(parseReference(text)), full);
  });
}

const bad: [text: string, why: RegExp][] = [
  ['', /empty/],
  ['https://ghcr.io/a', /URL/],
  ['Alpine', /malformed; repository names are lower-case/],
  ['a//b', /malformed/],
  ['a/', /malformed/],
  ['/a', /it is a path/],
  ['./tree', /it is a path; .* md-isolate runs a tree/],
  ['a_', /malformed/],
  ['a..b/c', /not a registry host|malformed/],
  ['a:', /tag is malformed/],
  ['a:-x', /tag is malformed/],
  [`a:${'t'.repeat(129)}`, /tag is malformed/],
  ['a:x/y:z', /not a registry host|malformed/],
  ['a@sha256:abc', /digest is malformed/],
  [`a@sha256:${'A'.repeat(64)}`, /digest is malformed/],
  [`a@blake3:${'a'.repeat(64)}`, /digest is of an algorithm that is not known here/],
  ['a@blake3:', /digest is malformed/],
  [hex, /image ID/],
  ['a b', /malformed/],
  ['a\n', /malformed/],
  ['../../etc/passwd', /it is a path/],
  ['host:99999999/x', /not a registry host/],
  ['host:65536/x', /not a registry host/],
  ['256.1.1.1/x', /not a registry host/],
  ['[:::]/x', /not a registry host/],
  [`${'a/'.repeat(140)}b`, /longer than 255/],
];

for (const [text, why] of bad) {
  test(`${JSON.stringify(text.slice(0, 40))} is refused as wrong usage`, () => {
    assert.throws(() => parseReference(text), failure(64, why));
  });
}

test('a login in a reference is wrong usage, and the password is not shown', () => {
  for (const text of [
    'me:secret@host:5000/x',
    'me:secret@host/x@sha256:abc',
    'me:secret@/',
    'https://me:secret@host/x',
  ]) {
    assert.throws(
      () => parseReference(text),
      (error) => error instanceof Failure && error.status === 64 && !error.message.includes('secret'),
    );
  }
});

test('a digest wins over a tag', () => {
  assert.equal(manifestName(parseReference(`alpine:3@sha256:${hex}`)), `sha256:${hex}`);
});

test("Docker Hub's API is at registry-1.docker.io, others' where they are", () => {
  assert.equal(apiHost('docker.io'), 'registry-1.docker.io');
  assert.equal(apiHost('ghcr.io'), 'ghcr.io');
});

test('loopback is localhost and the loopback addresses, and nothing that only looks so', () => {
  for (const host of [
    'localhost',
    'localhost:5000',
    'LOCALHOST',
    'x.localhost',
    '127.0.0.1:1',
    '127.9.9.9',
    '[::1]:5000',
  ])
    assert.ok(isLoopback(host), host);
  for (const host of ['localhost.example.org', '127.0.0.1.example.org', '128.0.0.1', 'notlocalhost', '[::2]'])
    assert.ok(!isLoopback(host), host);
});
