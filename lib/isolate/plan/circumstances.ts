/** What a container depends on besides its settings, found out before the plan is made. */
import { statSync } from 'node:fs';
import { failingAs } from '../../base/failure.js';
import { tracing, warn } from '../../base/trace.js';
import type { Stub, StubSteps } from '../../sys/native-code/stub.js';
import type { ControlFds } from '../../sys/process/control.js';
import { isAtLeast, kernelRelease, kernelVersion } from '../../sys/procfs/kernel-release.js';
import { inUserNamespace } from '../../sys/procfs/own-id-map.js';
import { firstStatus, statusBits } from '../../sys/procfs/status.js';
import type { Capability } from '../../sys/syscalls/constants.js';
import {
  callerIds,
  type IdMaps,
  isMapped,
  ownerInside,
  ownsNetwork,
  sameMaps,
} from '../../sys/user-namespace/id-maps.js';
import { neededCapabilities, networkCapabilities } from '../child/needed-capabilities.js';
import { bindsDevices, checkDevices, closesDevices, type DeviceOptions } from '../filesystem/devices.js';
import { type EtcFiles, findEtcFiles } from '../filesystem/etc-files.js';
import type { Layer } from '../filesystem/layer.js';
import { findMasks, type Masks } from '../filesystem/masks.js';
import { cgroupHierarchies, checkSys, checkWritable, type SystemOptions } from '../filesystem/proc-and-sys.js';
import { networkSysctls } from '../filesystem/sysctl.js';
import type { View } from '../filesystem/view.js';
import { missing, placed } from '../filesystem/volumes.js';
import { type ChosenFilter, chooseFilter } from '../seccomp/choose.js';
import { deviceNodes } from '../settings/devices.js';
import { refused } from '../settings/failures.js';
import { whatRootIs } from '../settings/root.js';
import type { Settings } from '../settings/settings.js';
import type { Sysctl } from '../settings/sysctl.js';
import type { Volume } from '../settings/volumes.js';
import { type OutputPipe, outputPipes } from '../stdio/output-pipes.js';
import { nullDevices, refuseDirectories, type Stdio, type StdioPipe, statStdio, stdioPipes } from '../stdio/stdio.js';
import { readAccountFiles } from '../user/accounts.js';
import { chooseCapabilities, lastCapability, missingCapabilities } from '../user/capabilities.js';
import { hasNames, type Identity, identify } from '../user/identity.js';
import { chooseMaps, maySetGroups, ttyGroup } from '../user/userns.js';
import { expectCommand } from './expect-command.js';

/** What has been found out, decided and opened for a container. */
export interface Circumstances extends Tree, Privileges, Streams {
  /** The line between supervisor and child. */
  control: ControlFds;
  /** The program that the child becomes first. */
  stub: StubSteps;
  /** The child stops before execve(2) until all before it has been shown. */
  showing: boolean;
  /** Signals that this process ignores, perhaps because its caller does. The command would inherit that. */
  ignoredSignals: readonly number[];
  /** Undefined for one in memory, or no overlay. */
  layer: Layer | undefined;
  /** Of its own user namespace; undefined where it gets none. */
  maps: IdMaps | undefined;
  /** It is in a user namespace, be it its own or one around this process: its root has less power. */
  inUserns: boolean;
}

interface Tree extends SystemOptions, DeviceOptions {
  /** The root, as it is outside. */
  view: View;
  /** Mode and owner, as seen inside, of the root directory itself. */
  rootDirectory: { mode: number; uid: number; gid: number };
  etcFiles: EtcFiles;
  /** The volumes, with the links of the image resolved. */
  volumes: readonly Volume[];
  /** The VOLUMEs that the image lacks, likewise. */
  directories: readonly string[];
  /** Settings of the kernel that docker makes. Those of the caller come after them. */
  usualSysctls: readonly Sysctl[];
  /** What is hidden of /proc and /sys; undefined with `--privileged`. */
  masks: Masks | undefined;
}

