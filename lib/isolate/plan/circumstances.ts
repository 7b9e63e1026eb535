/** What a container depends on besides its settings, found out before the plan is made. */
import { release } from 'node:os';
import { Failure } from '../../base/failure.js';
import { Status } from '../../base/status.js';
import { tracing, warn } from '../../base/trace.js';
import type { ControlFds } from '../../sys/control.js';
import { isAtLeast, kernelVersion } from '../../sys/kernel-version.js';
import type { Stub } from '../../sys/native-code/stub.js';
import { type IdMaps, inUserNamespace, isMapped } from '../../sys/userns.js';
import { bindsDevices } from '../filesystem/devices.js';
import type { Layer } from '../filesystem/layer.js';
import { networkSysctls } from '../filesystem/sysctl.js';
import { missing, placed } from '../filesystem/volumes.js';
import { chooseFilter } from '../seccomp/choose.js';
import type { Report } from '../seccomp/report.js';
import type { Settings } from '../settings/settings.js';
import { outputPipes } from '../terminal/sockets.js';
import { nullDevices, refuseDirectories, statStdio, stdioPipes } from '../terminal/stdio.js';
import { readAccountFiles } from '../user/accounts.js';
import { chooseCapabilities, missingCapabilities } from '../user/capabilities.js';
import { hasNames, type Identity, identify } from '../user/identity.js';
import { chooseMaps, hasGroups, ttyGroup } from '../user/userns.js';
import { checkDevices, checkSys, type Host, heatCounters, mountsInSys, probeHost } from './host.js';
import type { Circumstances } from './plan.js';

export interface Findings {
  /** What the plan depends on. */
  circumstances: Circumstances;
  /** For the supervisor, with `--seccomp-report`, unless there is no filter. */
  report: Report | undefined;
  /** The bytes that detach. Undefined when there is no terminal and the command line names none. */
  detachKeys: Buffer | undefined;
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
): Promise<Findings> {
  const stdio = statStdio();
  refuseDirectories(stdio);
  const view = layer?.view ?? { lower: settings.root };
  const maps = chooseMaps(settings.userns, { uid: process.geteuid!(), gid: process.getegid!() });
  // In a user namespace none of them could be made.
  const host = probeHost(view, { devices: settings.privileged && maps === undefined });
  const bindDevices = bindsDevices(maps !== undefined, host.capabilities);
  if (bindDevices) checkDevices();
  if (maps && settings.network === 'host') checkSys();
  const kept = keptCapabilities(settings, maps ? allCapabilities(host) : host.capabilities);
  if (maps && settings.overlay && settings.layer === undefined) warnOfMemory(release());
  const groups = groupsFor(settings, maps);
  const accounts = readAccountFiles(view, hasNames(settings.user, groups));
  const identity = identify(settings.user, accounts, groups);
  if (maps) warnOfNamesake(settings, identity, maps);
  const { filter, report } = await chooseFilter(settings, kept);
  const detachKeys = await detachKeysOf(settings);
  const circumstances: Circumstances = {
    host,
    kept,
    identity,
    maps,
    bindDevices,
    ttyGroup: ttyGroup(maps),
    hidden: [...heatCounters(), ...(maps && settings.network === 'host' ? mountsInSys() : [])],
    usualSysctls: settings.network === 'none' ? networkSysctls(maps !== undefined || inUserNamespace()) : [],
    filter,
    reporting: report !== undefined,
    control,
    layer,
    stub: stub.steps,
    showing: tracing(),
    windowSize: settings.terminal ? (await import('../terminal/outer.js')).windowSize() : undefined,
    stdio: identity.uid === 0 || settings.terminal ? [] : stdioPipes(stdio),
    outputs: settings.terminal ? [] : outputPipes(stdio),
    nulls: nullDevices(stdio),
    volumes: placed(view, settings.volumes, maps),
    directories: missing(view, settings.directories),
  };
  return { circumstances, report, detachKeys };
}

/** Whoever makes a user namespace has all of them in it. */
function allCapabilities({ lastCapability }: Host): number[] {
  return Array.from({ length: lastCapability + 1 }, (_, number) => number);
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
function warnOfMemory(kernel: string): void {
  if (isAtLeast(kernel, '6.6')) return;
  const why = `on Linux ${kernelVersion(kernel)?.join('.')} a directory of the image that is removed cannot be made again (EIO)`;
  warn(`${why}; with --layer LAYER it can, which keeps what is written on disk`);
}

/** `-u $(id -u)` is the caller to docker. Here that is another user, to whom the caller's own files are closed. */
function warnOfNamesake({ volumes }: Settings, { uid }: Identity, maps: IdMaps): void {
  if (uid === 0 || uid !== maps.uid[0]![1] || !isMapped(maps.uid, uid)) return;
  if (!volumes.some(({ type }) => type === 'bind')) return;
  warn(`user ${uid} is not the caller in this container, -u 0 is: it may not write to the caller's volumes`);
}

function groupsFor({ groups }: Settings, maps: IdMaps | undefined): string[] {
  if (groups.length === 0 || hasGroups(maps)) return groups;
  const why = "a user namespace with one id keeps the caller's groups and takes no others";
  throw new Failure(Status.isolate, '--group-add', why, { hint: 'with --userns range it has those of /etc/subgid' });
}

async function detachKeysOf({ terminal, detachKeys }: Settings): Promise<Buffer | undefined> {
  if (!terminal && detachKeys === undefined) return undefined;
  return (await import('../terminal/keys.js')).parseDetachKeys(detachKeys);
}
