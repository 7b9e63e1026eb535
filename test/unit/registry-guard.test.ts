import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { LookupFunction } from 'node:net';
import { test } from 'node:test';
import { Http } from '../../lib/registry/http/http.js';
import { Guard } from '../../lib/registry/transport/guard.js';
import { failure } from '../support/failure.js';
import { setEnv } from '../support/run.js';
import { listening } from '../support/server.js';

const publicGuard = (origin = 'https://registry.example') =>
  new Guard(new URL(origin), [], async () => ['203.0.113.5']);

/** What a socket would be told: the addresses, or an error. */
function lookupBy(lookup: LookupFunction, name: string): Promise<unknown> {
  return new Promise((done) => {
    lookup(name, { all: true }, (error, found) => done(error ?? found));
  });
}

test('addresses in private, loopback and link-local nets are private, in IPv6 clothes too', () => {
  const guard = publicGuard();
  const inside = [
    '10.1.2.3',
    '172.31.0.1',
    '192.168.1.1',
    '127.0.0.1',
    '169.254.169.254',
    '100.64.0.1',
    '192.0.0.1',
    '0.0.0.0',
  ];
  for (const address of [
    ...inside,
    '::1',
    '::',
    'fe80::1',
    'fd00::1',
    '::ffff:10.0.0.1',
    '::ffff:127.0.0.1',
    '::10.0.0.1',
    '64:ff9b::10.0.0.1',
    '64:ff9b::7f00:1',
    '64:ff9b:1::a00:1',
    'fec0::1',
  ])
    assert.ok(guard.isPrivate(address), address);
  for (const address of ['8.8.8.8', '172.32.0.1', '100.128.0.1', '2001:db8::1', '::ffff:8.8.8.8', '64:ff9b::8.8.8.8'])
    assert.ok(!guard.isPrivate(address), address);
});

test('a registry on the internet may not point to a private address', async () => {
  for (const url of [
    'http://169.254.169.254/latest',
    'https://127.0.0.1/',
    'https://[::1]/',
    'https://localhost/',
    'https://0x7f.1/',
  ])
    await assert.rejects(publicGuard().check(new URL(url)), failure(76), url);
});

test('nor to a name that leads to one', async () => {
  assert.match(String(await lookupBy(publicGuard().lookup, 'localhost')), /private network, which is refused/);
  assert.ok(Array.isArray(await lookupBy(new Guard(new URL('http://127.0.0.1:5000')).lookup, 'localhost')));
});

test('nor to a name that has a private address among others', async (t) => {
  const both = [
    { address: '203.0.113.6', family: 4 },
    { address: '10.0.0.2', family: 4 },
  ];
  const dns = process.getBuiltinModule('node:dns');
  t.mock.method(dns, 'lookup', (_name: string, _options: object, done: (error: null, found: object[]) => void) => {
    done(null, both);
  });
  assert.match(String(await lookupBy(publicGuard().lookup, 'both.example')), /private network, which is refused/);
});

test('a request to a private address is not sent at all', async (t) => {
  const server = createServer((_req, res) => res.end());
  const url = new URL(`http://${await listening(t, server)}/`);
  server.on('connection', () => assert.fail('it was sent'));
  const http = new Http({ guard: publicGuard() });
  await assert.rejects(http.exchange({ method: 'GET', url, headers: {} }), failure(76));
});

test('a registry is in a private net only if it is found there, and nowhere else', async () => {
  for (const addresses of [[], ['203.0.113.5', '10.0.0.1']]) {
    const guard = new Guard(new URL('https://registry.example'), [], async () => addresses);
    await assert.rejects(guard.check(new URL('https://10.0.0.2/')), /private network, which is refused/);
  }
});

test('a registry in a private net may point to others there', async () => {
  await new Guard(new URL('https://registry.lan'), [], async () => ['10.0.0.1']).check(new URL('https://10.0.0.2/'));
  await new Guard(new URL('http://127.0.0.1:5000')).check(new URL('http://127.0.0.1:6000/'));
  await new Guard(new URL('http://[::1]:5000')).check(new URL('http://localhost:6000/'));
});

test('a private host that the user names is free to ask, and no other, nor another port of it', async () => {
  const allowed = ['10.0.0.2', 'localhost:81'];
  const guard = new Guard(new URL('https://registry.example'), allowed, async () => ['203.0.113.5']);
  for (const url of ['https://10.0.0.2/', 'http://10.0.0.2:80/', 'http://localhost:81/', 'https://LOCALHOST:81/']) {
    await guard.check(new URL(url));
    assert.equal(guard.lookupFor(new URL(url)), undefined, url);
  }
  for (const url of ['https://10.0.0.2:444/', 'https://10.0.0.20/', 'https://localhost/', 'https://a.localhost:81/']) {
    await assert.rejects(guard.check(new URL(url)), /private network, which is refused; .*--allow-private HOST/, url);
    assert.equal(guard.lookupFor(new URL(url)), 'lookup', url);
  }
  assert.equal(guard.lookupFor(new URL('https://registry.example/v2/')), 'homeLookup');
});

test('public addresses and the registry itself are free to ask', async () => {
  await publicGuard().check(new URL('https://cdn.example/blob'));
  await publicGuard().check(new URL('https://8.8.8.8/'));
  await publicGuard('https://10.0.0.1').check(new URL('https://10.0.0.1/v2/'));
});

test('a registry that was at a public address does not become private by a later answer of its name server', async () => {
  const guard = new Guard(new URL('http://localhost:5000'), [], async () => ['203.0.113.5']);
  await assert.rejects(guard.check(new URL('http://10.0.0.2/')), /private network/);
  await lookupBy(guard.homeLookup, 'localhost');
  await assert.rejects(guard.check(new URL('http://10.0.0.2/')), /private network/);
});

test('where the registry was found when it was asked decides, and not what its name server says next', async () => {
  const guard = new Guard(new URL('http://localhost:5000'), [], async () => assert.fail('resolved again'));
  await lookupBy(guard.homeLookup, 'localhost');
  await guard.check(new URL('http://10.0.0.2/'));
});

test('the guard sees to names as well that no_proxy leads past the proxy', async (t) => {
  setEnv(t, 'http_proxy', 'http://127.0.0.1:9');
  setEnv(t, 'no_proxy', 'inside.test');
  const asked: string[] = [];
  const lookup: LookupFunction = (name, _options, callback) => {
    asked.push(name);
    callback(Object.assign(new Error(name), { code: 'ENOTFOUND' }), []);
  };
  const http = new Http({ guard: Object.assign(publicGuard(), { lookup }) });
  await assert.rejects(http.exchange({ method: 'GET', url: new URL('http://inside.test/'), headers: {} }));
  assert.deepEqual(asked, ['inside.test']);
});
