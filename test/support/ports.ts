/**
 * Ports of loopback on which nobody listens. A port that was only free a moment ago may be another test's by the time
 * somebody uses it: here a connection has it, so that the kernel gives it to nobody who asks for any port, while a
 * server that asks for this one by its number gets it (SO_REUSEADDR, socket(7)).
 */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import type { TestContext } from 'node:test';
import { afterwards } from './run.js';

interface HeldPort {
  port: number;
  release(): void;
}

export async function holdPort(): Promise<HeldPort> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const client = connect(port, '127.0.0.1');
  const [[socket]] = await Promise.all([once(server, 'connection'), once(client, 'connect')]);
  server.close();
  for (const end of [client, socket]) end.on('error', () => end.destroy());
  const release = () => {
    for (const end of [client, socket]) end.destroy();
  };
  return { port, release };
}

/** A port that is held until the end of the test: connections to it are refused, or go to a server of the test's. */
export async function heldPort(t: TestContext): Promise<number> {
  const { port, release } = await holdPort();
  afterwards(t, release);
  return port;
}
