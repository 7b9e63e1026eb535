/**
 * What the container is to be like: the defaults of the image, replaced by flags of the command line. Source: image-spec,
 * conversion.md. A container has no annotations, as a config.json of runtime-spec would: labels, ports and the signal to
 * stop it stay in DIR.json. So do ArgsEscaped, which is for Windows, and a health check, which nothing here would do.
 */
import { posix, resolve } from 'node:path';
import type { Platform, RunConfig } from '../../base/oci.js';
import type { RootfsDocument } from '../../pipe/document.js';
import type { Path } from '../../sys/syscalls/syscall.js';
import type { Caller } from './caller.js';
import { devicesOf } from './devices.js';
import { networks } from './docker-flags.js';
import { environment } from './environment.js';
import { refused, usage } from './failures.js';
import type { IsolateFlags } from './flags.js';
import { type Limits, parseLimits, parseSize, parseUlimit, type ResourceLimit } from './limits.js';
import { type Names, namesOf } from './names.js';
import { securityOf } from './security-opt.js';
import { parseSysctl, type Sysctl } from './sysctl.js';
import { mountOf, tmpfsOf, type Volume, volumeOf } from './volumes.js';

/** `host`: none. `self`: the caller is root, the only user. `range`: there are also the subordinate ids, from 1 on. */
export type UserNamespace = 'host' | 'self' | 'range';

export interface Settings {
  /** Real path of the root filesystem. */
  root: string;
  /** What the programs in it are built for, if that is known. */
  platform: Platform | undefined;
  /** A word that is not UTF-8 comes as bytes. */
  argv: Path[];
  /** `NAME=value`. HOME is added once the user is known. */
  env: string[];
  /** In docker's form; empty for root. */
  user: string;
  /** Who says so, for messages. */
  userFrom: string;
  /** Further groups: names of the image, or numbers. */
  groups: string[];
  workingDirectory: string;
  hostname: string;
  /** The caller has chosen it. */
  hasHostname: boolean;
  network: 'host' | 'none';
  names: Names;
  readOnly: boolean;
  noNewPrivileges: boolean;
  /** With `--privileged` ALL is among them. */
  capAdd: string[];
  capDrop: string[];
  umask: number;
  volumes: Volume[];
  /** The VOLUMEs of the image: directories that its programs expect. */
  directories: string[];
  /** RLIMIT_NOFILE as the caller had it, and `--ulimit`. */
  limits: ResourceLimit[];
  /** Of the cgroup; undefined when it needs none. */
  cgroup: Limits | undefined;
  sysctls: Sysctl[];
  /** A size as tmpfs(5) takes it. */
  shmSize: string;
  /** `default`, `unconfined`, or a file. */
  seccomp: string;
  /** Name the system calls that the filter refused, at the end. */
  seccompReport: boolean;
  privileged: boolean;
  /** The AppArmor profile of the command; undefined for that of the caller. */
  apparmor: string | undefined;
  /** Root of the container may make cgroups below its own. */
  writableCgroups: boolean;
  userns: UserNamespace | undefined;
  /** The command gets a terminal of its own. */
  terminal: boolean;
  /** As the command line has them; undefined for the default. */
  detachKeys: string | undefined;
  /** Everything that is written to the root goes to memory and is gone with the container. */
  overlay: boolean;
  /** Absolute path of a directory that keeps it instead. */
  layer: string | undefined;
  /** Process 1 is one of our own: see init.ts. */
  init: boolean;
}

/**
 * Combines image and flags. `document` is that of the tree, if it has one. An empty user, directory or hostname counts
 * as none, as in docker: `-u "$NAME"` with an empty NAME must not turn the image's user into root.
 */
export function settingsOf(
  root: string,
  document: Pick<RootfsDocument, 'config' | 'platform'> | undefined,
  flags: IsolateFlags,
  command: Path[],
  caller: Caller,
): Settings {
  const image = document?.config.config ?? {};
  const hostname = flags.hostname || randomName();
  const network = networkOf(flags);
  const security = securityOf(flags['security-opt']);
  return {
    root,
    platform: document?.platform,
    argv: commandLine(image, flags.entrypoint, command),
    env: environment(image, flags, hostname, caller),
    user: flags.user || image.User || '',
    userFrom: flags.user ? '--user' : 'User of the image',
    groups: flags['group-add'],
    workingDirectory: workingDirectoryOf(flags.workdir, image.WorkingDir),
    hostname: checkHostname(hostname),
    hasHostname: hostname === flags.hostname,
    network,
    names: namesOf(flags, network),
    readOnly: flags['read-only'],
    noNewPrivileges: flags['no-new-privs'] || security.noNewPrivileges,
    capAdd: flags.privileged ? ['ALL', ...flags['cap-add']] : flags['cap-add'],
    capDrop: flags['cap-drop'],
    umask: umaskOf(flags.umask),
    volumes: volumesOf(flags),
    directories: Object.keys(image.Volumes ?? {}),
    overlay: flags.overlay || flags.layer !== undefined,
    layer: layerOf(flags.layer),
    init: flags.init,
    limits: ulimits(flags.ulimit, caller.openFiles),
    cgroup: parseLimits(flags, caller.processors) ?? (security.writableCgroups ? { pids: 'max' } : undefined),
    sysctls: flags.sysctl.map((text) => parseSysctl(text, network)),
    shmSize: String(parseSize(flags['shm-size'] ?? '64m', '--shm-size')),
    seccomp: flags.seccomp ?? security.seccomp ?? (flags.privileged ? 'unconfined' : 'default'),
    seccompReport: flags['seccomp-report'],
    privileged: flags.privileged,
    apparmor: security.apparmor,
    writableCgroups: security.writableCgroups,
    userns: userNamespace(flags.userns),
    // With a pipe on either side there is no terminal: it would change the line endings of the data.
    terminal: flags.tty ?? (!flags.interactive && caller.terminal),
    detachKeys: flags['detach-keys'],
  };
}

