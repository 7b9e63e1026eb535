/** Why a step failed, in words that help. */
import { errnoText, Failure } from '../pipe/failure.js';
import { Status } from '../pipe/status.js';
import type { Step } from '../sys/program.js';
import { errnoNameOf, type SyscallError } from '../sys/syscall.js';
import type { Plan } from './plan.js';

/** A step of the container's making failed. */
export function stepFailure(plan: Plan, { step, error }: { step: Step; error: SyscallError }): Failure {
  const hint = plan.steps.find((known) => known === step)?.hint ?? hintFor(error);
  return new Failure(Status.isolate, error.call, errnoText(error.code), { cause: error, ...(hint ? { hint } : {}) });
}

function hintFor({ syscall, code }: SyscallError): string | undefined {
  if (code === 'ENOSYS') return `this kernel has no ${syscall}: Linux 5.12 or later is needed`;
  return undefined;
}

/** No attempt at execve(2) succeeded: the first error that is more than "not there" tells why. */
export function execFailure(command: string, attempts: { path: string; errno: number }[]): Failure {
  const telling = attempts.find(({ errno }) => !['ENOENT', 'ENOTDIR'].includes(errnoNameOf(errno)));
  if (telling) {
    const code = errnoNameOf(telling.errno);
    const why = code === 'ENOEXEC' ? 'exec format error (ENOEXEC)' : errnoText(code);
    return new Failure(Status.notExecutable, telling.path, why, execHint(code));
  }
  const [only] = attempts;
  if (only && command.includes('/')) {
    return new Failure(Status.notFound, command, errnoText(errnoNameOf(only.errno)), {
      hint: 'when the file is there, the interpreter that it names is not',
    });
  }
  return new Failure(Status.notFound, command, `not found in the container's PATH`);
}

function execHint(code: string): { hint: string } | undefined {
  if (code === 'EACCES') return { hint: 'it is a directory, not executable for this user, or on a mount without exec' };
  if (code === 'ENOEXEC') return { hint: "it is no program for this machine's processor, or a script without #!" };
  return undefined;
}