/** Who the command is, and what it may do. */
interface Privileges extends ChosenFilter {
  /** Its process may give up the caller's groups and have others. */
  setsGroups: boolean;
  identity: Identity;
  /** The last capability that the kernel knows. */
  lastCapability: number;
  /** The numbers of the capabilities that remain in the bounding set. */
  kept: readonly number[];
}

/** Its terminal, and descriptors 0, 1 and 2. */
interface Streams {
  /** `struct winsize` of the terminal outside. */
  windowSize: Buffer | undefined;
  /** The bytes that detach. Undefined when there is no terminal and the command line names none. */
  detachKeys: Buffer | undefined;
  /** Pipes that the user has to be able to open by name. */
  pipes: readonly StdioPipe[];
  /** Pipes in the place of what cannot be opened by name on descriptors 1 and 2. */
  outputs: readonly OutputPipe[];
  /** Those that are the host's null device. */
  nulls: readonly number[];
}

/**
 * Finds out what a container depends on: the host, the image's users and places, the filter. Nothing on the host is
 * changed. Throws `Failure` for settings that cannot be had here. `control` is the line to the child, `stub` what the
 * child becomes first.
 */
export async function findCircumstances(
  settings: Settings,
  control: ControlFds,
  stub: Stub,
  layer: Layer | undefined,
): Promise<Circumstances> {
  const stdio = statStdio();
  refuseDirectories(stdio);
  const status = firstStatus();
  const capabilities = statusBits(status, 'CapPrm');
  const maps = chooseMaps(settings.userns, callerIds(), capabilities, capabilitiesFor(settings));
  const ids = maps ?? (inUserNamespace() ? sameMaps() : undefined);
  const inUserns = ids !== undefined;
  const basis = { view: layer?.view ?? { lower: settings.root }, capabilities, maps, ids };
  const tree = findTree(settings, basis);
  expectCommand(settings);
  if (inUserns && settings.overlay && layer === undefined) warnOfMemory();
  const privileges = await findPrivileges(settings, basis, tree.volumes);
  return {
    control,
    stub: stub.steps,
    showing: tracing(),
    ignoredSignals: statusBits(status, 'SigIgn').map((bit) => bit + 1),
    layer,
    maps,
    inUserns,
    ...tree,
    ...privileges,
    ...(await findStreams(settings, privileges.identity, maps, stdio)),
  };
}

/** What is found out first: all the rest is found out from it. */
interface Basis {
  /** The root of the container. */
  view: View;
  /** The numbers of those that this process has. */
  capabilities: readonly number[];
  /** Of the container's own user namespace. */
  maps: IdMaps | undefined;
  /** Of the user namespace that the container is in, be it the one around this process. */
  ids: IdMaps | undefined;
}

function capabilitiesFor({ network }: Settings): readonly Capability[] {
  return network === 'none' ? [...neededCapabilities, ...networkCapabilities] : neededCapabilities;
}

function findTree(settings: Settings, { view, capabilities, maps, ids }: Basis): Tree {
  const { network, privileged, writableCgroups } = settings;
  const hierarchies = cgroupHierarchies();
  if (writableCgroups) checkWritable(hierarchies);
  const inUserns = ids !== undefined;
  const rootDirectory = ownerInside(directoryAt(view.lower), ids);
  const bindDevices = bindsDevices(inUserns, capabilities);
  if (bindDevices) checkDevices();
  const bindSys = network === 'host' && inUserns && (maps !== undefined || !ownsNetwork());
  if (bindSys) checkSys();
  return {
    rootDirectory,
    view,
    etcFiles: findEtcFiles(view),
    volumes: placed(view, settings.volumes, ids),
    directories: missing(view, settings.directories),
    bindSys,
    hierarchies,
    usualSysctls: network === 'none' ? networkSysctls(inUserns) : [],
    masks: privileged ? undefined : findMasks(bindSys),
    bindDevices,
    // In a user namespace none of them could be made.
    hostDevices: privileged && !inUserns ? failingAs('/dev', () => deviceNodes('/dev')) : [],
    nodevOnDev: closesDevices(inUserns, privileged),
    ttyGroup: ttyGroup(maps),
  };
}

