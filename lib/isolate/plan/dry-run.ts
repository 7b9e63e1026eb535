/** `--dry-run`: the plan as JSON lines, one for each system call. */
import type { JsonObject } from '../../base/check.js';
import { type Step, showClone, showStep } from '../../sys/native-code/step.js';
import { cloneReason } from '../child/namespaces.js';
import { manPageOf } from '../child/step.js';
import type { Plan } from './plan.js';

/** The lines. `<NAME>` in a call stands for what an earlier step returns. */
export function describePlan({ cloneFlags, steps }: Plan): JsonObject[] {
  const numbers = new Map<Step, number>(steps.map((step, i) => [step, i + 2]));
  return [
    { step: 1, call: showClone(cloneFlags), why: cloneReason(cloneFlags), man: 'namespaces(7)' },
    ...steps.map((step, i) => ({
      step: i + 2,
      call: showStep(step),
      ...(step.saves ? { returns: `<${step.saves.name}>` } : {}),
      ...(step.next ? { next: numbers.get(step.next) } : {}),
      ...(typeof step.onError === 'object' ? { onError: numbers.get(step.onError) } : {}),
      ...(step.onError === 'continue' ? { onError: i + 3 } : {}),
      why: step.why,
      man: manPageOf(step),
    })),
  ];
}
