/** A server that closes its connection, as `Connection: close` announces, while what it sent waits for a slow disk. */
import assert from 'node:assert/strict';
import { createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Http } from '../../lib/registry/http/http.js';
import { listening } from '../support/server.js';

/** Long enough for what was sent to be there, its end included. */
const arrival = 50;

/** What is received of an answer of two parts. Each is waited for, and the second one with the end of the socket. */
async function received(t: TestContext, headers: string, parts: [string, string]): Promise<string> {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket.on('error', () => {}));
    socket.once('data', () => socket.write(`HTTP/1.1 200 OK\r\nconnection: close\r\n${headers}\r\n${parts[0]}`));
  });
  const http = new Http();
  const url = new URL(`http://${await listening(t, server)}/`);
  const response = await http.exchange({ method: 'GET', url, headers: {} });
  let text = '';
  await response.stream((chunk) => {
    if (text === '') sockets[0]?.end(parts[1]);
    text += chunk.toString();
    return sleep(arrival);
  });
  return text;
}

for (const [framing, headers, parts] of [
  ['a length', 'content-length: 4\r\n', ['ab', 'cd']],
  ['chunks', 'transfer-encoding: chunked\r\n', ['2\r\nab\r\n', '2\r\ncd\r\n0\r\n\r\n']],
  ['nothing but its end', '', ['ab', 'cd']],
] as const) {
  test(`an answer with ${framing} is whole, though its last part had to wait when the connection was closed`, async (t) => {
    assert.equal(await received(t, headers, [...parts]), 'abcd');
  });
}

for (const [framing, headers, parts] of [
  ['a length', 'content-length: 5\r\n', ['ab', 'cd']],
  ['chunks', 'transfer-encoding: chunked\r\n', ['2\r\nab\r\n', '3\r\ncd']],
] as const) {
  test(`an answer with ${framing} that was cut while a part of it had to wait can be asked for again`, async (t) => {
    await assert.rejects(received(t, headers, [...parts]), { status: 69, retryable: true });
  });
}
