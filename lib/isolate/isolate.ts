/** Starts a container and stays with it: the one entrance to this folder. */
import { closeSync } from 'node:fs';
import { trace, tracing } from '../pipe/trace.js';
import { pipe2 } from '../sys/calls.js';
import { O } from '../sys/constants.js';
import { Program } from '../sys/program.js';
import { formatResult } from '../sys/syscall.js';
import { readAccountFiles } from './accounts.js';
import { execFailure, stepFailure } from './explain.js';
import { probeHost } from './host.js';
import { makePlan, type Plan } from './plan.js';
import type { Settings } from './settings.js';
import { supervise } from './supervise.js';
import { identify } from './users.js';

/**
 * Runs a command in a container; returns its exit status, 128 + n for a signal. Throws `Failure`: 126 or 127 when the command
 * cannot be executed or is not there, any other for a container that could not be made.
 */
export async function isolate(settings: Settings): Promise<number> {
  const identity = identify(settings.user, readAccountFiles(settings.root));
  const lifeline = pipe();
  const plan = makePlan(settings, identity, probeHost(settings.root), { lifeline });
  const program = new Program(plan.steps);
  const pid = program.start(plan.namespaces);
  closeSync(lifeline.reader);
  const status = await supervise(pid);
  closeSync(lifeline.writer);
  if (tracing()) traceSteps(program, plan);
  throwIfFailed(program, plan, settings);
  return status;
}

function pipe(): { reader: number; writer: number } {
  const fds = Buffer.alloc(8);
  pipe2(fds, O.CLOEXEC | O.NONBLOCK);
  return { reader: fds.readInt32LE(0), writer: fds.readInt32LE(4) };
}

function traceSteps(program: Program, plan: Plan): void {
  for (const step of plan.steps) {
    const result = program.result(step);
    if (result !== undefined) trace(`[child] ${program.show(step)} = ${formatResult(result)}`);
  }
}

function throwIfFailed(program: Program, plan: Plan, settings: Settings): void {
  const failed = program.failure();
  if (!failed) return;
  if (failed.step !== plan.gaveUp) throw stepFailure(plan, failed);
  throw execFailure(
    settings.argv[0] ?? '',
    plan.attempts.map(({ path, step }) => ({ path, errno: -(program.result(step) ?? 0) })),
  );
}
