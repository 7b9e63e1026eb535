/** How a container has ended, once its first process is gone: as a status, or as the failure to report. */
import { resolve } from 'node:path';
import { Failure } from '../../base/failure.js';
import { Status } from '../../base/status.js';
import { warn } from '../../base/trace.js';
import { exitStatus } from '../../sys/process/wait.js';
import { confinedHint } from '../../sys/refusals/confinement.js';
import { SIGSYS } from '../../sys/syscalls/constants.js';
import type { Running } from './attend.js';
import { execFailure, stepFailure } from './explain.js';
import { missingInterpreter } from './interpreter.js';

/** The status of the command, given that of the first process. Throws `Failure` when there was no command. */
export function outcomeOf(running: Running, status: number): number {
  const { cgroup, circumstances, plan, program } = running;
  const refused = circumstances.report?.end();
  // It may be why there is no command.
  if (refused && refused.size > 0) warn(`seccomp refused: ${counted(refused)}`);
  throwIfFailed(running);
  throwIfKilled(running, status);
  if (refused?.size === 0) warn('seccomp refused: nothing');
  // SIGKILL leaves no other sign of its reason.
  if (cgroup?.ranOutOfMemory()) warn('--memory: the limit was reached, and the kernel killed a process');
  const signal = program.result(plan.calledOff) ?? 0;
  if (signal > 0) return 128 + signal;
  return plan.init && status === 0 ? exitStatus(program.memory(plan.init.status).readInt32LE()) : status;
}

function counted(names: Map<string, number>): string {
  return [...names].map(([name, times]) => (times === 1 ? name : `${name} (${times} times)`)).join(', ');
}

function throwIfFailed({ settings, circumstances, plan, program }: Running): void {
  const failed = program.failure();
  if (!failed) return;
  if (failed.step !== plan.exec.gaveUp) throw stepFailure(plan, failed, circumstances, settings.seccomp);
  const attempts = plan.exec.attempts.map(({ path, step }) => ({ path, errno: -(program.result(step) ?? 0) }));
  const missingFor = (path: string) => missingInterpreter(circumstances, resolve(settings.workingDirectory, path));
  throw execFailure(plan.exec.name, attempts, settings.platform, missingFor);
}

/**
 * A filter may kill whoever makes a call, as SystemCallFilter does in a unit of systemd. execve(2) leaves no result.
 */
function throwIfKilled({ plan, program }: Running, status: number): void {
  if (status !== 128 + SIGSYS) return;
  const step = program.unfinished();
  if (!step || plan.exec.attempts.some((attempt) => attempt.step === step)) return;
  throw new Failure(Status.isolate, program.show(step), 'a seccomp filter kills whoever calls it (SIGSYS)', {
    hint: confinedHint([]),
  });
}
