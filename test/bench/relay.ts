/**
 * A slow link in user space: a relay in front of a server that passes bytes on late and no faster than the link allows.
 * Unlike netem it needs neither root nor a kernel module; it has no loss and no slow start.
 */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { Line, Queue } from './line.js';

export interface Link {
  /** Milliseconds from one end to the other; a round trip takes twice as long. */
  delay: number;
  /** Of each direction, shared by all connections. */
  bitsPerSecond: number;
  /** The most that one connection gets of it, as with servers that shape each; by default all. */
  perConnection?: number;
}

export interface Relay {
  /** `127.0.0.1:PORT`. */
  host: string;
  close(): void;
}

/** What may be under way on one connection: the window of TCP. */
const windowBytes = 4 * 1024 * 1024;

/** Starts a relay to `target` (`HOST:PORT`). */
export async function startRelay(target: string, link: Link): Promise<Relay> {
  const [host = '', port = ''] = target.split(':');
  const down = new Direction(link);
  const up = new Direction(link);
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connect(Number(port), host);
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.setNoDelay(true);
      socket.once('close', () => sockets.delete(socket));
      // A connection that breaks takes the other half along.
      socket.once('error', () => {
        client.destroy();
        upstream.destroy();
      });
    }
    // The handshake took a round trip before the first byte could be sent.
    up.carry(client, upstream, 2 * link.delay);
    down.carry(upstream, client, 0);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** One direction of the link. */
class Direction {
  private readonly shared: Line;

  constructor(private readonly link: Link) {
    this.shared = new Line(link.bitsPerSecond);
  }

  /** Passes on what `from` sends; its first bytes are later by `first` milliseconds. */
  carry(from: Socket, to: Socket, first: number): void {
    const begin = performance.now() + first;
    const { delay, bitsPerSecond, perConnection = bitsPerSecond } = this.link;
    const own = new Line(perConnection);
    const limited = perConnection < bitsPerSecond;
    const [atOwnRate, late] = [new Queue(), new Queue()];
    const send = (bytes: number, deliver: () => void) =>
      late.at(Math.max(this.shared.sent(bytes), begin) + delay, deliver);
    let underWay = 0;
    from.on('data', (chunk) => {
      underWay += chunk.length;
      if (underWay >= windowBytes) from.pause();
      const pass = () =>
        send(chunk.length, () => {
          underWay -= chunk.length;
          if (underWay < windowBytes) from.resume();
          to.write(chunk);
        });
      // What one connection may send only later takes nothing from the others until then, and nothing once it is
      // broken.
      if (limited) atOwnRate.at(own.sent(chunk.length), () => to.destroyed || pass());
      else pass();
    });
    const end = () => send(0, () => to.end());
    from.on('end', () => (limited ? atOwnRate.at(own.sent(0), end) : end()));
  }
}