async function findPrivileges(
  settings: Settings,
  { view, capabilities, maps }: Basis,
  volumes: readonly Volume[],
): Promise<Privileges> {
  const last = lastCapability();
  // Whoever makes a user namespace has all of them in it.
  const kept = keptCapabilities(settings, maps ? Array.from({ length: last + 1 }, (_, i) => i) : capabilities);
  const setsGroups = maySetGroups(maps);
  const groups = groupsFor(settings, setsGroups);
  const accounts = readAccountFiles(view, volumes, hasNames(settings.user, groups));
  const identity = identify(settings.user, accounts, groups, settings.userFrom);
  if (maps) warnOfNamesake(settings, identity, maps);
  return { setsGroups, identity, lastCapability: last, kept, ...(await chooseFilter(settings, kept)) };
}

async function findStreams(
  { terminal, detachKeys }: Settings,
  identity: Identity,
  maps: IdMaps | undefined,
  stdio: Stdio,
): Promise<Streams> {
  return {
    windowSize: terminal ? (await import('../stdio/outer-terminal.js')).windowSize() : undefined,
    detachKeys:
      terminal || detachKeys !== undefined
        ? (await import('../stdio/detach-keys.js')).parseDetachKeys(detachKeys)
        : undefined,
    pipes: identity.uid === 0 || terminal ? [] : stdioPipes(stdio),
    outputs: terminal ? [] : outputPipes(stdio, identity, maps),
    nulls: nullDevices(stdio),
  };
}

/** Mode and owner of a directory. Throws `Failure` for anything else. */
function directoryAt(root: string): Tree['rootDirectory'] {
  const stats = failingAs(root, () => statSync(root), { hint: whatRootIs });
  if (!stats.isDirectory()) throw refused(root, 'it is not a directory', whatRootIs);
  return { mode: stats.mode & 0o7777, uid: stats.uid, gid: stats.gid };
}

/** Chooses of those that are `available`, and tells of those that are missed. */
function keptCapabilities({ capAdd, capDrop }: Settings, available: readonly number[]): number[] {
  const kept = chooseCapabilities(capAdd, capDrop, available);
  const missing = missingCapabilities(capAdd, capDrop, available);
  if (missing.length > 0)
    warn(`the container goes without ${missing.join(', ')}, which this process does not have itself`);
  return kept;
}

/**
 * Before Linux 6.6 tmpfs has no user.* attributes, in which the overlay of an ordinary user notes that a directory is
 * new.
 */
function warnOfMemory(): void {
  const kernel = kernelRelease();
  if (isAtLeast(kernel, '6.6')) return;
  const why = `on Linux ${kernelVersion(kernel)?.join('.')} a directory of the image that is removed cannot be made again (EIO)`;
  warn(`${why}; with --layer LAYER it can, which keeps what is written on disk`);
}

/** `-u $(id -u)` is the caller to docker. Here that is another user, to whom the caller's own files are closed. */
function warnOfNamesake({ volumes }: Settings, { uid }: Identity, maps: IdMaps): void {
  if (uid === 0 || uid !== maps.uid[0]![1] || !isMapped(maps.uid, uid)) return;
  if (!volumes.some(({ type }) => type !== 'tmpfs')) return;
  warn(`user ${uid} is not the caller in this container, -u 0 is: it may not write to the caller's volumes`);
}

function groupsFor({ groups }: Settings, setsGroups: boolean): string[] {
  if (groups.length === 0 || setsGroups) return groups;
  const why = "a user namespace with one id keeps the caller's groups and takes no others";
  throw refused('--group-add', why, 'with --userns range it has those of /etc/subgid');
}