/**
 * docker's rule: a new entrypoint also replaces the image's default arguments; an empty one clears it. So does
 * `ENTRYPOINT [""]` in an image, which takes away that of the image below.
 */
function commandLine(image: RunConfig, entrypoint: string | undefined, command: Path[]): Path[] {
  // podman's other form. No program has such a name, and "not found" would not say what is wrong.
  if (/^\[\s*"/.test(entrypoint ?? ''))
    throw usage(
      '--entrypoint',
      `${entrypoint} is a list`,
      'name the program alone, and its arguments after the image or directory',
    );
  const first = entrypoint === undefined ? (image.Entrypoint ?? []) : [entrypoint];
  const rest = command.length > 0 || entrypoint !== undefined ? command : (image.Cmd ?? []);
  const argv = first.length === 1 && first[0] === '' ? rest : [...first, ...rest];
  if (argv.length > 0) return argv;
  throw refused(
    'command',
    'none is given, and the image has no default',
    'name one after the image or directory, for example /bin/sh',
  );
}

/** PATH_MAX, with the NUL. */
const pathMax = 4096;

/** The length has a limit here, since each directory above may have to be made, which takes steps of the plan. */
function workingDirectoryOf(flag: string | undefined, ofImage: string | undefined): string {
  const given = flag || ofImage || '/';
  const what = flag ? '--workdir' : 'WorkingDir of the image';
  if (!given.startsWith('/')) throw usage(what, `${JSON.stringify(given)} is not absolute`);
  const path = posix.normalize(given);
  const bytes = Buffer.byteLength(path);
  if (bytes >= pathMax) throw refused(what, `it has ${bytes} bytes, and no path has ${pathMax} or more`);
  return path;
}

function volumesOf(flags: IsolateFlags): Volume[] {
  return [
    ...flags.volume.map(volumeOf),
    ...flags.mount.map(mountOf),
    ...flags.tmpfs.map(tmpfsOf),
    ...flags.device.flatMap(devicesOf),
  ];
}

function networkOf({ net, network }: IsolateFlags): 'host' | 'none' {
  if (net !== undefined && network !== undefined && net !== network) {
    throw usage('--network', `it says ${network}, and --net says ${net}`);
  }
  const value = network ?? net ?? 'host';
  if (value === 'host' || value === 'none') return value;
  throw usage(
    network === undefined ? '--net' : '--network',
    `${JSON.stringify(value)} is neither host nor none`,
    networks,
  );
}

function layerOf(path: string | undefined): string | undefined {
  if (path === '') throw usage('--layer', 'the path is empty');
  return path === undefined ? undefined : resolve(path);
}

/** hostname(7): up to 64 bytes on Linux. */
function checkHostname(name: string): string {
  if (/^[A-Za-z0-9_.-]{1,64}$/.test(name)) return name;
  throw usage('--hostname', `${JSON.stringify(name)} is not a hostname of up to 64 letters, digits, "-", "." and "_"`);
}

/** Twelve hexadecimal digits, as a docker container has for a name. Nothing depends on it being hard to guess. */
function randomName(): string {
  return Array.from({ length: 12 }, () => Math.floor(Math.random() * 16).toString(16)).join('');
}

function umaskOf(text: string | undefined): number {
  if (text === undefined) return 0o022;
  if (/^0?[0-7]{1,3}$/.test(text)) return Number.parseInt(text, 8);
  throw usage('--umask', `${JSON.stringify(text)} is not an octal number up to 0777`);
}

/** The last one counts of several for the same resource. There is always one for the number of open files. */
function ulimits(texts: string[], openFiles: ResourceLimit): ResourceLimit[] {
  const limits = new Map([openFiles, ...texts.map(parseUlimit)].map((limit) => [limit.resource, limit]));
  return [...limits.values()];
}

function userNamespace(text: string | undefined): UserNamespace | undefined {
  if (text === undefined || text === 'host' || text === 'self' || text === 'range') return text;
  throw usage(
    '--userns',
    `${JSON.stringify(text)} is none of host, self and range`,
    "without root, root inside is the caller, and what it writes to a volume is the caller's",
  );
}
