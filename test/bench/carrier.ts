/**
 * The process that is a lossy link: makes two devices of tun(4) and carries the packets of each to the other. Arguments:
 * the link (`LossyLink`) as JSON, and the names of the devices. See `startTunnel`.
 */
import { openSync, read, writeSync } from 'node:fs';
import { ioctlMemory } from '../../lib/sys/syscalls/calls.js';
import type { LossyLink } from './tunnel.js';

/** One direction of the link. */
class Direction {
  private readonly underWay: { at: number; packet: Buffer }[] = [];
  private busyUntil = 0;

  constructor(
    private readonly link: LossyLink,
    private readonly from: number,
    private readonly to: number,
  ) {}

  carry(): void {
    const packet = Buffer.allocUnsafe(2048);
    read(this.from, packet, 0, packet.length, null, (error, length) => {
      if (error) throw error;
      this.accept(packet.subarray(0, length));
      this.carry();
    });
  }

  private accept(packet: Buffer): void {
    const { delay, bitsPerSecond, loss, queue } = this.link;
    const now = performance.now();
    const begin = Math.max(now, this.busyUntil);
    const waiting = ((begin - now) * bitsPerSecond) / 8000;
    if (waiting > queue || Math.random() < loss) return;
    this.busyUntil = begin + (packet.length * 8000) / bitsPerSecond;
    this.underWay.push({ at: this.busyUntil + delay, packet });
    if (this.underWay.length === 1) this.wait();
  }

  private wait(): void {
    setTimeout(() => this.deliver(), this.underWay[0]!.at - performance.now());
  }

  private deliver(): void {
    const now = performance.now();
    const late = this.underWay.findIndex(({ at }) => at > now);
    for (const { packet } of this.underWay.splice(0, late === -1 ? this.underWay.length : late))
      writeSync(this.to, packet);
    if (this.underWay.length > 0) this.wait();
  }
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

/** Makes the devices, tells the parent, and carries once that says that they are up. */
function carry(link: LossyLink, devices: string[]): void {
  const [near = -1, far = -1] = devices.map(openTun);
  process.send?.('ready');
  // A device that is down cannot be read.
  process.once('message', () => {
    new Direction(link, near, far).carry();
    new Direction(link, far, near).carry();
  });
  process.once('disconnect', () => process.exit());
}

const [link = '', ...devices] = process.argv.slice(2);
carry(JSON.parse(link) as LossyLink, devices);
