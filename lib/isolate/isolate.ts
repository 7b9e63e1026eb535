/** Starts a container and stays with it until it has ended. */
import { closeSync } from 'node:fs';
import { constants } from 'node:os';
import { Failure } from '../base/failure.js';
import { Status } from '../base/status.js';
import { trace, warn } from '../base/trace.js';
import { openat } from '../sys/calls.js';
import { AT, O } from '../sys/constants.js';
import { Control, type ControlFds, controlPair } from '../sys/control.js';
import { receiveDescriptor } from '../sys/descriptor.js';
import { tryLock } from '../sys/lock.js';
import { Program } from '../sys/native-code/program.js';
import { Stub } from '../sys/native-code/stub.js';
import { refusedHint } from '../sys/refusals/confinement.js';
import { refusedCall } from '../sys/refusals/refusals.js';
import { writeMaps } from '../sys/userns.js';
import { exitStatus, waitForEnd } from '../sys/wait.js';
import type { Cgroup } from './cgroup/cgroup.js';
import { nameOf } from './child/exec.js';
import type { Layer } from './filesystem/layer.js';
import { type Findings, findCircumstances } from './plan/circumstances.js';
import { type Circumstances, cloneReason, makePlan, type Plan } from './plan/plan.js';
import type { Report } from './seccomp/report.js';
import type { Settings } from './settings/settings.js';
import { showChild } from './supervisor/child-trace.js';
import { cloneFailure, execFailure, stepFailure } from './supervisor/explain.js';
import { endUnlessHandled, forwardedWithTerminal, Signals } from './supervisor/signals.js';
import type { OutputPipe } from './terminal/sockets.js';

/**
 * Runs a command in a container; returns its exit status, 128 + n for a signal. Throws `Failure`: 126 or 127 when the
 * command cannot be executed or is not there, any other for a container that could not be made.
 */
export async function isolate(settings: Settings): Promise<number> {
  try {
    return await run(settings);
  } catch (error) {
    throw refusedCall(error);
  }
}

async function run(settings: Settings): Promise<number> {
  hold(settings.root);
  const fds = controlPair();
  const stub = new Stub();
  const { layer: path, root } = settings;
  const layer = path === undefined ? undefined : (await import('./filesystem/layer.js')).holdLayer(path, root);
  const { circumstances, report, detachKeys } = await prepare(settings, fds, stub, layer);
  const plan = makePlan(settings, circumstances);
  const program = new Program(plan.steps, stub.memory);
  stub.write(program, plan.resume);
  // Before there is anything that must not stay behind.
  const signals = new Signals(settings.terminal ? forwardedWithTerminal : undefined);
  let cgroup: Cgroup | undefined;
  try {
    if (settings.cgroup) cgroup = (await import('./cgroup/cgroup.js')).createCgroup(settings.cgroup);
    const pid = start(program, plan);
    signals.to(pid);
    layer?.leaveMark(pid);
    closeSync(fds.child);
    for (const { write } of circumstances.outputs) closeSync(write);
    stub.close();
    const status = await attend(pid, {
      program,
      plan,
      settings,
      circumstances,
      report,
      detachKeys,
      cgroup,
      signals,
      control: new Control(fds.supervisor),
    });
    if (report) showRefused(report.end());
    throwIfFailed(program, plan, settings, circumstances);
    throwIfKilled(program, plan, status);
    const signal = program.result(plan.calledOff) ?? 0;
    if (signal > 0) return 128 + signal;
    return plan.init && status === 0 ? exitStatus(program.memory(plan.init.status).readInt32LE()) : status;
  } finally {
    signals.end();
    cgroup?.remove();
  }
}

/** Finds out what the container depends on and begins the layer: the last that settings may be refused for. */
async function prepare(settings: Settings, fds: ControlFds, stub: Stub, layer: Layer | undefined): Promise<Findings> {
  try {
    const findings = await findCircumstances(settings, fds, stub, layer);
    layer?.begin(findings.circumstances.maps !== undefined);
    return findings;
  } catch (error) {
    layer?.giveUp();
    throw error;
  }
}

/**
 * Locks the tree as long as this process lives, so that md-prune and md-unpack see that it is in use. Where the tree
 * may not be opened, or its filesystem has no locks, there is none.
 */
