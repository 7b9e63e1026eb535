import assert from 'node:assert/strict';
import { test } from 'node:test';
import { jsonOf } from '../../lib/base/check.js';
import { Failure } from '../../lib/base/failure.js';
import { asImageIndex } from '../../lib/base/oci.js';
import {
  asErrorReport,
  asLayer,
  asManifestDocument,
  asRootfsDocument,
  asTokenDocument,
} from '../../lib/pipe/document.js';

const digest = `sha256:${'0'.repeat(64)}`;
const token = {
  image: 'docker.io/library/alpine:latest',
  registry: 'docker.io',
  repository: 'library/alpine',
  reference: 'latest',
  authorization: null,
};
const descriptor = { mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', digest, size: 3 };
const manifest = {
  ...token,
  platform: { os: 'linux', architecture: 'amd64' },
  digest,
  mediaType: 'application/vnd.oci.image.manifest.v1+json',
  manifest: { config: descriptor, layers: [descriptor] },
  config: { config: { Env: ['A=1'] }, rootfs: { type: 'layers', diff_ids: [digest] } },
};
const layer = { layer: { index: 0, digest, diffID: digest, mediaType: 'm', size: 3, path: '/blob' } };
const error = { command: 'md-token', code: 75, message: 'm' };

/** A deep copy with the value at a dotted path replaced, or removed when it is undefined. */
function withValue(document: object, path: string, value: unknown): unknown {
  const copy = structuredClone(document) as Record<string, unknown>;
  const keys = path.split('.');
  const last = keys.pop() as string;
  const parent = keys.reduce((at, key) => at[key] as Record<string, unknown>, copy);
  if (value === undefined) delete parent[last];
  else parent[last] = value;
  return copy;
}

test('documents of every stage pass, with fields that nobody knows', () => {
  assert.equal(asTokenDocument({ ...token, mine: { a: 1 } }).mine !== undefined, true);
  assert.equal(asManifestDocument({ ...manifest, mine: 1 }).mine, 1);
  assert.equal(asLayer(layer).path, '/blob');
  assert.equal(asRootfsDocument({ ...manifest, rootfs: '/r' }, '/r.json').rootfs, '/r');
});

test('every field of the wrong type is named, with status 65', () => {
  const wrong: [(value: unknown) => unknown, object, string, unknown][] = [
    [asTokenDocument, token, 'registry', 5],
    [asTokenDocument, token, 'repository', undefined],
    [asTokenDocument, token, 'reference', null],
    [asTokenDocument, token, 'reference', 'a\0b'],
    [asTokenDocument, token, 'authorization', {}],
    [asTokenDocument, token, 'authorization', 'Bearer a\r\nX-Evil: 1'],
    [asTokenDocument, token, 'authorization', 'Bearer \x01'],
    [asTokenDocument, token, 'authorization', 'Bearer \u2028'],
    [asManifestDocument, manifest, 'digest', 'sha256:ABC'],
    [asManifestDocument, manifest, 'digest', `sha256:${'A'.repeat(64)}`],
    // A digest becomes a file name.
    [asManifestDocument, manifest, 'digest', `${digest}/../../index.json`],
    [asManifestDocument, manifest, 'digest', `../${digest}`],
    [asManifestDocument, manifest, 'platform', 'linux'],
    [asManifestDocument, manifest, 'platform.os', 1],
    [asManifestDocument, manifest, 'mediaType', undefined],
    [asManifestDocument, manifest, 'manifest.config', null],
    [asManifestDocument, manifest, 'manifest.layers', {}],
    [asManifestDocument, manifest, 'config.rootfs.type', 'tree'],
    [asManifestDocument, manifest, 'config.rootfs.diff_ids', ['md5:1']],
    [asManifestDocument, manifest, 'config.config.Env', 'A=1'],
    [asManifestDocument, manifest, 'config.config.Env', [1]],
    [asManifestDocument, manifest, 'config.config.Labels', { a: 1 }],
    [asLayer, layer, 'layer.index', -1],
    [asLayer, layer, 'layer.digest', 'sha256:1'],
    [asLayer, layer, 'layer.diffID', 'sha256:1'],
    [asLayer, layer, 'layer.size', 1.5],
    [asLayer, layer, 'layer.path', undefined],
    // A stage that passes it on ends with it, and must not seem to have done its work.
    [asErrorReport, error, 'code', 0],
    [asErrorReport, error, 'code', 256],
  ];
  for (const [check, document, path, value] of wrong) {
    assert.throws(
      () => check(withValue(document, path, value)),
      (error) => error instanceof Failure && error.status === 65 && error.message.includes(path),
      path,
    );
  }
});

test('a document of an earlier stage is refused with the name of the stage that is missing', () => {
  assert.throws(() => asManifestDocument(token), /the field manifest is missing; md-manifest adds it/);
  assert.throws(() => asTokenDocument(layer), /the field image is missing; md-token adds it/);
  assert.throws(
    () => asLayer({ layer: { path: '/blob', digest } }),
    /^Failure: layer on stdin: the field layer\.index is missing; below the document of an image every layer has .* path$/,
  );
  assert.throws(
    () => asRootfsDocument(manifest, '/r.json'),
    /^Failure: \/r\.json: rootfs: expected a string, got nothing$/,
  );
});

test('a document that is an index and a manifest at once is refused (CVE-2021-41190)', () => {
  assert.throws(() => asManifestDocument(withValue(manifest, 'manifest.manifests', [])), /both in one document/);
});

test('an absent authorization means that none is needed', () => {
  assert.equal(asTokenDocument(withValue(token, 'authorization', undefined)).authorization, null);
});

test('an error report keeps what a program may want beside the message', () => {
  const report = asErrorReport({ ...error, retryAfter: 30 });
  assert.equal(report.retryAfter, 30);
});

test('a secret of the wrong form is not quoted', () => {
  for (const value of ['Bearer c2VjcmV0\0', 5318008, ['c2VjcmV0']])
    assert.throws(
      () => asTokenDocument({ ...token, authorization: value }),
      (error) => error instanceof Failure && /^authorization: /.test(error.message) && !/c2V|5318/.test(error.message),
    );
});

test('an entry of an index that is no object is named by its place', () => {
  assert.throws(() => asImageIndex({ manifests: [{ mediaType: 'a/b', digest, size: 3 }, 5] }, 'index'), {
    message: 'index.manifests[1]: expected an object, got 5',
  });
});

test('what is nested deeper than can be passed on is bad data', () => {
  const text = `{"mine":${'['.repeat(200_000)}${']'.repeat(200_000)}}`;
  let outcome: unknown;
  try {
    outcome = jsonOf(JSON.parse(text));
  } catch (error) {
    outcome = error;
  }
  // A later V8 may go as deep as it likes.
  assert.ok(outcome === text || (outcome instanceof Failure && outcome.status === 65), String(outcome).slice(0, 200));
});

test('a digest that is an object is told, also when it can be no text', () => {
  const entry = { mediaType: 'a/b', digest: { toString: 2 }, size: 3 };
  assert.throws(
    () => asImageIndex({ manifests: [entry] }, 'index'),
    /index\.manifests\[0\]\.digest: expected a digest/,
  );
});

test('a document has a diffID for each layer', () => {
  assert.throws(
    () => asManifestDocument(withValue(manifest, 'config.rootfs.diff_ids', [])),
    /^Failure: document on stdin: it has 1 layers, and its config 0 diffIDs$/,
  );
});
