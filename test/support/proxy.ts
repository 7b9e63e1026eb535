/** An HTTP proxy that leads to the embedded registry, whatever it is asked for. */

import * as http from 'node:http';
import * as https from 'node:https';
import { connect } from 'node:net';
import type { TestContext } from 'node:test';
import type { Registry } from './registry.js';
import { listening } from './server.js';
import type { ServerTls } from './tls.js';

/** With `tls` it speaks https itself. `asked` is what was asked for. */
export async function startProxy(
  t: TestContext,
  registry: Registry,
  tls?: ServerTls,
): Promise<{ url: string; asked: string[] }> {
  const asked: string[] = [];
  const upstream = { host: '127.0.0.1', port: Number(registry.host.split(':')[1]) };
  const answer: http.RequestListener = (req, res) => {
    asked.push(`${req.method} ${req.url}`);
    const path = new URL(req.url ?? '').pathname;
    const { 'proxy-connection': _, ...headers } = req.headers;
    const asking = http.request({ ...upstream, path, headers }, (it) => {
      it.pipe(res.writeHead(it.statusCode ?? 500, it.headers));
    });
    asking.end();
  };
  const proxy = tls ? https.createServer({ cert: tls.cert, key: tls.key }, answer) : http.createServer(answer);
  proxy.on('connect', (req, socket) => {
    asked.push(`CONNECT ${req.url}`);
    const tunnel = connect(upstream, () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
      tunnel.pipe(socket).pipe(tunnel);
    });
    for (const end of [socket, tunnel]) end.on('error', () => end.destroy());
  });
  return { url: `http${tls ? 's' : ''}://${await listening(t, proxy)}`, asked };
}
