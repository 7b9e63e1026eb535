/**
 * A link that loses packets, between this network namespace and another: two devices of tun(4), joined by a process that
 * passes their packets on late, no faster than the link allows, and some never. TCP is the kernel's own, with its slow
 * start and what it does about losses. Unlike netem it needs no kernel module; it needs root.
 */
import { type ChildProcess, execFileSync, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { openSync, read, writeSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { ioctlMemory } from '../../lib/sys/syscalls/calls.js';

export interface LossyLink {
  /** Milliseconds from one end to the other. */
  delay: number;
  /** Of each direction. */
  bitsPerSecond: number;
  /** What part of all packets is lost, from 0 to 1. */
  loss: number;
  /** Bytes that wait where the link begins before further packets are dropped. */
  queue: number;
}

export interface Tunnel {
  /** The address of this end. */
  address: string;
  /** A script for sh that runs `script`, with the same `$1`, at the other end. */
  there(script: string): string;
  close(): Promise<void>;
}

const devices = ['md-here', 'md-there'] as const;
/** RFC 5737: addresses for documentation, which no network uses. */
const [here, there] = ['192.0.2.65', '192.0.2.66'];

/** `congestion` is how TCP at this end reacts to losses, a name of tcp_available_congestion_control in tcp(7). */
export async function startTunnel(link: LossyLink, congestion: string): Promise<Tunnel> {
  const carrier = fork(fileURLToPath(import.meta.url), [JSON.stringify(link)]);
  // Its network namespace ends with it.
  const holder = spawn('unshare', ['--net', 'sh', '-c', 'echo ready && exec sleep infinity'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const kill = () => {
    for (const child of [carrier, holder]) child.kill('SIGKILL');
  };
  process.once('exit', kill);
  await Promise.all([once(carrier, 'message'), once(holder.stdout, 'data')]);
  const inside = ['nsenter', `--net=/proc/${holder.pid}/ns/net`];
  const [near, far] = devices;
  run('ip', 'link', 'set', far, 'netns', String(holder.pid));
  run('ip', 'address', 'add', here, 'peer', there, 'dev', near);
  run('ip', 'link', 'set', near, 'up');
  run('ip', 'route', 'replace', there, 'dev', near, 'src', here, 'congctl', congestion);
  run(...inside, 'ip', 'address', 'add', there, 'peer', here, 'dev', far);
  for (const device of ['lo', far]) run(...inside, 'ip', 'link', 'set', device, 'up');
  carrier.send('up');
  return {
    address: here,
    there: (script) => `exec ${inside.join(' ')} sh -c '${script.replaceAll("'", "'\\''")}' sh "$1"`,
    close: async () => {
      process.off('exit', kill);
      await Promise.all([carrier, holder].map(end));
    },
  };
}

function run(program = '', ...words: string[]): void {
  execFileSync(program, words);
}

async function end(child: ChildProcess): Promise<void> {
  child.kill('SIGKILL');
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
}

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

/** What the forked process does. */
function carry(link: LossyLink): void {
  const [near, far] = devices.map(openTun) as [number, number];
  process.send?.('ready');
  // A device that is down cannot be read.
  process.once('message', () => {
    new Direction(link, near, far).carry();
    new Direction(link, far, near).carry();
  });
  process.once('disconnect', () => process.exit());
}

if (process.send && process.argv[2] !== undefined) carry(JSON.parse(process.argv[2]) as LossyLink);
