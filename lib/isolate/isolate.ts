/** Starts a container and stays with it: the one entrance to this folder. */
import { closeSync } from 'node:fs';
import { release } from 'node:os';
import { version } from '../pipe/command.js';
import { Failure } from '../pipe/failure.js';
import { Status } from '../pipe/status.js';
import { trace, tracing, warn } from '../pipe/trace.js';
import { flock, openat } from '../sys/calls.js';
import { AT, capabilities, LOCK, O } from '../sys/constants.js';
import { Control, controlPair } from '../sys/control.js';
import { receiveDescriptor } from '../sys/descriptor.js';
import { EAGAIN } from '../sys/errno.js';
import { Image } from '../sys/image.js';
import { Program } from '../sys/program.js';
import { formatResult } from '../sys/syscall.js';
import { type IdMaps, writeMaps } from '../sys/userns.js';
import { exitStatus, waitForEnd } from '../sys/wait.js';
import { readText } from './document.js';
import { nameOf } from './exec.js';
import { cloneFailure, execFailure, stepFailure } from './explain.js';
import { missing, placed } from './filesystem/volumes.js';
import { checkDevices, heatCounters, mountsInSys, probeHost } from './host.js';
import type { Cgroup } from './limits/cgroup.js';
import { type Circumstances, cloneReason, keptCapabilities, makePlan, type Plan } from './plan.js';
import type { Target } from './seccomp/index.js';
import type { Report } from './seccomp/report.js';
import type { Settings } from './settings.js';
import type { PlanStep } from './step.js';
import { endUnlessHandled, forwardedWithTerminal, Signals } from './supervise.js';
import { nullDevices, refuseDirectories, stdioPipes } from './terminal/stdio.js';
import { readAccountFiles } from './user/accounts.js';
import { chooseMaps, hasGroups } from './user/userns.js';
import { identify } from './user/users.js';

/**
 * Runs a command in a container; returns its exit status, 128 + n for a signal. Throws `Failure`: 126 or 127 when the command
 * cannot be executed or is not there, any other for a container that could not be made.
 */
export async function isolate(settings: Settings): Promise<number> {
  hold(settings.root);
  const fds = controlPair();
  const image = new Image();
  const circumstances = await lookAround(settings, fds, image);
  const plan = makePlan(withPlaces(settings, circumstances.maps), circumstances);
  const program = new Program(plan.steps, image.memory);
  image.write(program, plan.resume);
  // Before there is anything that must not stay behind.
  const signals = new Signals(settings.terminal ? forwardedWithTerminal : undefined);
  let cgroup: Cgroup | undefined;
  try {
    cgroup = await makeCgroup(settings);
    const pid = start(program, plan, circumstances.maps);
    signals.to(pid);
    closeSync(fds.child);
    image.close();
    const status = await attend(pid, {
      program,
      plan,
      settings,
      circumstances,
      cgroup,
      signals,
      control: new Control(fds.supervisor),
    });
    if (circumstances.report) showRefused(circumstances.report.end());
    throwIfFailed(program, plan, settings, circumstances);
    const signal = program.result(plan.calledOff) ?? 0;
    if (signal > 0) return 128 + signal;
    return plan.init && status === 0 ? exitStatus(program.memory(plan.init.status).readInt32LE()) : status;
  } finally {
    signals.end();
    cgroup?.remove();
  }
}

/**
 * A lock on the tree for as long as this process lives, by which md-prune and md-unpack see that it is in use. A tree that
 * may not be opened, or has no locks, does without.
 */
function hold(root: string): void {
  const fd = openat.try(AT.FDCWD, root, O.RDONLY | O.DIRECTORY | O.CLOEXEC, 0);
  if (fd < 0 || flock.try(fd, LOCK.SH | LOCK.NB) !== -EAGAIN) return;
  throw new Failure(Status.isolate, root, 'another process is removing it');
}

/** The plan of a container that is not made. */
export async function planOf(settings: Settings): Promise<Plan> {
  const circumstances = await lookAround(settings, { supervisor: 3, child: 4 }, new Image());
  return makePlan(withPlaces(settings, circumstances.maps), circumstances);
}

