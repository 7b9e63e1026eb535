/** Proxies between the pipe and a registry. */
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import { test } from 'node:test';
import { heldPort } from '../support/ports.js';
import { startProxy } from '../support/proxy.js';
import { pull, repository, succeeded, world } from '../support/pull.js';
import { afterwards, needs, scratch } from '../support/run.js';
import { listening } from '../support/server.js';
import { makeCa } from '../support/tls.js';

const throughProxy = (flags: string) =>
  `md-token --retries 0 ${flags} "registry.test/${repository}" | md-manifest | md-fetch-layer`;

test('a proxy of the environment is used, but not for loopback nor for what no_proxy names', async (t) => {
  const { run, registry } = await world(t);
  const proxy = await startProxy(t, registry);
  const env = { http_proxy: proxy.url };
  succeeded(await run(throughProxy('--plain-http registry.test'), env));
  assert.equal(proxy.asked[0], 'GET http://registry.test/v2/');
  proxy.asked.length = 0;
  succeeded(await run(pull, env));
  for (const no_proxy of ['registry.test', '*.test', 'registry.test:80']) {
    assert.equal((await run(throughProxy('--plain-http registry.test'), { ...env, no_proxy })).status, 69);
  }
  assert.deepEqual(proxy.asked, []);
});

test('a registry elsewhere may point to a host of the private network that --allow-private names, all down the pipe', async (t) => {
  const { run, registry } = await world(t, { redirectBlobs: 307 });
  const proxy = await startProxy(t, registry);
  // Nobody here can resolve it: so it is no registry of this network.
  const tryIt = (flags: string) => run(throughProxy(`--plain-http registry.test ${flags}`), { http_proxy: proxy.url });
  const refused = await tryIt('--allow-private 127.0.0.1:1');
  assert.equal(refused.status, 76, refused.stderr);
  assert.match(refused.stderr, /points to 127.0.0.1, an address in a private network.*--allow-private HOST/);
  const cdn = new URL(registry.origin.cdn).host;
  const [document] = succeeded(await tryIt(`--allow-private ${cdn}`));
  assert.deepEqual(document?.network, { plainHttp: ['registry.test'], allowPrivate: [cdn], retries: 0 });
});

test('a proxy may be named without a scheme; one that cannot be is wrong usage, and is not shown', async (t) => {
  const { run, registry } = await world(t);
  const proxy = await startProxy(t, registry);
  const script = throughProxy('--plain-http registry.test');
  succeeded(await run(script, { http_proxy: proxy.url.replace('http://', '') }));
  assert.ok(proxy.asked.length > 0);
  for (const [value, why] of [
    ['ftp://me:c2VjcmV0@proxy.test', 'it names no proxy'],
    ['http://me:c2VjcmV0@:1', 'it names no proxy'],
    ['socks5h://me:c2VjcmV0@proxy.test', 'a SOCKS proxy is not spoken to here'],
  ] as const) {
    const { status, stderr } = await run(script, { http_proxy: value });
    assert.equal(status, 64, stderr);
    assert.match(stderr, new RegExp(`^md-token: http_proxy: ${why}; http://HOST:PORT, .*\\n$`));
    assert.doesNotMatch(stderr, /c2VjcmV0/);
  }
});

test('the password of a proxy that quotes it is neither in a message nor in a trace', async (t) => {
  const { run } = await world(t);
  const password = 'c@ret-of-mine';
  const proxy = createTcpServer((socket) => {
    socket
      .on('error', () => {})
      .once('data', (head: Buffer) => {
        const [, login = ''] = /^proxy-authorization: (Basic .*)\r$/im.exec(head.toString('latin1')) ?? [];
        const message = `${login} is ${Buffer.from(login.slice(6), 'base64')}`;
        const body = JSON.stringify({ errors: [{ code: 'DENIED', message }] });
        const headers = `x-seen: ${message}\r\nconnection: close\r\ncontent-length: ${body.length}`;
        socket.end(`HTTP/1.1 403 Forbidden\r\n${headers}\r\n\r\n${body}`);
      });
  });
  const host = await listening(t, proxy);
  const http_proxy = `http://me:${encodeURIComponent(password)}@${host}`;
  const { stdout, stderr, status } = await run(throughProxy('-x --plain-http registry.test'), { http_proxy });
  assert.equal(status, 77, stderr);
  assert.match(stderr, /x-seen: Basic \*\*\* is me:\*\*\*$/m);
  assert.match(stderr, /DENIED: Basic \*\*\* is me:\*\*\*/);
  for (const secret of [password, encodeURIComponent(password), Buffer.from(`me:${password}`).toString('base64')]) {
    assert.ok(!`${stdout}${stderr}`.includes(secret), secret);
  }
});

