/**
 * Hints for flags that `docker run`, `podman run` or `md-pull` has and `md-isolate` does not have: what to do instead.
 */
import { hintsFor } from '../../pipe/flags.js';

/** What to use instead of docker's networks. */
export const networks = 'the network is that of the host, or with --net none one of its own with lo only';

/** The hint for a flag, without its dashes; undefined when there is none. */
export const insteadOf = hintsFor([
  [
    `allow-private authfile ca-file connect-timeout creds header-timeout idle-timeout insecure j jobs map min-speed
    mirror offline password-stdin plain-http progress retries tls-verify username`,
    'run md-pull IMAGE first: it has the flags for pulling',
  ],
  ['arch os platform variant', 'md-pull --platform fetches an image for another machine'],
  ['pull', 'md-run has it'],
  ['disable-content-trust', 'digests are always checked, signatures never'],
  ['rootfs', 'md-isolate DIR runs a directory'],
  ['runtime', 'md-isolate is the runtime'],
  [
    'annotation cidfile l label label-file name replace',
    'leave it out: a container has no name or label; --layer LAYER keeps what it wrote',
  ],
  ['rmi', 'md-prune IMAGE removes an image'],
  ['d detach', 'it runs in the foreground; the shell has & for the background'],
  ['a attach sig-proxy', 'streams and signals (no real-time ones) are passed on as they are'],
  ['q quiet', 'leave it out: progress is shown on a terminal only'],
  ['log-driver log-opt', 'leave it out: stdout and stderr are those of the caller, and the shell has > and | for them'],
  ['stop-signal stop-timeout', 'there is no docker stop: kill(1) and timeout(1) send any signal'],
  [
    'timeout',
    'timeout -k 10 SECONDS in front of it; without -k only a command that heeds SIGTERM ends, or one with --init',
  ],
  ['restart', 'there is no daemon that could: a unit of systemd with Restart= starts it again'],
  [
    `health-cmd health-interval health-retries health-start-interval health-start-period health-timeout
    no-healthcheck`,
    'leave it out: nobody checks the health of the command',
  ],
  ['ip ip6 link link-local-ip mac-address net-alias network-alias pod pod-id-file', networks],
  [
    'expose p P publish publish-all',
    'leave it out: the command listens on the network of the host, on its own port (below 1024 only root may)',
  ],
  ['dns-opt', 'it is called --dns-option'],
  ['no-hosts', '-v FILE:/etc/hosts gives another /etc/hosts'],
  ['domainname', '--hostname NAME.DOMAIN has both'],
  [
    `blkio-weight blkio-weight-device cpuset-mems device-read-bps device-read-iops device-write-bps device-write-iops
    kernel-memory memory-reservation memory-swappiness oom-kill-disable`,
    'the limits are --memory, --cpus, --cpuset-cpus and --pids-limit',
  ],
  ['c cpu-period cpu-quota cpu-rt-period cpu-rt-runtime cpu-shares', '--cpus says how much processor time there is'],
  ['memory-swap', 'with --memory there is as much swap as memory'],
  ['cgroup-parent cgroups', 'a cgroup is made where there is a limit, and removed at the end'],
  ['oom-score-adj', 'it is passed on: choom -n N in front of the command sets it'],
  ['cgroupns pid uts', 'the container always has its own namespace'],
  ['ipc', 'the container always has its own namespace; --shm-size SIZE gives a larger /dev/shm'],
  ['conmon-pidfile pidfile', 'the shell has the PID of md-isolate: $! behind &; the container is its child'],
  ['preserve-fd preserve-fds', 'the command has descriptors 0, 1 and 2 alone'],
  ['subgidname subuidname', '--userns range maps what /etc/subuid and /etc/subgid grant to the caller'],
  ['uidmap', '--userns range maps all of /etc/subuid'],
  ['gidmap', '--userns range maps all of /etc/subgid'],
  [
    'group-entry passwd passwd-entry',
    'the image has its own /etc/passwd and /etc/group: -u takes numbers that they lack',
  ],
  ['no-new-privileges', 'it is called --no-new-privs'],
  ['init-path', '--init has a process 1 of its own'],
  ['env-host', '-e NAME passes on a variable of the caller'],
  ['http-proxy', 'leave it out: no variable is passed on but by -e NAME'],
  ['unsetenv unsetenv-all', '-e NAME without a value unsets what the caller does not have'],
  ['tz', '-e TZ=NAME sets the time zone'],
  ['volume-driver volumes-from', '-v SOURCE:TARGET mounts a directory of the host'],
  ['secret', '-v FILE:/run/secrets/NAME:ro shows a file of the host'],
  ['use-api-socket', '-v /var/run/docker.sock:/var/run/docker.sock shows the socket of a daemon'],
  ['image-volume', 'a VOLUME of the image is a directory like others; -v or --tmpfs for one that is not'],
  [
    'storage-opt',
    'what a container writes is in memory with --overlay, as with md-run, and on disk with --layer LAYER',
  ],
  ['read-only-tmpfs', '--tmpfs TARGET makes a directory that can be written to'],
  ['gpus', '--device /dev/NODE gives a device of the host, -v its libraries'],
  [
    'systemd',
    'systemd as process 1 takes --security-opt writable-cgroups=true -e container=oci --tmpfs /run --tmpfs /run/lock --tmpfs /tmp:exec',
  ],
  ['device-cgroup-rule', 'no cgroup filters devices: --device names each'],
  ['isolation', 'leave it out: with docker it means something on Windows only'],
]);