function hold(root: string): void {
  const fd = openat.try(AT.FDCWD, root, O.RDONLY | O.DIRECTORY | O.CLOEXEC, 0);
  if (fd < 0 || tryLock(fd, 'shared')) return;
  throw new Failure(Status.isolate, root, 'another process is removing it');
}

/** The plan for `--dry-run`: no container is made. */
export async function planOf(settings: Settings): Promise<Plan> {
  const { layer: path, root } = settings;
  const layer = path === undefined ? undefined : (await import('./filesystem/layer.js')).layerAt(path, root);
  const { circumstances } = await findCircumstances(settings, { supervisor: 3, child: 4 }, new Stub(), layer);
  return makePlan(settings, circumstances);
}

function showRefused(refused: Map<string, number>): void {
  const names = [...refused].map(([name, times]) => (times === 1 ? name : `${name} (${times} times)`));
  warn(`seccomp refused: ${names.join(', ') || 'nothing'}`);
}

function start(program: Program, plan: Plan): number {
  trace(`# ${cloneReason}`);
  try {
    return program.start(plan.cloneFlags);
  } catch (error) {
    throw cloneFailure(error, plan.cloneFlags);
  }
}

interface Running {
  program: Program;
  plan: Plan;
  settings: Settings;
  circumstances: Circumstances;
  report: Report | undefined;
  detachKeys: Buffer | undefined;
  cgroup: Cgroup | undefined;
  signals: Signals;
  control: Control;
}

/**
 * Does what the supervisor does for the child, in the order in which the child needs it. Returns the child's status.
 */
async function attend(
  pid: number,
  { program, plan, settings, circumstances, report, detachKeys, cgroup, signals, control }: Running,
): Promise<number> {
  try {
    if (circumstances.maps) writeMaps(pid, circumstances.maps, '--userns self does without it');
    cgroup?.add(pid);
    if (circumstances.maps || cgroup) control.open();
  } catch (error) {
    // The child waits at the gate. When this line is closed it ends.
    control.close();
    await waitForEnd(pid);
    throw error;
  }
  const master = settings.terminal ? receiveDescriptor(control.fd) : undefined;
  if (report && plan.filter && control.arrived()) {
    report.listen(pid, program.result(plan.filter)!);
    control.open();
  }
  if (circumstances.showing) showChild(program, plan, control, report);
  if (master !== undefined) return attendTerminal(pid, master, detachKeys!, signals);
  if (circumstances.outputs.length > 0) return attendOutputs(pid, circumstances.outputs, signals);
  return waitForEnd(pid);
}

async function attendTerminal(pid: number, master: number, detachKeys: Buffer, signals: Signals): Promise<number> {
  const { attachTerminal } = await import('./terminal/terminal.js');
  const terminal = attachTerminal(master, detachKeys);
  const hungUp = () => endUnlessHandled(pid);
  process.on('SIGHUP', hungUp);
  try {
    const status = await waitForEnd(pid);
    // From here on the child's pid may be another process's, so no signals are passed on: they end this process.
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

async function attendOutputs(pid: number, outputs: readonly OutputPipe[], signals: Signals): Promise<number> {
  const { copyOutputs } = await import('./terminal/output.js');
  // As with a terminal, signals end this process from then on, also while it waits for a slow reader.
  const ended = waitForEnd(pid).finally(() => signals.end());
  await copyOutputs(outputs, ended);
  return ended;
}

function throwIfFailed(program: Program, plan: Plan, settings: Settings, { maps }: Circumstances): void {
  const failed = program.failure();
  if (!failed) return;
  if (failed.step !== plan.gaveUp) throw stepFailure(plan, failed, maps !== undefined);
  const attempts = plan.attempts.map(({ path, step }) => ({ path, errno: -(program.result(step) ?? 0) }));
  throw execFailure(nameOf(settings.argv), attempts);
}

/**
 * A filter may kill whoever makes a call, as SystemCallFilter does in a unit of systemd. execve(2) leaves no result.
 */
function throwIfKilled(program: Program, plan: Plan, status: number): void {
  if (status !== 128 + constants.signals.SIGSYS) return;
  const step = program.unfinished();
  if (!step || plan.attempts.some((attempt) => attempt.step === step)) return;
  throw new Failure(Status.isolate, program.show(step), 'a seccomp filter kills whoever calls it (SIGSYS)', {
    hint: refusedHint([]),
  });
}