for (const [answer, status, why] of [
  ['407 Proxy Authentication Required', 77, 'HTTP 407 for https?://registry.test; it wants a login: '],
  ['403 Forbidden', 77, 'HTTP 403 for https?://registry.test'],
  ['503 Service Unavailable', 69, 'HTTP 503 for https?://registry.test'],
  ['nothing', 69, 'connection refused'],
] as const) {
  test(`a proxy that answers ${answer} is named, without its password`, async (t) => {
    const { run } = await world(t);
    const proxy = createTcpServer((socket) => {
      socket.on('error', () => {}).once('data', () => socket.end(`HTTP/1.1 ${answer}\r\ncontent-length: 0\r\n\r\n`));
    });
    const host = answer === 'nothing' ? `127.0.0.1:${await heldPort(t)}` : await listening(t, proxy);
    const url = `http://me:c2VjcmV0@${host}`;
    // What a proxy answers to a request in plain http is the answer, but for 407.
    for (const flag of answer.startsWith('407') || answer === 'nothing' ? ['', '--plain-http registry.test'] : ['']) {
      const env = { https_proxy: url, http_proxy: url };
      const result = await run(`md-token --retries 0 ${flag} registry.test/x/y`, env);
      assert.match(result.stderr, new RegExp(`: proxy http://${host}: ${why}`));
      assert.equal(result.status, status);
      assert.doesNotMatch(result.stderr, /c2VjcmV0/);
    }
  });
}

for (const [login, expected] of [
  ['me:secret', 'me:secret'],
  ['me:50%25', 'me:50%'],
  ['me:50%', 'me:50%'],
  ['m%C3%A9:%ff', 'm\xc3\xa9:\xff'],
  ['me', 'me:'],
] as const) {
  test(`a proxy with the login ${login} gets it as from curl`, async (t) => {
    const { run } = await world(t);
    let got = '';
    const proxy = createServer((req, res) => {
      got = Buffer.from(req.headers['proxy-authorization']?.slice('Basic '.length) ?? '', 'base64').toString('latin1');
      res.end('{}');
    });
    const env = { http_proxy: `http://${login}@${await listening(t, proxy)}` };
    succeeded(await run('md-token --plain-http registry.test registry.test/x/y', env));
    assert.equal(got, expected);
  });
}

test('a proxy that makes no tunnel and says nothing is given up', async (t) => {
  const { run } = await world(t);
  const silent = createServer().on('connect', (_req, socket) => afterwards(t, () => socket.destroy()));
  const env = { https_proxy: `http://${await listening(t, silent)}` };
  const result = await run('md-token --retries 0 --connect-timeout 1 registry.test/x/y', env);
  assert.equal(result.status, 69);
  assert.match(result.stderr, /no answer in time/);
});

test('a proxy that hangs up instead of making a tunnel is asked once and named', async (t) => {
  const { run } = await world(t);
  let asked = 0;
  const proxy = createTcpServer((socket) => {
    asked += 1;
    socket.on('error', () => {}).once('data', () => socket.destroy());
  });
  const url = `http://${await listening(t, proxy)}`;
  const result = await run('md-token --retries 0 registry.test/x/y', { https_proxy: url });
  assert.equal(result.status, 69, result.stderr);
  assert.ok(result.stderr.includes(`: proxy ${url}: the connection was closed; does it refuse tunnels`), result.stderr);
  assert.equal(asked, 1);
});

test('a proxy that speaks no TLS and is named with https is taken for no registry without TLS', async (t) => {
  const { run, registry } = await world(t);
  const { url } = await startProxy(t, registry);
  const https = url.replace('http:', 'https:');
  for (const flag of ['', '--plain-http registry.test']) {
    const env = { https_proxy: https, http_proxy: https };
    const { status, stderr } = await run(`md-token --retries 0 ${flag} registry.test/x/y`, env);
    assert.equal(status, 69, stderr);
    assert.ok(stderr.includes(`: proxy ${https}: it does not speak TLS; name it as ${url}\n`), stderr);
  }
});

test('https goes through a tunnel, and its certificate is checked', { skip: needs('openssl') }, async (t) => {
  const ca = makeCa(scratch(t));
  const { run, registry } = await world(t, { tls: ca.issue(['registry.test']) });
  const proxy = await startProxy(t, registry);
  const env = { HTTPS_PROXY: proxy.url };
  succeeded(await run(throughProxy(`--ca-file ${ca.caFile}`), env));
  assert.deepEqual([...new Set(proxy.asked)], ['CONNECT registry.test:443']);
  assert.equal((await run(throughProxy(''), env)).status, 69);
});
