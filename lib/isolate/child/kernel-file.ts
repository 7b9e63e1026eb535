/** Files by which a process tells the kernel something. */
import { Block, Result } from '../../sys/native-code/step.js';
import { close, openat2, openHow, write } from '../../sys/syscalls/calls.js';
import { O, RESOLVE } from '../../sys/syscalls/constants.js';
import { type PlanStep, type StepOptions, step } from './step.js';

interface KernelFile {
  /** For its descriptor, in a plan. */
  name: string;
  /** Below the proc. */
  path: string;
  value: string;
  /** Why the file is opened, and why the value is written. */
  whyOpen: string;
  why: string;
  ofOpen: StepOptions;
  ofWrite: StepOptions;
}

/** Writes to a file below the proc that the plan has mounted, through no symlink. */
export function kernelFileSteps(
  proc: Result,
  { name, path, value, whyOpen, why, ofOpen, ofWrite }: KernelFile,
): PlanStep[] {
  const fd = new Result(name);
  const bytes = Buffer.from(value);
  const how = openHow(O.WRONLY | O.CLOEXEC, RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS);
  return [
    step(openat2, [proc, path, how, 24], whyOpen, { ...ofOpen, saves: fd }),
    step(write, [fd, new Block(bytes), bytes.length], why, ofWrite),
    step(close, [fd], 'It is written.'),
  ];
}
