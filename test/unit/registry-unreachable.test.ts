import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { connect, createServer as createTcpServer } from 'node:net';
import { type TestContext, test } from 'node:test';
import { Guard } from '../../lib/registry/transport/guard.js';
import { heldPort } from '../support/ports.js';
import { clientAt, clientFor, refused, serve } from '../support/registry-client.js';
import { afterwards, killAfterwards } from '../support/run.js';
import { listening } from '../support/server.js';

const noRetry = { retry: { retries: 0 } };

test('what cannot be reached is told with the reason', async (t) => {
  const there = clientAt(`http://127.0.0.1:${await heldPort(t)}`, noRetry);
  await refused(there.manifest('latest'), 69, /connection refused \(ECONNREFUSED\)$/);
  const nowhere = clientAt('https://nowhere.invalid', noRetry);
  await refused(
    nowhere.manifest('latest'),
    69,
    /(no such host|name server).*; is nowhere\.invalid right\? .* set HTTPS_PROXY$/,
  );
});

for (const [code, why, times, origin] of [
  ['ENOTFOUND', /no such host; is nowhere\.test right\? behind a proxy, set HTTP_PROXY$/, 1, 'http://nowhere.test'],
  [
    'ENOTFOUND',
    /no such host; is there a way to the network\? behind a proxy, set HTTPS_PROXY$/,
    1,
    'https://registry-1.docker.io',
  ],
  ['EAI_AGAIN', /the name server does not answer/, 3, 'http://nowhere.test'],
] as const) {
  test(`a name is looked up as often as it makes sense where that of ${origin} ends in ${code}`, async (t) => {
    const dns = process.getBuiltinModule('node:dns');
    const lookup = t.mock.method(dns, 'lookup', (_name: string, _options: object, done: (error: Error) => void) => {
      done(Object.assign(new Error(code), { code }));
    });
    const guard = new Guard(new URL(origin));
    const client = clientAt(origin, { guard, retry: { retries: 2, firstDelay: 1, maxDelay: 2 } });
    await refused(client.manifest('latest'), 69, why);
    assert.equal(lookup.mock.callCount(), times);
  });
}

/** A server that takes no connection for a moment: its queue is full, and the kernel drops what more comes. */
async function startBusyServer(t: TestContext): Promise<number> {
  const script = `
    const server = require('node:http').createServer((_req, res) => res.end('{}'));
    server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => console.log(server.address().port));
    process.once('SIGUSR2', () => {
      console.log('busy');
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 800);
    });`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  killAfterwards(t, child);
  const port = Number(await once(child.stdout, 'data'));
  child.kill('SIGUSR2');
  await once(child.stdout, 'data');
  const [first, second] = [1, 2, 3, 4].map(() => {
    const socket = connect(port, '127.0.0.1').on('error', () => {});
    afterwards(t, () => socket.destroy());
    return socket;
  });
  await Promise.all([once(first!, 'connect'), once(second!, 'connect')]);
  return port;
}

test('a connection that is slow to come up is waited for, where the host has other addresses that do not answer', async (t) => {
  const dns = process.getBuiltinModule('node:dns');
  t.mock.method(dns, 'lookup', (_name: string, _options: object, done: (error: null, found: object[]) => void) => {
    done(null, [
      { address: '127.0.0.1', family: 4 },
      { address: '100::1', family: 6 },
    ]);
  });
  const origin = `http://slow.test:${await startBusyServer(t)}`;
  const guard = new Guard(new URL(origin));
  const client = clientAt(origin, { guard, ...noRetry });
  assert.equal(await client.login(), null);
});

test('a registry that takes a connection and does not answer in TLS is given up', { timeout: 9000 }, async (t) => {
  const server = createTcpServer((socket) => socket.on('error', () => {}));
  const options = { ...noRetry, timeouts: { connect: 0.2, headers: 60, idle: 60 } };
  const client = clientAt(`https://${await listening(t, server)}`, options);
  await refused(client.manifest('latest'), 69, /no connection in time/);
});

for (const [what, bytes, why] of [
  ['no HTTP', 'SSH-2.0-OpenSSH_9.2\r\n', /what answers there does not speak HTTP; does it speak https\?$/],
  [
    'a length below 0',
    'HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n',
    /malformed HTTP: Invalid .* in Content-Length$/,
  ],
  [
    'a length of letters',
    'HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n',
    /malformed HTTP: Invalid .* in Content-Length$/,
  ],
  [
    'a length twice',
    'HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\n12345',
    /malformed HTTP: its headers cannot be parsed; is Content-Length there twice, or together with chunks\?$/,
  ],
  [
    'a length and chunks',
    'HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\n\r\n',
    /malformed HTTP: its headers cannot be parsed; is Content-Length there twice, or together with chunks\?$/,
  ],
  [
    'a wish to go on',
    'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n',
    /malformed HTTP: it begins with 100 Continue, which was not asked for$/,
  ],
] as const) {
  test(`what answers with ${what} is told so`, async (t) => {
    const server = createTcpServer((socket) => socket.end(bytes));
    const client = clientAt(`http://${await listening(t, server)}`, noRetry);
    await refused(client.manifest('latest'), 76, why);
  });
}

for (const body of [
  'Client sent an HTTP request to an HTTPS server.\n',
  '<html>\r\n<head><title>400 The plain HTTP request was sent to HTTPS port</title></head>\r\n</html>',
]) {
  test(`a registry that says ${body.slice(0, 30)} is told to speak TLS`, async (t) => {
    const registry = await serve(t);
    registry.faults.add({ on: /./, status: 400, body });
    await refused(clientFor(registry).login(), 76, /HTTP 400 \(.*HTTPS .*\); it speaks TLS: pass --ca-file/);
  });
}

test('interim answers are passed over, and not for ever', async (t) => {
  let interim = 3;
  const server = createServer(async (_req, res) => {
    for (let i = 0; i < interim && !res.destroyed; i++) {
      res.writeEarlyHints({ link: '</x>' });
      await new Promise((next) => setTimeout(next, 10));
    }
    res.end('{}');
  });
  const client = clientAt(`http://${await listening(t, server)}`, noRetry);
  await client.manifest('latest');
  interim = 1000;
  await refused(client.manifest('latest'), 76, /announces an answer again and again/);
});

test('long headers are read, and those without end are told', async (t) => {
  const registry = await serve(t);
  registry.faults.add({ on: /manifests/, times: 1, headers: { 'content-security-policy': 'x'.repeat(100_000) } });
  await clientFor(registry).manifest('latest');
  registry.faults.add({ on: /manifests/, status: 200, headers: { 'x-long': 'x'.repeat(300_000) } });
  await refused(clientFor(registry).manifest('latest'), 76, /the response headers are too long$/);
});
