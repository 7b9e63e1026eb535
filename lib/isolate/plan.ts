/**
 * The plan: every system call between clone(2) and execve(2), in order, each with its reason. A pure function of what is
 * asked for and what the host offers; nothing is done here.
 */
import { seccomp, setgroups, setresgid, setresuid } from '../sys/calls.js';
import { CLONE, SECCOMP } from '../sys/constants.js';
import type { ControlFds } from '../sys/control.js';
import type { ImageSteps } from '../sys/image.js';
import { Block } from '../sys/program.js';
import type { IdMaps } from '../sys/userns.js';
import { aliveSteps, controlSteps, gateSteps } from './control.js';
import {
  calledOffSteps,
  changeSteps,
  closeSteps,
  deathStep,
  type ExecSteps,
  execSteps,
  limitSteps,
  restoreSteps,
  signalStep,
} from './exec.js';
import { deviceSteps } from './filesystem/devices.js';
import { fileSteps } from './filesystem/etc-files.js';
import { maskSteps } from './filesystem/masks.js';
import {
  enterSteps,
  overlaySteps,
  pivotSteps,
  privateStep,
  readOnlyStep,
  rootSteps,
  workingDirectory,
  workshopSteps,
} from './filesystem/root.js';
import { procAndSys } from './filesystem/system.js';
import { directorySteps, volumeSteps, volumeTrees } from './filesystem/volumes.js';
import type { Host } from './host.js';
import { type Init, initSteps } from './init.js';
import { sysctlSteps } from './limits/sysctl.js';
import {
  beginningSteps,
  cgroupNamespaceStep,
  hostnameStep,
  loopbackSteps,
  namespacesOf,
  noNewPrivilegesStep,
} from './namespaces.js';
import type { Settings } from './settings.js';
import { type PlanStep, step } from './step.js';
import { consoleSteps } from './terminal/console.js';
import { nullSteps, type StdioPipe, stdioSteps } from './terminal/stdio.js';
import { boundingSteps, capabilityStep, chooseCapabilities } from './user/capabilities.js';
import type { Identity } from './user/users.js';

/** What has been found out, decided and opened for this container. */
export interface Circumstances {
  host: Host;
  identity: Identity;
  /** Undefined without a user namespace. */
  maps: IdMaps | undefined;
  /** The array of `struct sock_filter`, or undefined for none. */
  filter: Buffer | undefined;
  /** Directories that are hidden beside those that always are. */
  hidden: readonly string[];
  /** The filter asks the supervisor about what it would refuse. */
  reporting: boolean;
  control: ControlFds;
  /** What the child becomes before it gives up its powers. */
  image: ImageSteps;
  /** The child is moved to a cgroup of its own. */
  cgroup: boolean;
  /** The child stops before execve(2) until all before it has been shown. */
  showing: boolean;
  /** `struct winsize` of the terminal outside. */
  windowSize: Buffer | undefined;
  /** Those that the user is to open by name. */
  stdio: readonly StdioPipe[];
  /** Descriptors 0, 1 and 2 as far as they are the host's null device. */
  nulls: readonly number[];
}

/** Why the clone is made that comes before all steps. */
export const cloneReason =
  'The first process of the container is born into its namespaces; all that follows happens there.';

export interface Plan {
  /** Flags of the clone that starts the child. */
  cloneFlags: number;
  steps: PlanStep[];
  attempts: ExecSteps['attempts'];
  gaveUp: PlanStep;
  /** Returns the descriptor of what the filter asks, when it does. */
  filter: PlanStep | undefined;
  /** Where the image goes on. */
  resume: PlanStep;
  /** With `--init`. */
  init: Init | undefined;
  /** Its result is the signal by which all was called off before there was a command, if one was. */
  calledOff: PlanStep;
}

