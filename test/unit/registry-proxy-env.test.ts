import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loginOf, proxyFor } from '../../lib/registry/transport/proxy-env.js';

const env = { http_proxy: 'plain.test:3128', HTTPS_PROXY: 'http://tls.test:3128' };
const isProxied = (url: string, NO_PROXY: string) => proxyFor(new URL(url), { ...env, NO_PROXY }) !== undefined;

test('each protocol has a variable of its own, and a proxy needs no scheme', () => {
  assert.equal(proxyFor(new URL('http://a.test/'), env), 'http://plain.test:3128');
  assert.equal(proxyFor(new URL('https://a.test/'), env), 'http://tls.test:3128');
  assert.equal(proxyFor(new URL('https://a.test/'), { http_proxy: 'x' }), undefined);
  assert.equal(
    proxyFor(new URL('http://a.test/'), { HTTP_PROXY: 'b.test:1', http_proxy: 'c.test:1' }),
    'http://c.test:1',
  );
  assert.equal(proxyFor(new URL('http://127.0.0.1:5000/'), env), undefined);
});

test('of a proxy its path is passed over, and a backslash in its login is none', () => {
  const named = (http_proxy: string) => proxyFor(new URL('http://a.test/'), { http_proxy });
  assert.equal(named('http://b.test:1/path?query#fragment'), 'http://b.test:1');
  assert.equal(named('b.test:1/'), 'http://b.test:1');
  assert.equal(named('http://me:se%2Fcret@b.test:1/'), 'http://me:se%2Fcret@b.test:1');
  for (const login of ['DOMAIN\\me:secret', 'DOMAIN\\me', ':se\\cret']) {
    const proxy = named(`http://${login}@b.test:1`) ?? '';
    assert.equal(new URL(proxy).host, 'b.test:1');
    const [, sent = ''] = (loginOf(proxy) ?? '').split(' ');
    assert.equal(Buffer.from(sent, 'base64').toString(), login.includes(':') ? login : `${login}:`);
  }
});

test('NO_PROXY exempts what it names', () => {
  for (const [entry, ...urls] of [
    ['*', 'https://a.test/', 'https://10.1.2.3/'],
    ['a.test', 'https://a.test/', 'https://b.a.test/', 'http://A.TEST:5000/', 'https://a.test./'],
    ['A.Test', 'https://a.test/'],
    ['.a.test', 'https://b.a.test/', 'https://c.b.a.test:5000/'],
    ['*.a.test', 'https://b.a.test/'],
    ['a.test:5000', 'http://a.test:5000/', 'http://b.a.test:5000/'],
    ['a.test:443', 'https://a.test/'],
    ['10.0.0.0/8', 'https://10.1.2.3/', 'http://10.255.0.1:5000/'],
    ['10.1.2.3', 'https://10.1.2.3/', 'http://10.1.2.3:5000/'],
    ['10.1.2.3:5000', 'http://10.1.2.3:5000/'],
    ['fd00::/8', 'https://[fd00::1]/'],
    ['fd00::1', 'https://[fd00::1]/', 'https://[fd00:0::1]:5000/'],
    ['[fd00::1]:5000', 'https://[fd00::1]:5000/'],
    ['other.test, 192.168.0.0/16 a.test', 'https://a.test/', 'https://192.168.1.1/'],
  ] as const) {
    for (const url of urls) assert.ok(!isProxied(url, entry), `${entry} ${url}`);
  }
});

test('NO_PROXY exempts nothing else', () => {
  for (const [entry, ...urls] of [
    ['', 'https://a.test/'],
    [' , ', 'https://a.test/'],
    ['a.test', 'https://ba.test/', 'https://a.test.evil/', 'https://a/'],
    ['.a.test', 'https://a.test/', 'https://ba.test/'],
    ['*.a.test', 'https://a.test/'],
    ['a.test:5000', 'https://a.test/', 'http://a.test:5001/'],
    ['10.0.0.0/8', 'https://11.0.0.1/', 'https://10.example/', 'https://[::1:10]/'],
    ['10.0.0.0/99', 'https://10.0.0.0/'],
    ['a.test/8', 'https://a.test/'],
    ['10.1.2.3', 'https://110.1.2.3/', 'https://10.1.2.30/'],
    ['fd00::1', 'https://[fd00::2]/'],
  ] as const) {
    for (const url of urls) assert.ok(isProxied(url, entry), `${entry} ${url}`);
  }
});
