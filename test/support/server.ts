/** A server of a test's own, on loopback. */
import { once } from 'node:events';
import { Server as HttpServer } from 'node:http';
import type { AddressInfo, Server } from 'node:net';
import type { TestContext } from 'node:test';
import { afterwards } from './run.js';

/** Lets it listen until the end of the test; returns where, as `HOST:PORT`. */
export async function listening(t: TestContext, server: Server): Promise<string> {
  await once(server.listen(0, '127.0.0.1'), 'listening');
  afterwards(t, () => {
    if (server instanceof HttpServer) server.closeAllConnections();
    server.close();
  });
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}
