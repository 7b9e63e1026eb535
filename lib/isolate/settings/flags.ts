/** The flags of md-isolate. settings.ts says what they make of a container; cmd/md-run repeats their names. */
import type { Flags, FlagValues } from '../../pipe/flags.js';

export const isolateFlags = {
  env: { kind: 'list', alias: 'e', value: 'NAME[=VALUE]', help: "set a variable, or pass on the caller's" },
  'env-file': { kind: 'list', value: 'FILE', help: 'read variables from a file, one a line' },
  user: { kind: 'string', alias: 'u', value: 'USER[:GROUP]', help: 'run as this user: names of the image, or numbers' },
  'group-add': { kind: 'list', value: 'GROUP', help: 'an additional group: a name of the image, or a number' },
  workdir: { kind: 'string', alias: 'w', value: 'PATH', help: 'the working directory' },
  hostname: { kind: 'string', alias: 'h', value: 'NAME', help: "the container's name (default: random)" },
  entrypoint: { kind: 'string', value: 'CMD', help: "the program, in place of the image's entrypoint; empty for none" },
  net: { kind: 'string', value: 'host|none', help: "the host's network (default), or one of its own with lo only" },
  network: { kind: 'string', value: 'host|none', help: 'the same as --net' },
  'add-host': { kind: 'list', value: 'NAME:ADDRESS', help: 'add a line to /etc/hosts' },
  dns: { kind: 'list', value: 'ADDRESS', help: "a name server, in place of the host's" },
  'dns-search': { kind: 'list', value: 'DOMAIN', help: "a domain to search, in place of the host's; . for none" },
  'dns-option': { kind: 'list', value: 'OPTION', help: "an option of resolv.conf(5), in place of the host's" },
  rm: { kind: 'boolean', help: 'accepted: a container leaves nothing but what it wrote to DIR' },
  'read-only': { kind: 'boolean', help: 'make the root read-only' },
  overlay: { kind: 'boolean', help: 'write to memory instead of DIR; what is written is gone at the end' },
  layer: {
    kind: 'string',
    value: 'LAYER',
    help: 'write to the directory LAYER instead of DIR; the next run with LAYER finds it there',
  },
  volume: { kind: 'list', alias: 'v', value: 'SOURCE:TARGET[:ro]', help: 'mount a file or directory of the host' },
  mount: { kind: 'list', value: 'FIELDS', help: 'type=bind|tmpfs,source=...,target=...[,readonly]' },
  tmpfs: { kind: 'list', value: 'TARGET[:OPTIONS]', help: 'a temporary file system in memory' },
  device: {
    kind: 'list',
    value: 'SOURCE[:TARGET]',
    help: 'give access to a device of the host, or to those in a directory',
  },
  'no-new-privs': { kind: 'boolean', help: 'set-user-ID programs gain no privileges' },
  'cap-add': { kind: 'list', value: 'CAP', help: 'add a capability, or ALL' },
  'cap-drop': { kind: 'list', value: 'CAP', help: 'drop a capability, or ALL' },
  privileged: {
    kind: 'boolean',
    help: 'all capabilities and devices (in a user namespace those of --device alone), no seccomp filter, no masked paths: no protection',
  },
  seccomp: { kind: 'string', value: 'FILE|unconfined', help: "a seccomp profile in docker's format, or no filter" },
  'security-opt': {
    kind: 'list',
    value: 'OPTION',
    help: 'no-new-privileges, seccomp=..., apparmor=PROFILE or writable-cgroups=true, as docker writes them',
  },
  'seccomp-report': { kind: 'boolean', help: 'at the end, name the system calls that the filter refused' },
  userns: {
    kind: 'string',
    value: 'host|self|range',
    help: 'which users the container has. host: those of the host (default for root; without CAP_SYS_ADMIN in a user namespace with the same ids); self: only root, who is the caller outside; range: that, and the ids of /etc/subuid (default where the caller has any)',
  },
  memory: { kind: 'string', alias: 'm', value: 'SIZE', help: 'limit memory, for example to 64m' },
  cpus: { kind: 'string', value: 'N', help: 'limit processor time to that of N processors, for example 1.5' },
  'pids-limit': { kind: 'string', value: 'N', help: 'limit the number of processes' },
  'cpuset-cpus': { kind: 'string', value: 'LIST', help: 'run on these processors only, for example 0-1' },
  ulimit: {
    kind: 'list',
    value: 'NAME=SOFT[:HARD]',
    help: 'a resource limit, as in getrlimit(2), for example nofile=1024',
  },
  sysctl: { kind: 'list', value: 'NAME=VALUE', help: "a setting of the container's own namespaces" },
  'shm-size': { kind: 'string', value: 'SIZE', help: 'the size of /dev/shm (default 64m)' },
  interactive: {
    kind: 'boolean',
    alias: 'i',
    help: 'no terminal, even when stdin is one; stdin is always passed on',
  },
  tty: { kind: 'choice', alias: 't', help: 'give it a terminal; the default when stdin and stdout are terminals' },
  'detach-keys': {
    kind: 'string',
    value: 'KEYS',
    help: 'keys that put it in the background until fg (default ctrl-p,ctrl-q)',
  },
  'dry-run': { kind: 'boolean', help: 'print every step and its reason as JSON lines, and do nothing' },
  init: { kind: 'boolean', help: 'a process 1 that reaps orphans and passes signals on to the command' },
  umask: { kind: 'string', value: 'MODE', help: 'the umask of the command (default 0022)' },
} as const satisfies Flags;

/** Their values, as the command line has them. */
export type IsolateFlags = FlagValues<typeof isolateFlags>;
