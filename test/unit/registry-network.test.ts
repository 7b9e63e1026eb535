import assert from 'node:assert/strict';
import { resolve } from 'node:path';
import { test } from 'node:test';
import { networkOf } from '../../lib/registry/network.js';
import { failure } from '../support/failure.js';

const none: Parameters<typeof networkOf>[0] = {
  'plain-http': [],
  insecure: [],
  'allow-private': [],
  mirror: [],
  'ca-file': undefined,
  'connect-timeout': undefined,
  'header-timeout': undefined,
  'idle-timeout': undefined,
  'min-speed': undefined,
  retries: undefined,
};

test('a flag goes before what an earlier stage was told, and all else stays', () => {
  const network = { retries: 5, minSpeed: 7, mirrors: ['a.example'] };
  const asked = networkOf({ ...none, retries: 0, mirror: ['b.example'] }, { network });
  assert.deepEqual(asked, { retries: 0, minSpeed: 7, mirrors: ['b.example'] });
});

test('a CA file is found by a later stage in another directory as well', () => {
  assert.deepEqual(networkOf({ ...none, 'ca-file': 'ca.pem' }), { caFile: resolve('ca.pem') });
});

test('a host is a host alone, and no pattern', () => {
  for (const host of ['*', '*.example', 'a.example/x', 'a.example?x', 'a.example#x', 'me@a.example', 'a b', '']) {
    for (const flag of ['plain-http', 'insecure', 'allow-private'] as const) {
      assert.throws(() => networkOf({ ...none, [flag]: [host] }), failure(64), `--${flag} ${host}`);
    }
  }
});

test('what follows the host of a mirror can be the beginning of a repository', () => {
  for (const mirror of ['a.example/UPPER', 'a.example/x//y', 'a.example/../x', 'a.example/x?y', 'ftp://a.example']) {
    assert.throws(() => networkOf({ ...none, mirror: [mirror] }), failure(64), mirror);
  }
  assert.deepEqual(networkOf({ ...none, mirror: ['a.example/hub/'] }), { mirrors: ['a.example/hub'] });
});
