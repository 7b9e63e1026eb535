/**
 * The plan: every system call between clone(2) and execve(2), in order, each with its reason. A pure function of what is
 * asked for and what the host offers; nothing is done here.
 */
import { setgroups, setresgid, setresuid } from '../sys/calls.js';
import { boundingSteps, capabilityStep, chooseCapabilities } from './capabilities.js';
import { deviceSteps } from './devices.js';
import { deathSteps, type ExecSteps, execSteps, restoreSteps } from './exec.js';
import { fileSteps } from './files.js';
import type { Host } from './host.js';
import { maskSteps } from './masks.js';
import { beginningSteps, hostnameStep, loopbackSteps, namespacesOf, noNewPrivilegesStep } from './namespaces.js';
import {
  enterSteps,
  overlaySteps,
  pivotSteps,
  privateStep,
  readOnlyStep,
  rootSteps,
  workingDirectory,
  workshopSteps,
} from './root.js';
import type { Settings } from './settings.js';
import { type PlanStep, step } from './step.js';
import { procAndSys } from './system.js';
import type { Identity } from './users.js';
import { volumeSteps } from './volumes.js';

/** Descriptors that the supervisor has opened for the child. */
export interface Descriptors {
  /** A pipe that ends with the supervisor: what the child reads, what it has to close. */
  lifeline: { reader: number; writer: number };
}

export interface Plan {
  /** CLONE_NEW* of the clone that starts the child. */
  namespaces: number;
  steps: PlanStep[];
  attempts: ExecSteps['attempts'];
  gaveUp: PlanStep;
}

export function makePlan(settings: Settings, identity: Identity, host: Host, descriptors: Descriptors): Plan {
  const { network } = settings;
  const kept = chooseCapabilities(settings.capAdd, settings.capDrop, host.lastCapability);
  const workshop = workshopSteps();
  const root = settings.overlay
    ? overlaySteps(settings.root, workshop.fd, host.rootDirectory)
    : rootSteps(settings.root, true);
  const directory = workingDirectory(root.fd, settings.workingDirectory);
  const system = procAndSys(root.fd, host);
  const devices = deviceSteps(root.fd, { bind: false, ttyGroup: 5, shmSize: '65536k' });
  const env = settings.env.some((line) => line.startsWith('HOME='))
    ? settings.env
    : [...settings.env, `HOME=${identity.home}`];
  const exec = execSteps(settings.argv, env);
  const steps = [
    ...beginningSteps(descriptors.lifeline.writer),
    hostnameStep(settings.hostname),
    ...(network === 'none' ? loopbackSteps() : []),
    privateStep(),
    ...workshop.steps,
    ...root.steps,
    ...system.steps,
    ...devices.steps,
    ...maskSteps({ proc: system.proc, sys: system.sys, dev: devices.dev }, host.present),
    ...fileSteps(workshop.fd, root.fd, settings.hostname, host),
    ...volumeSteps(root.fd, settings.volumes),
    ...directory.steps,
    ...(settings.readOnly ? [readOnlyStep(root.fd)] : []),
    ...pivotSteps(root.fd),
    ...enterSteps(directory.fd),
    ...boundingSteps(kept, host.lastCapability),
    ...identitySteps(identity),
    capabilityStep(identity.uid === 0 ? kept : []),
    ...(settings.noNewPrivileges ? [noNewPrivilegesStep()] : []),
    ...deathSteps(descriptors.lifeline.reader),
    ...restoreSteps(host, settings.umask),
    ...exec.steps,
  ];
  return { namespaces: namespacesOf(network), steps, attempts: exec.attempts, gaveUp: exec.gaveUp };
}

function identitySteps({ uid, gid, groups }: Identity): PlanStep[] {
  const list = Buffer.alloc(4 * groups.length);
  groups.forEach((group, i) => {
    list.writeUInt32LE(group, 4 * i);
  });
  return [
    step(setgroups, [groups.length, list], "The caller's groups go; those that the image gives the user come."),
    step(setresgid, [gid, gid, gid], 'Real, effective and saved: none is left to go back to.'),
    step(setresuid, [uid, uid, uid], 'The user last, since it takes along the power to change the rest.'),
  ];
}
