/** What to do in the place of flags that `docker run` or `podman run` has and `md-isolate` has not, for who types them by habit. */

const daemon = 'nothing runs beside the container that could do this';
const kept = 'nothing is kept of a container, so it has no name or label';
const foreground = 'it runs in the foreground; the shell has & for the background';
const ports = 'without --net none the network is that of the host: what the command listens on is open there';
const own = 'this namespace is always of its own';
const streams = 'all signals and streams are passed on as they are';
const cpus = '--cpus says how much processor time there is';
const limits = 'the limits are --memory, --cpus, --cpuset-cpus and --pids-limit';
const stop = 'there is no docker stop for it: kill(1) and timeout(1) send the signal that they are told';

/** Long names and single letters. */
const instead: Record<string, string> = {
  a: streams,
  attach: streams,
  c: cpus,
  'cpu-period': cpus,
  'cpu-quota': cpus,
  'cpu-shares': cpus,
  cgroupns: own,
  cidfile: kept,
  d: foreground,
  detach: foreground,
  'device-cgroup-rule': 'no cgroup filters devices: --device names each',
  'dns-opt': 'it is called --dns-option',
  'env-host': '-e NAME passes on a variable of the caller',
  expose: ports,
  gpus: '--device /dev/NODE gives a device of the host, -v its libraries',
  'health-cmd': daemon,
  ipc: own,
  l: kept,
  label: kept,
  'label-file': kept,
  'log-driver': daemon,
  'log-opt': daemon,
  'memory-reservation': limits,
  'memory-swap': 'with --memory there is as much swap as memory',
  'memory-swappiness': limits,
  name: kept,
  'no-healthcheck': daemon,
  'oom-kill-disable': limits,
  'oom-score-adj': 'it is passed on: choom -n N in front of the command sets it',
  p: ports,
  P: ports,
  pid: own,
  platform: 'md-pull --platform fetches an image for another machine',
  publish: ports,
  'publish-all': ports,
  pull: 'md-pull IMAGE fetches it anew',
  restart: daemon,
  rootfs: 'md-isolate DIR runs a directory',
  'sig-proxy': streams,
  'stop-signal': stop,
  'stop-timeout': stop,
  tz: '-e TZ=NAME says so to the command',
  uts: own,
  'volumes-from': '-v SOURCE:TARGET mounts a directory of the host',
};

/** Of a flag without its dashes; undefined for one that docker has not either, or that has no counterpart. */
export function insteadOf(flag: string): string | undefined {
  return Object.hasOwn(instead, flag) ? instead[flag] : undefined;
}
