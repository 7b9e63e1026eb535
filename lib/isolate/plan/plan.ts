/**
 * The plan: every system call between clone(2) and execve(2), in order, each with its reason. It is a pure function of
 * the settings and of what was found out before; nothing is done here.
 */

import type { Result } from '../../sys/native-code/step.js';
import type { IdMap } from '../../sys/procfs/own-id-map.js';
import type { IdMaps } from '../../sys/user-namespace/id-maps.js';
import { appArmorSteps } from '../child/apparmor.js';
import { changeSteps, type ExecSteps, execSteps } from '../child/exec.js';
import { aliveSteps, announceStep, controlSteps, gateSteps } from '../child/gates.js';
import { type Init, initSteps } from '../child/init.js';
import { beginningSteps, cgroupNamespaceStep, cloneFlagsOf, hostnameStep, loopbackSteps } from '../child/namespaces.js';
import {
  calledOffSteps,
  closeSteps,
  deathStep,
  limitSteps,
  noNewPrivilegesStep,
  restoreSteps,
  signalStep,
} from '../child/process.js';
import type { PlanStep } from '../child/step.js';
import { deviceSteps } from '../filesystem/devices.js';
import { etcFileSteps } from '../filesystem/etc-files.js';
import { maskSteps } from '../filesystem/masks.js';
import type { Opened } from '../filesystem/mounts.js';
import { layerSteps, overlaySteps } from '../filesystem/overlay.js';
import { procAndSys } from '../filesystem/proc-and-sys.js';
import {
  enterSteps,
  pivotSteps,
  privateStep,
  readOnlyStep,
  rootSteps,
  workingDirectory,
  workshopSteps,
} from '../filesystem/root.js';
import { sysctlSteps } from '../filesystem/sysctl.js';
import { directorySteps, volumeSteps, volumeTrees } from '../filesystem/volumes.js';
import { filterStep, reportingSteps } from '../seccomp/steps.js';
import type { Settings } from '../settings/settings.js';
import { consoleSteps, controllingStep } from '../stdio/console.js';
import { ownerSteps, pipeSteps } from '../stdio/output-pipes.js';
import { nullSteps, stdioSteps } from '../stdio/stdio.js';
import { boundingSteps, capabilityStep } from '../user/capabilities.js';
import { identitySteps } from '../user/change-user.js';
import type { Identity } from '../user/identity.js';
import type { Circumstances } from './circumstances.js';

export interface Plan {
  /** Flags of the clone that starts the child. */
  cloneFlags: number;
  steps: PlanStep[];
  /** Those around execve(2). */
  exec: ExecSteps;
  /** The step that installs the filter. With a report its result is the descriptor on which the filter asks. */
  filter: PlanStep | undefined;
  /** The first step that the stub makes. */
  resume: PlanStep;
  /** With `--init`. */
  init: Init | undefined;
  /** Its result is the signal that ended everything before there was a command, if one did. */
  calledOff: PlanStep;
}

export function makePlan(settings: Settings, circumstances: Circumstances): Plan {
  const { maps, control, stub, filter, report } = circumstances;
  const change = changeSteps(stub, control.child);
  const exec = execSteps(settings.argv, environment(settings, circumstances.identity));
  const init = settings.init ? initSteps(settings.terminal ? [controllingStep(0)] : []) : undefined;
  const seccomp = filter && filterStep(filter, report !== undefined);
  const calledOff = calledOffSteps();
  const steps = [
    ...birthSteps(settings, circumstances, change),
    ...treeSteps(settings, circumstances),
    ...stdioSteps(circumstances.pipes),
    ...ownerSteps(circumstances.outputs, circumstances.identity.uid),
    ...closeSteps(control),
    // Before the filter, which need not let these pass.
    calledOff.look,
    ...limitSteps(settings.limits),
    ...restoreSteps(circumstances.ignoredSignals, settings.umask),
    ...privilegeSteps(settings, circumstances, seccomp),
    ...(init?.divide ?? []),
    signalStep(),
    ...(circumstances.showing
      ? [announceStep(control), ...gateSteps(control, 'Wait until the lines above have been printed.')]
      : []),
    ...exec.steps,
    ...(init?.loop ?? []),
    calledOff.end,
  ];
  return {
    cloneFlags: cloneFlagsOf(settings.network, maps !== undefined, settings.cgroup !== undefined),
    steps,
    exec,
    filter: seccomp,
    resume: change.at(-1)!,
    init,
    calledOff: calledOff.look,
  };
}

/** A program of its own, ids, cgroup, host name, loopback: everything that has nothing to do with files. */
function birthSteps(
  { hostname, hasHostname, network, cgroup }: Settings,
  { maps, control, outputs, layer }: Circumstances,
  change: PlanStep[],
): PlanStep[] {
  const user = maps !== undefined;
  const moves = cgroup !== undefined;
  const reasons = gateReasons(maps, moves, layer !== undefined);
  const gate = reasons.length > 0 ? gateSteps(control, reasons.join(' ')) : [];
  return [
    ...controlSteps(control),
    // The next program gets no other descriptor of these pipes.
    ...pipeSteps(outputs),
    // A process whose ids are not mapped yet would lose its capabilities by execve(2).
    ...(user ? [...gate, ...change] : [...change, ...gate]),
    ...(moves ? [cgroupNamespaceStep()] : []),
    ...beginningSteps(),
    hostnameStep(hostname, hasHostname),
    ...(network === 'none' ? loopbackSteps() : []),
  ];
}

