/**
 * A container from its settings to its end. What else it depends on is found out (plan/circumstances.ts), and the plan
 * is made of both (plan/plan.ts): all the system calls of the container's first process, which becomes the command with
 * the last one. This process stays outside and attends to it (supervisor/).
 */
import { closeSync } from 'node:fs';
import { trace } from '../base/trace.js';
import { Program } from '../sys/native-code/program.js';
import { Stub } from '../sys/native-code/stub.js';
import { Control, controlPair } from '../sys/process/control.js';
import { refusedCall } from '../sys/refusals/refusals.js';
import type { Cgroup } from './cgroup/cgroup.js';
import { cloneReason } from './child/namespaces.js';
import type { Layer } from './filesystem/layer.js';
import { findCircumstances } from './plan/circumstances.js';
import { makePlan, type Plan } from './plan/plan.js';
import type { Settings } from './settings/settings.js';
import { attend } from './supervisor/attend.js';
import { cloneFailure } from './supervisor/explain.js';
import { outcomeOf } from './supervisor/outcome.js';
import { Signals } from './supervisor/signals.js';

/**
 * Runs a command in a container; returns its exit status, 128 + n for a signal. Throws `Failure`: 126 or 127 when the
 * command cannot be executed or is not there, any other for a container that could not be made.
 */
export async function isolate(settings: Settings): Promise<number> {
  let layer: Layer | undefined;
  try {
    if (settings.layer !== undefined) layer = (await layers()).holdLayer(settings.layer, settings.root);
    return await run(settings, layer);
  } catch (error) {
    layer?.giveUp();
    throw refusedCall(error);
  }
}

/** The plan for `--dry-run`: no container is made. */
export async function planOf(settings: Settings): Promise<Plan> {
  try {
    const layer = settings.layer === undefined ? undefined : (await layers()).layerAt(settings.layer, settings.root);
    return makePlan(settings, await findCircumstances(settings, { supervisor: 3, child: 4 }, new Stub(), layer));
  } catch (error) {
    throw refusedCall(error);
  }
}

/** Loaded for `--layer` alone. */
const layers = () => import('./filesystem/layer.js');

async function run(settings: Settings, layer: Layer | undefined): Promise<number> {
  const fds = controlPair();
  const stub = new Stub();
  const circumstances = await findCircumstances(settings, fds, stub, layer);
  const plan = makePlan(settings, circumstances);
  // The last that settings may be refused for.
  layer?.begin(circumstances.inUserns);
  const program = new Program(plan.steps, stub.memory);
  stub.write(program, plan.resume);
  // Before there is anything that must not stay behind.
  const signals = new Signals(settings.terminal);
  let cgroup: Cgroup | undefined;
  try {
    if (settings.cgroup) cgroup = (await import('./cgroup/cgroup.js')).createCgroup(settings.cgroup);
    const pid = start(program, plan);
    signals.to(pid);
    closeSync(fds.child);
    for (const { write } of circumstances.outputs) closeSync(write);
    stub.close();
    const control = new Control(fds.supervisor);
    const running = { pid, settings, circumstances, plan, program, control, signals, cgroup };
    return outcomeOf(running, await attend(running));
  } finally {
    signals.end();
    cgroup?.remove();
  }
}

function start(program: Program, plan: Plan): number {
  trace(
    '# Of a process with threads, as Node is, a copy can safely make system calls only: some machine code makes them.',
  );
  try {
    return program.start(plan.cloneFlags, cloneReason(plan.cloneFlags));
  } catch (error) {
    throw cloneFailure(error, plan.cloneFlags);
  }
}