export function makePlan(settings: Settings, circumstances: Circumstances): Plan {
  const { host, identity, maps, control, cgroup } = circumstances;
  const { network, privileged } = settings;
  const user = maps !== undefined;
  const kept = keptCapabilities(settings, host, maps);
  const volumes = volumeTrees(settings.volumes, !privileged);
  const workshop = workshopSteps();
  const root = settings.overlay
    ? overlaySteps(settings.root, workshop.fd, { ...ownerInside(host.rootDirectory, maps), user, nodev: !privileged })
    : rootSteps(settings.root, !privileged);
  const directory = workingDirectory(root.fd, settings.workingDirectory);
  const system = procAndSys(root.fd, host, { bindSys: user && network === 'host', writable: privileged });
  const devices = deviceSteps(root.fd, {
    bind: user,
    ttyGroup: maps === undefined || maps.gid.length > 1 ? 5 : undefined,
    shmSize: settings.shmSize,
    all: privileged ? host.devices : undefined,
  });
  const exec = execSteps(settings.argv, environment(settings, identity));
  const filterStep = circumstances.filter && stepOfFilter(circumstances.filter, circumstances.reporting);
  const filter = filterStep ? [filterStep, ...(circumstances.reporting ? reportingSteps(control) : [])] : [];
  const init = settings.init ? initSteps(settings) : undefined;
  const early = settings.noNewPrivileges ? [] : filter;
  const late = settings.noNewPrivileges ? [noNewPrivilegesStep(), ...filter] : [];
  const gate = user || cgroup ? gateSteps(control, gateReason(user, cgroup)) : [];
  const calledOff = calledOffSteps();
  const change = changeSteps(circumstances.image, control.child);
  const steps = [
    ...controlSteps(control),
    // Whoever is not mapped yet loses its capabilities when it executes something.
    ...(user ? [...gate, ...change] : [...change, ...gate]),
    ...(cgroup ? [cgroupNamespaceStep()] : []),
    ...beginningSteps(),
    hostnameStep(settings.hostname),
    ...(network === 'none' ? loopbackSteps() : []),
    privateStep(),
    ...volumes.flatMap(({ tree }) => tree.steps),
    ...workshop.steps,
    ...root.steps,
    ...system.steps,
    ...sysctlSteps(system.proc, settings.sysctls),
    ...devices.steps,
    ...(settings.terminal
      ? consoleSteps(devices.dev, devices.pts, control, {
          size: circumstances.windowSize,
          uid: identity.uid,
          controlling: init === undefined,
        })
      : nullSteps(devices.dev, circumstances.nulls)),
    ...(privileged
      ? []
      : maskSteps({ proc: system.proc, sys: system.sys, dev: devices.dev }, host.present, circumstances.hidden)),
    ...fileSteps(workshop.fd, root.fd, settings, host),
    ...directorySteps(root.fd, settings.directories),
    ...volumeSteps(root.fd, volumes),
    ...directory.steps,
    ...(settings.readOnly ? [readOnlyStep(root.fd)] : []),
    ...pivotSteps(root.fd),
    ...enterSteps(directory.fd),
    ...closeSteps(control),
    ...limitSteps(settings.limits),
    ...stdioSteps(circumstances.stdio),
    // Before the filter, which need not let these pass.
    calledOff.look,
    ...boundingSteps(kept, host.lastCapability),
    ...restoreSteps(host, settings.umask),
    ...early,
    ...identitySteps(identity, maps),
    capabilityStep(identity.uid === 0 ? kept : []),
    deathStep(),
    ...aliveSteps(control),
    ...late,
    ...(init?.divide ?? []),
    signalStep(),
    ...(circumstances.showing
      ? gateSteps(control, 'Wait until the lines above have been printed.', { announce: true })
      : []),
    ...exec.steps,
    ...(init?.loop ?? []),
    calledOff.end,
  ];
  const resume = steps.find(
    ({ call, args }) => call === circumstances.image.resume.call && args === circumstances.image.resume.args,
  )!;
  return {
    cloneFlags: namespacesOf(network, user, cgroup) | (user ? 0 : CLONE.VM | CLONE.VFORK),
    steps,
    attempts: exec.attempts,
    gaveUp: exec.gaveUp,
    filter: filterStep,
    resume,
    init,
    calledOff: calledOff.look,
  };
}

