/**
 * The process that is a lossy link: makes two devices of tun(4) and carries the packets of each to the other. Arguments:
 * the link (`LossyLink`) as JSON, and the names of the devices. See `startTunnel`.
 */
import { openSync, read, writeSync } from 'node:fs';
import { ioctlMemory } from '../../lib/sys/syscalls/calls.js';
import { Line, Queue } from './line.js';
import type { LossyLink } from './tunnel.js';

/** Carries the packets of one device to another, for ever. */
function carry(from: number, to: number, { delay, bitsPerSecond, loss, queue }: LossyLink): void {
  const [line, late] = [new Line(bitsPerSecond), new Queue()];
  const next = () => {
    const packet = Buffer.allocUnsafe(2048);
    read(from, packet, 0, packet.length, null, (error, length) => {
      if (error) throw error;
      if (line.waiting <= queue && Math.random() >= loss)
        late.at(line.sent(length) + delay, () => writeSync(to, packet, 0, length));
      next();
    });
  };
  next();
}

/** Opens /dev/net/tun for a new device of this name, which goes with the descriptor. */
function openTun(name: string): number {
  const [TUNSETIFF, IFF_TUN, IFF_NO_PI] = [0x400454ca, 0x1, 0x1000];
  const fd = openSync('/dev/net/tun', 'r+');
  // struct ifreq of netdevice(7)
  const request = Buffer.alloc(40);
  request.write(name);
  request.writeUInt16LE(IFF_TUN | IFF_NO_PI, 16);
  ioctlMemory(fd, TUNSETIFF, request);
  return fd;
}

const [link = '', ...devices] = process.argv.slice(2);
const properties = JSON.parse(link) as LossyLink;
const [near = -1, far = -1] = devices.map(openTun);
process.send?.('ready');
// A device that is down cannot be read: the parent says when both are up.
process.once('message', () => {
  carry(near, far, properties);
  carry(far, near, properties);
});
process.once('disconnect', () => process.exit());