function withPlaces(settings: Settings, maps: IdMaps | undefined): Settings {
  const { root, volumes, directories } = settings;
  return { ...settings, volumes: placed(root, volumes, maps), directories: missing(root, directories) };
}

interface Surroundings extends Circumstances {
  report: Report | undefined;
  /** With a terminal, or when the command line names some. */
  detachKeys: Buffer | undefined;
}

async function lookAround(settings: Settings, control: Circumstances['control'], image: Image): Promise<Surroundings> {
  refuseDirectories();
  const host = probeHost(settings.root, { devices: settings.privileged });
  const maps = chooseMaps(settings.userns, host);
  if (maps) checkDevices();
  const kept = keptCapabilities(settings, host, maps);
  const report = settings.seccompReport ? await reportOf(settings, kept) : undefined;
  const identity = identify(settings.user, readAccountFiles(settings.root), groupsFor(settings, maps));
  return {
    host,
    identity,
    maps,
    hidden: [...heatCounters(), ...(maps && settings.network === 'host' ? mountsInSys() : [])],
    filter: report ? report.filter : await seccompOf(settings, kept),
    report,
    reporting: report !== undefined,
    control,
    image: image.steps,
    cgroup: Object.keys(settings.cgroup).length > 0,
    showing: tracing(),
    windowSize: settings.terminal ? (await import('./terminal/terminal.js')).windowSize() : undefined,
    detachKeys: await detachKeysOf(settings),
    stdio: identity.uid === 0 || settings.terminal ? [] : stdioPipes(),
    nulls: nullDevices(),
  };
}

function groupsFor({ groups }: Settings, maps: IdMaps | undefined): string[] {
  if (groups.length === 0 || hasGroups(maps)) return groups;
  const why = "a user namespace with one id keeps the caller's groups and takes no others";
  throw new Failure(Status.isolate, '--group-add', why, { hint: 'with --userns range it has those of /etc/subgid' });
}

async function detachKeysOf({ terminal, detachKeys }: Settings): Promise<Buffer | undefined> {
  if (!terminal && detachKeys === undefined) return undefined;
  return (await import('./terminal/keys.js')).parseDetachKeys(detachKeys);
}

async function seccompOf(settings: Settings, kept: readonly number[]): Promise<Buffer | undefined> {
  const profile = profileOf(settings);
  if (profile === 'unconfined') return undefined;
  const target = targetOf(kept);
  const compile = async () => (await import('./seccomp/index.js')).seccompFilter(sourceOf(profile), target);
  if (profile !== 'default') return compile();
  const { builtAt, cachedFilter } = await import('./seccomp/cache.js');
  return cachedFilter({ ...target, version, built: builtAt(), capabilities: kept }, compile);
}

/** `default`, `unconfined`, or the name of a file. */
function profileOf({ privileged, seccomp }: Settings): string {
  return seccomp ?? (privileged ? 'unconfined' : 'default');
}

function sourceOf(profile: string): 'default' | { name: string; text: string } {
  return profile === 'default' ? profile : { name: profile, text: readText(profile, '--seccomp') };
}

function targetOf(kept: readonly number[]): Target {
  return {
    capabilities: kept.map((number) => capabilities[number] ?? ''),
    arch: process.arch === 'arm64' ? 'arm64' : 'x64',
    kernel: release(),
  };
}

async function reportOf(settings: Settings, kept: readonly number[]): Promise<Report | undefined> {
  const profile = profileOf(settings);
  if (profile === 'unconfined') return undefined;
  const { seccompReport } = await import('./seccomp/report.js');
  return seccompReport(sourceOf(profile), targetOf(kept));
}

function showRefused(refused: Map<string, number>): void {
  const names = [...refused].map(([name, times]) => (times === 1 ? name : `${name} (${times} times)`));
  warn(`seccomp refused: ${names.join(', ') || 'nothing'}`);
}

async function makeCgroup(settings: Settings): Promise<Cgroup | undefined> {
  if (Object.keys(settings.cgroup).length === 0) return undefined;
  return (await import('./limits/cgroup.js')).createCgroup(settings.cgroup);
}

