import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseChallenges } from '../../lib/registry/auth/challenge.js';

function parsed(...headers: string[]) {
  return parseChallenges(headers).map(({ scheme, parameters }) => ({ scheme, ...Object.fromEntries(parameters) }));
}

test("Docker Hub's challenge is read", () => {
  assert.deepEqual(
    parsed('Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"'),
    [
      {
        scheme: 'bearer',
        realm: 'https://auth.docker.io/token',
        service: 'registry.docker.io',
        scope: 'repository:a/b:pull,push',
      },
    ],
  );
});

test('several challenges in one header are told apart', () => {
  assert.deepEqual(parsed('Basic realm="a, b", Bearer realm="https://x/t" , service=s, Negotiate'), [
    { scheme: 'basic', realm: 'a, b' },
    { scheme: 'bearer', realm: 'https://x/t', service: 's' },
    { scheme: 'negotiate' },
  ]);
});

test('challenges in several headers come one after the other', () => {
  assert.deepEqual(parsed('Negotiate', 'Basic realm=x'), [{ scheme: 'negotiate' }, { scheme: 'basic', realm: 'x' }]);
});

test('quotes may be escaped inside a quoted value', () => {
  assert.deepEqual(parsed(String.raw`Basic realm="a \"b\" \\c"`), [{ scheme: 'basic', realm: String.raw`a "b" \c` }]);
});

test('a URL without quotes is taken up to the comma', () => {
  assert.deepEqual(parsed('Bearer realm=https://x/token?a=b,service=s'), [
    { scheme: 'bearer', realm: 'https://x/token?a=b', service: 's' },
  ]);
});

test('names are matched in any case, and blanks around "=" do not matter', () => {
  assert.deepEqual(parsed('BEARER Realm = "https://x" , SERVICE="s"'), [
    { scheme: 'bearer', realm: 'https://x', service: 's' },
  ]);
});

test('of a parameter that comes twice the first counts', () => {
  assert.deepEqual(parsed('Bearer realm="https://good",realm="https://evil"'), [
    { scheme: 'bearer', realm: 'https://good' },
  ]);
});

test('a wrong separator is passed over, and what follows it counts', () => {
  assert.deepEqual(parsed('Bearer realm="https://x";service="s"'), [
    { scheme: 'bearer', realm: 'https://x', service: 's' },
  ]);
});

test('a token68 after the scheme is passed over', () => {
  assert.equal(parsed('Negotiate YWJj==, Basic realm="x"').at(-1)?.scheme, 'basic');
});

test('rubbish yields no challenge with a realm, and ends', () => {
  for (const text of ['', ',,,', '"', '="', 'Bearer realm="', '\x00\x01', 'a'.repeat(10000), '='.repeat(10000)])
    assert.ok(
      parseChallenges([text]).every(({ parameters }) => !parameters.get('realm')),
      text.slice(0, 20),
    );
});
