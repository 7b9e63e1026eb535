/**
 * A link that loses packets, between this network namespace and another: two devices of tun(4), joined by a process that
 * passes their packets on late, no faster than the link allows, and some never. TCP is the kernel's own, with its slow
 * start and what it does about losses. Unlike netem it needs no kernel module; it needs root.
 */
import { type ChildProcess, execFileSync, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

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
  const carrier = fork(fileURLToPath(import.meta.resolve('./carrier.js')), [JSON.stringify(link), ...devices]);
  // Its network namespace ends with it.
  const holder = spawn('unshare', ['--net', 'sh', '-c', 'echo ready && exec sleep infinity'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const kill = () => {
    for (const child of [carrier, holder]) child.kill('SIGKILL');
  };
  process.once('exit', kill);
  const isReady = await Promise.race([once(carrier, 'message'), once(carrier, 'exit').then(() => false)]);
  if (!isReady) throw new Error('the devices of the link could not be made');
  await once(holder.stdout, 'data');
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