function gateReasons(maps: IdMaps | undefined, moves: boolean, layered: boolean): string[] {
  const reasons = [];
  if (maps)
    reasons.push(
      'A new user namespace maps no ids: until the supervisor has written the maps this process is nobody. ' +
        `Users: ${showMap(maps.uid)}; groups: ${showMap(maps.gid)}. In threes: first id inside, first id outside, how many` +
        `${maps.helped ? '; newuidmap(1) and newgidmap(1) write them' : ''}.`,
    );
  if (moves) reasons.push('The supervisor moves this process to its cgroup, before it can start others.');
  if (layered) reasons.push('The supervisor notes down who writes to the layer, before anything is written to it.');
  return reasons;
}

function showMap(map: IdMap): string {
  return map.map((line) => line.join(' ')).join(', ');
}

/** From the mounts of the host to a root of the container's own, and to the working directory in it. */
function treeSteps(settings: Settings, circumstances: Circumstances): PlanStep[] {
  const nodev = !settings.privileged;
  const volumes = volumeTrees(circumstances.volumes, nodev);
  const workshop = workshopSteps();
  const root = settings.overlay
    ? overlaid(settings.root, workshop.fd, circumstances, nodev)
    : rootSteps(settings.root, nodev);
  const kernel = kernelSteps(root.fd, settings, circumstances);
  const files = etcFileSteps(workshop.fd, root.fd, settings, circumstances.etcFiles, circumstances.volumes);
  const pivot = [...(settings.readOnly ? [readOnlyStep(root.fd)] : []), ...pivotSteps(root.fd)];
  const directory = workingDirectory(root.fd, settings.workingDirectory, pivot[0]!);
  return [
    privateStep(),
    ...volumes.flatMap(({ tree }) => tree.steps),
    ...workshop.steps,
    ...root.steps,
    ...kernel.steps,
    ...files.before,
    ...directorySteps(root.fd, circumstances.directories),
    ...volumeSteps(root.fd, volumes, kernel.dev),
    ...files.after,
    ...directory.steps,
    ...pivot,
    ...enterSteps(directory.fd, settings.workingDirectory),
  ];
}

function overlaid(directory: string, workshop: Result, circumstances: Circumstances, nodev: boolean): Opened {
  const { inUserns, layer, rootDirectory } = circumstances;
  const options = { ...rootDirectory, inUserns, nodev };
  return layer ? layerSteps(layer, workshop, options) : overlaySteps(directory, workshop, options);
}

/** The file systems of the kernel: /proc, with what is set by it, /sys, /dev with the terminal, and what is hidden. */
function kernelSteps(
  root: Result,
  settings: Settings,
  circumstances: Circumstances,
): { steps: PlanStep[]; dev: Result } {
  const { identity, control, masks, windowSize, nulls } = circumstances;
  const { apparmor, init, terminal, sysctls } = settings;
  const { proc, sys, steps } = procAndSys(root, circumstances, settings);
  const devices = deviceSteps(root, circumstances, settings.shmSize);
  const { dev, pts } = devices;
  const pty = { size: windowSize, uid: identity.uid, controlling: !init };
  return {
    dev,
    steps: [
      ...steps,
      ...sysctlSteps(proc, [...circumstances.usualSysctls, ...sysctls]),
      ...(apparmor === undefined ? [] : appArmorSteps(proc, apparmor)),
      ...devices.steps,
      ...(terminal ? consoleSteps(dev, pts, control, pty) : nullSteps(dev, nulls)),
      ...(masks ? maskSteps({ proc, sys, dev }, masks) : []),
    ],
  };
}

/** Gives up capabilities and, for another user, root. From here on this process dies with the supervisor. */
function privilegeSteps(
  { noNewPrivileges }: Settings,
  circumstances: Circumstances,
  seccomp: PlanStep | undefined,
): PlanStep[] {
  const { lastCapability, kept, identity, report, control } = circumstances;
  const filter = seccomp ? [seccomp, ...(report ? reportingSteps(control) : [])] : [];
  return [
    ...boundingSteps(kept, lastCapability),
    ...(noNewPrivileges ? [] : filter),
    ...identitySteps(circumstances),
    capabilityStep(identity.uid === 0 ? kept : []),
    deathStep(),
    ...aliveSteps(control),
    ...(noNewPrivileges ? [noNewPrivilegesStep(), ...filter] : []),
  ];
}

function environment({ env, terminal }: Settings, { home }: Identity): string[] {
  const has = (name: string) => env.some((line) => line.startsWith(`${name}=`));
  return [...env, ...(terminal && !has('TERM') ? ['TERM=xterm'] : []), ...(has('HOME') ? [] : [`HOME=${home}`])];
}