function start(program: Program, plan: Plan, maps: IdMaps | undefined): number {
  trace(`# ${cloneReason}`);
  try {
    return program.start(plan.cloneFlags);
  } catch (error) {
    throw cloneFailure(error, maps !== undefined);
  }
}

interface Running {
  program: Program;
  plan: Plan;
  settings: Settings;
  circumstances: Surroundings;
  cgroup: Cgroup | undefined;
  signals: Signals;
  control: Control;
}

/** Everything that the supervisor does for the child, in the order in which the child meets it. */
async function attend(
  pid: number,
  { program, plan, settings, circumstances, cgroup, signals, control }: Running,
): Promise<number> {
  try {
    if (circumstances.maps) writeMaps(pid, circumstances.maps, '--userns self does without it');
    cgroup?.add(pid);
    if (circumstances.maps || cgroup) control.open();
  } catch (error) {
    // The child waits at the gate; without us it ends there.
    control.close();
    await waitForEnd(pid);
    throw error;
  }
  const master = settings.terminal ? receiveDescriptor(control.fd) : undefined;
  const { report } = circumstances;
  if (report && plan.filter && control.arrived()) {
    report.listen(pid, program.result(plan.filter)!);
    control.open();
  }
  if (circumstances.showing) showChild(program, plan, control, report);
  if (master === undefined) return waitForEnd(pid);
  const { attachTerminal } = await import('./terminal/terminal.js');
  const terminal = attachTerminal(master, { detachKeys: circumstances.detachKeys! });
  const hungUp = () => endUnlessHandled(pid);
  if (!plan.init) process.on('SIGHUP', hungUp);
  try {
    const status = await waitForEnd(pid);
    // Its number is free for others from here on, and a signal ends this process, whose reader may keep it waiting.
    signals.end();
    process.off('SIGHUP', hungUp);
    terminal.finish();
    await terminal.ended;
    return status;
  } finally {
    terminal.restore();
    process.off('SIGHUP', hungUp);
  }
}

/** The lines of the child come before those of the command: it waits until they are printed. */
function showChild(program: Program, plan: Plan, control: Control, report: Report | undefined): void {
  const later = new Set<Plan['steps'][number]>([...plan.attempts.map(({ step }) => step), ...(plan.init?.loop ?? [])]);
  report?.answerUntil(control.fd);
  const reached = control.arrived();
  const show = stepShower(program);
  plan.steps.forEach((step, i) => {
    if (!later.has(step)) show(step, resultOf(program, plan, i));
  });
  if (!reached) return;
  control.open();
  // The end of the line: execve has closed it, or the child has ended.
  report?.answerUntil(control.fd);
  control.arrived();
  for (const { step } of plan.attempts) {
    const result = program.result(step);
    show(step, result ?? 0);
    if (result === undefined) break;
  }
  for (const step of plan.init?.loop ?? []) show(step, program.result(step));
}

/** Shows a step that has a result, and above it its reason, unless that was given before. */
function stepShower(program: Program): (step: PlanStep, result: number | undefined) => void {
  const reasons = new Set<string>();
  return (step, result) => {
    if (result === undefined) return;
    if (!reasons.has(step.why)) trace(`[child] # ${step.why}`);
    reasons.add(step.why);
    trace(`[child] ${program.show(step)} = ${formatResult(result)}`);
  };
}

/** An execve that succeeds has no result; what comes after it tells that it did. */
function resultOf(program: Program, plan: Plan, i: number): number | undefined {
  const result = program.result(plan.steps[i]!);
  const replaced = plan.steps[i + 1] === plan.resume && program.result(plan.resume) !== undefined;
  return result === undefined && replaced ? 0 : result;
}

function throwIfFailed(program: Program, plan: Plan, settings: Settings, { maps }: Circumstances): void {
  const failed = program.failure();
  if (!failed) return;
  if (failed.step !== plan.gaveUp) throw stepFailure(plan, failed, maps !== undefined);
  const attempts = plan.attempts.map(({ path, step }) => ({ path, errno: -(program.result(step) ?? 0) }));
  throw execFailure(nameOf(settings.argv), attempts);
}