/** Mode and owner of the root as they are seen inside. Whoever is not mapped cannot be named there: root, then. */
function ownerInside({ mode, uid, gid }: Host['rootDirectory'], maps: IdMaps | undefined): Host['rootDirectory'] {
  if (!maps) return { mode, uid, gid };
  const map = (id: number, lines: IdMaps['uid']) => {
    const line = lines.find(([, outside, count]) => id >= outside && id < outside + count);
    return line ? id - line[1] + line[0] : 0;
  };
  return { mode, uid: map(uid, maps.uid), gid: map(gid, maps.gid) };
}

/** The numbers of the capabilities that remain in the bounding set. */
export function keptCapabilities(
  { privileged, capAdd, capDrop }: Settings,
  host: Host,
  maps: IdMaps | undefined,
): number[] {
  // Whoever makes a user namespace has all capabilities in it.
  const available = maps ? Array.from({ length: host.lastCapability + 1 }, (_, number) => number) : host.capabilities;
  return chooseCapabilities(privileged ? ['ALL', ...capAdd] : capAdd, capDrop, available);
}

function environment({ env, terminal }: Settings, { home }: Identity): string[] {
  const has = (name: string) => env.some((line) => line.startsWith(`${name}=`));
  return [...env, ...(terminal && !has('TERM') ? ['TERM=xterm'] : []), ...(has('HOME') ? [] : [`HOME=${home}`])];
}

function gateReason(user: boolean, cgroup: boolean): string {
  if (user && cgroup) return 'The supervisor writes the maps of ids, and moves this process to its cgroup.';
  return user
    ? 'A new user namespace maps no ids: until the supervisor has written the maps this process is nobody.'
    : 'The supervisor moves this process to its cgroup, before it can start others.';
}

/** struct sock_fprog: the number of instructions in 16 bits, and at offset 8 where they are. */
function stepOfFilter(filter: Buffer, reporting: boolean): PlanStep {
  const program = Buffer.alloc(16);
  program.writeUInt16LE(filter.length / 8, 0);
  return step(
    seccomp,
    [
      SECCOMP.SET_MODE_FILTER,
      reporting ? SECCOMP.FILTER_FLAG_NEW_LISTENER : 0,
      new Block(program, [{ offset: 8, value: new Block(filter) }]),
    ],
    'System calls that a container has no need of are refused from here on. Without no_new_privs only an administrator may ask for that, so it comes before the ids change.',
  );
}

/** The supervisor takes its own copy of the descriptor; that of the child is gone with execve(2). */
function reportingSteps(control: ControlFds): PlanStep[] {
  return gateSteps(control, 'From here on the supervisor is asked about each refusal, so it must be there first.', {
    announce: true,
  });
}

function identitySteps({ uid, gid, groups }: Identity, maps: IdMaps | undefined): PlanStep[] {
  const list = Buffer.alloc(4 * groups.length);
  groups.forEach((group, i) => {
    list.writeUInt32LE(group, 4 * i);
  });
  const hint = maps
    ? 'the user namespace has no such id: with --userns range it has those of /etc/subuid and /etc/subgid'
    : undefined;
  const options = hint === undefined ? {} : { hint };
  const mapped = maps === undefined || maps.gid.length > 1;
  return [
    ...(mapped
      ? [
          step(
            setgroups,
            [groups.length, list],
            "The caller's groups go; those that the image gives the user come.",
            options,
          ),
        ]
      : []),
    step(setresgid, [gid, gid, gid], 'Real, effective and saved: none is left to go back to.', options),
    step(setresuid, [uid, uid, uid], 'The user last, since it takes along the power to change the rest.', options),
  ];
}
