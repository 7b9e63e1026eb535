import assert from 'node:assert/strict';
import { test } from 'node:test';
import { quotaOf } from '../../lib/registry/http/quota.js';
import { parseRetryAfter } from '../../lib/registry/http/response-failures.js';
import { redactSecrets, secretsIn } from '../../lib/registry/http/secrets.js';
import { hiddenIn, redactPath, redactUrl } from '../../lib/registry/names/redaction.js';

test('signatures, keys, users and passwords in a URL are not shown', () => {
  const shown = redactUrl(new URL('https://me:secret@cdn.example/blob?X-Amz-Signature=abc&Expires=1&sig'));
  assert.equal(shown, 'https://cdn.example/blob?X-Amz-Signature=***&Expires=***&***');
});

test('what is not shown of a URL is known, encoded and not', () => {
  const hidden = hiddenIn(new URL('https://cdn.example/blob?sig=a%2Fb&service=open&bare'));
  for (const text of ['a%2Fb', 'a/b', 'bare']) assert.ok(hidden.includes(text), text);
  assert.ok(!hidden.includes('open'));
});

test('of secrets that are parts of one another nothing is shown, and what any word may hold is', () => {
  const secrets = ['c2VjcmV0', 'c2VjcmV0LXRva2Vu', 'is'];
  assert.equal(redactSecrets('this is c2VjcmV0LXRva2Vu or c2VjcmV0', secrets), 'this is *** or ***');
});

test('a password is not shown in whichever encoding a server reads it', () => {
  for (const encoding of ['utf8', 'latin1'] as const) {
    const secrets = secretsIn(`Basic ${Buffer.from('me:schl\u00fcssel', encoding).toString('base64')}`);
    assert.equal(redactSecrets('it is schl\u00fcssel', secrets), 'it is ***');
    const misread = Buffer.from('it is schl\u00fcssel', encoding).toString(encoding === 'utf8' ? 'latin1' : 'utf8');
    assert.equal(redactSecrets(misread, secrets), 'it is ***');
  }
});

test('what a token service is asked for is shown', () => {
  const path = '/token?service=registry.docker.io&scope=repository%3Aa%2Fb%3Apull';
  assert.equal(redactPath(path), path);
});

test('Retry-After counts seconds, or tells a date, or is not understood', () => {
  const now = Date.parse('2026-01-01T00:00:00Z');
  assert.equal(parseRetryAfter('120', now), 120);
  assert.equal(parseRetryAfter('Thu, 01 Jan 2026 00:01:30 GMT', now), 90);
  assert.equal(parseRetryAfter('Wed, 31 Dec 2025 00:00:00 GMT', now), 0);
  process.env.TZ = 'Asia/Tokyo';
  assert.equal(parseRetryAfter('Thu Jan  1 00:01:30 2026', now), 90);
  assert.equal(parseRetryAfter('9'.repeat(400), now), Number.MAX_SAFE_INTEGER);
  assert.equal(parseRetryAfter('soon', now), undefined);
  assert.equal(parseRetryAfter('-1', now), undefined);
  assert.equal(parseRetryAfter(undefined, now), undefined);
});

test("Docker Hub's quota headers are understood, with and without a window", () => {
  const response = (headers: Record<string, string>) => ({ header: (name: string) => headers[name] });
  assert.deepEqual(quotaOf(response({ 'ratelimit-limit': '100;w=21600', 'ratelimit-remaining': '7;w=21600' })), {
    limit: 100,
    remaining: 7,
    window: 21600,
  });
  assert.deepEqual(quotaOf(response({ 'ratelimit-limit': '5', 'ratelimit-remaining': '0' })), {
    limit: 5,
    remaining: 0,
    window: undefined,
  });
  assert.equal(quotaOf(response({ 'ratelimit-limit': 'many' })), undefined);
});
