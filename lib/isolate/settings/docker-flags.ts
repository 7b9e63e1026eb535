/**
 * Hints for flags that `docker run`, `podman run` or `md-pull` has and `md-isolate` does not have: what to do instead.
 */

const health = 'leave it out: nobody checks the health of the command';
const log = 'leave it out: stdout and stderr are those of the caller, and the shell has > and | for them';
const kept = 'leave it out: a container has no name or label; --layer LAYER keeps what it wrote';
const foreground = 'it runs in the foreground; the shell has & for the background';
const ports =
  'leave it out: the command listens on the network of the host, on its own port (below 1024 only root may)';
/** What to use instead of docker's networks. */
export const networks = 'the network is that of the host, or with --net none one of its own with lo only';
const pulling = 'run md-pull IMAGE first: it has the flags for pulling';
const own = 'the container always has its own namespace';
const cgroup = 'a cgroup is made where there is a limit, and removed at the end';
const anotherMachine = 'md-pull --platform fetches an image for another machine';
const streams = 'streams and signals (no real-time ones) are passed on as they are';
const cpus = '--cpus says how much processor time there is';
const unset = '-e NAME without a value unsets what the caller does not have';
const limits = 'the limits are --memory, --cpus, --cpuset-cpus and --pids-limit';
const accounts = 'the image has its own /etc/passwd and /etc/group: -u takes numbers that they lack';
const stop = 'there is no docker stop: kill(1) and timeout(1) send any signal';

/** The hints, by the long name or the letter of the flag. */
const instead: Record<string, string> = {
  a: streams,
  'allow-private': pulling,
  annotation: kept,
  arch: anotherMachine,
  attach: streams,
  authfile: pulling,
  'blkio-weight': limits,
  'blkio-weight-device': limits,
  c: cpus,
  'ca-file': pulling,
  'cgroup-parent': cgroup,
  cgroupns: own,
  cgroups: cgroup,
  cidfile: kept,
  'connect-timeout': pulling,
  'cpu-period': cpus,
  'cpu-quota': cpus,
  'cpu-rt-period': cpus,
  'cpu-rt-runtime': cpus,
  'cpu-shares': cpus,
  'cpuset-mems': limits,
  creds: pulling,
  d: foreground,
  detach: foreground,
  'device-cgroup-rule': 'no cgroup filters devices: --device names each',
  'device-read-bps': limits,
  'device-read-iops': limits,
  'device-write-bps': limits,
  'device-write-iops': limits,
  'disable-content-trust': 'digests are always checked, signatures never',
  'dns-opt': 'it is called --dns-option',
  domainname: '--hostname NAME.DOMAIN has both',
  'env-host': '-e NAME passes on a variable of the caller',
  expose: ports,
  'group-entry': accounts,
  gidmap: '--userns range maps all of /etc/subgid',
  gpus: '--device /dev/NODE gives a device of the host, -v its libraries',
  'header-timeout': pulling,
  'health-cmd': health,
  'health-interval': health,
  'health-retries': health,
  'health-start-interval': health,
  'health-start-period': health,
  'health-timeout': health,
  'http-proxy': 'leave it out: no variable is passed on but by -e NAME',
  'idle-timeout': pulling,
  'image-volume': 'a VOLUME of the image is a directory like others; -v or --tmpfs for one that is not',
  'init-path': '--init has a process 1 of its own',
  insecure: pulling,
  ip: networks,
  ip6: networks,
  ipc: `${own}; --shm-size SIZE gives a larger /dev/shm`,
  isolation: 'leave it out: with docker it means something on Windows only',
  j: pulling,
  jobs: pulling,
  'kernel-memory': limits,
  l: kept,
  label: kept,
  'label-file': kept,
  link: networks,
  'link-local-ip': networks,
  'log-driver': log,
  'log-opt': log,
  'mac-address': networks,
  map: pulling,
  'memory-reservation': limits,
  'memory-swap': 'with --memory there is as much swap as memory',
  'memory-swappiness': limits,
  'min-speed': pulling,
  mirror: pulling,
  name: kept,
  'net-alias': networks,
  'network-alias': networks,
  'no-healthcheck': health,
  'no-hosts': '-v FILE:/etc/hosts gives another /etc/hosts',
  'no-new-privileges': 'it is called --no-new-privs',
  offline: pulling,
  'oom-kill-disable': limits,
  os: anotherMachine,
  'oom-score-adj': 'it is passed on: choom -n N in front of the command sets it',
  p: ports,
  P: ports,
  passwd: accounts,
  'passwd-entry': accounts,
  'password-stdin': pulling,
  pid: own,
  'plain-http': pulling,
  pod: networks,
  platform: anotherMachine,
  progress: pulling,
  publish: ports,
  'publish-all': ports,
  pull: 'md-run has it',
  q: 'leave it out: progress is shown on a terminal only',
  quiet: 'leave it out: progress is shown on a terminal only',
  'read-only-tmpfs': '--tmpfs TARGET makes a directory that can be written to',
  replace: kept,
  restart: 'there is no daemon that could: a unit of systemd with Restart= starts it again',
  retries: pulling,
  rmi: 'md-prune IMAGE removes an image',
  rootfs: 'md-isolate DIR runs a directory',
  runtime: 'md-isolate is the runtime',
  secret: '-v FILE:/run/secrets/NAME:ro shows a file of the host',
  'sig-proxy': streams,
  'stop-signal': stop,
  'stop-timeout': stop,
  'storage-opt': 'what a container writes is in memory with --overlay, as with md-run, and on disk with --layer LAYER',
  timeout:
    'timeout -k 10 SECONDS in front of it; without -k only a command that heeds SIGTERM ends, or one with --init',
  'tls-verify': pulling,
  tz: '-e TZ=NAME sets the time zone',
  uidmap: '--userns range maps all of /etc/subuid',
  unsetenv: unset,
  'unsetenv-all': unset,
  username: pulling,
  'use-api-socket': '-v /var/run/docker.sock:/var/run/docker.sock shows the socket of a daemon',
  uts: own,
  variant: anotherMachine,
  'volume-driver': '-v SOURCE:TARGET mounts a directory of the host',
  'volumes-from': '-v SOURCE:TARGET mounts a directory of the host',
};

/** The hint for a flag, without its dashes; undefined when there is none. */
export function insteadOf(flag: string): string | undefined {
  return Object.hasOwn(instead, flag) ? instead[flag] : undefined;
}
