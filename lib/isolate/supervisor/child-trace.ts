/** `-x` for the container's first process: its steps, read from the memory that it shares with the supervisor. */
import { trace } from '../../base/trace.js';
import type { Program } from '../../sys/native-code/program.js';
import type { Control } from '../../sys/process/control.js';
import { formatResult } from '../../sys/syscalls/syscall.js';
import type { PlanStep } from '../child/step.js';
import type { Plan } from '../plan/plan.js';
import type { Report } from '../seccomp/report.js';

/**
 * Shows the steps that the child has made, once it has come to its last gate or has ended. It waits there, so that
 * these lines come before the output of the command; then it is let go, and what it did after that is shown as well.
 */
export function showChild(program: Program, plan: Plan, control: Control, report: Report | undefined): void {
  const later = new Set<PlanStep>([...plan.exec.attempts.map(({ step }) => step), ...(plan.init?.loop ?? [])]);
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
  for (const { step } of plan.exec.attempts) {
    const result = program.result(step);
    show(step, result ?? 0);
    if (result === undefined) break;
  }
  for (const step of plan.init?.loop ?? []) show(step, program.result(step));
}

/** Shows each step that has a result, after its reason when that is a new one. */
function stepShower(program: Program): (step: PlanStep, result: number | undefined) => void {
  const reasons = new Set<string>();
  return (step, result) => {
    if (result === undefined) return;
    if (!reasons.has(step.why)) trace(`[child] # ${step.why}`);
    reasons.add(step.why);
    trace(`[child] ${program.show(step)} = ${formatResult(result)}`);
  };
}

/** The result of a step. An execve that succeeded has left none: when the step after it was reached, it is 0. */
function resultOf(program: Program, plan: Plan, i: number): number | undefined {
  const result = program.result(plan.steps[i]!);
  const replaced = plan.steps[i + 1] === plan.resume && program.result(plan.resume) !== undefined;
  return result === undefined && replaced ? 0 : result;
}
