/** What the process is to be like when the command gets it: its descriptors, limits, signals and mask. */

import type { ControlFds } from '../../sys/process/control.js';
import {
  close_range,
  exit_group,
  prctl,
  prlimit64,
  rt_sigaction,
  rt_sigprocmask,
  rt_sigtimedwait,
  umask,
} from '../../sys/syscalls/calls.js';
import { CLOSE_RANGE, PR, RLIMIT, SIG, SIGKILL } from '../../sys/syscalls/constants.js';
import type { ResourceLimit } from '../settings/limits.js';
import { type PlanStep, step } from './step.js';

/**
 * A close-on-exec descriptor stays open until execve(2) has succeeded. So the command, the interpreter of a script, or
 * the loader of a program could still be looked up through one: with /proc/self/fd/5/bin/sh an image would run a
 * program of the host, and could then write to it (CVE-2024-21626). Therefore every descriptor that leads outside is
 * closed before. With `--init` this protects process 1 as well, whose descriptors CAP_SYS_PTRACE opens. Only the line
 * to the supervisor stays: it is a socket and leads to no file.
 */
export function closeSteps({ child }: ControlFds): PlanStep[] {
  const why = 'Some of these lead to the host: they must be gone before the command, or its interpreter, is looked up.';
  return [
    ...(child > 3 ? [step(close_range, [3, child - 1, 0], why)] : []),
    step(close_range, [child + 1, 0xffffffff, 0], why),
  ];
}

/** The child dies with the supervisor. This comes after the last change of ids, which would reset it. */
export function deathStep(): PlanStep {
  return step(
    prctl,
    [PR.SET_PDEATHSIG, SIGKILL, 0, 0, 0],
    'When the supervisor dies, this process is killed as well. The command can undo that, by changing its user for example; with --init it cannot.',
    { man: 'PR_SET_PDEATHSIG(2const)' },
  );
}

/**
 * After all files are open, since one limit is on their number; before the capabilities go, one of which raises limits.
 */
export function limitSteps(limits: readonly ResourceLimit[]): PlanStep[] {
  return limits.map(({ resource, value }) =>
    step(prlimit64, [0, resource, value, null], 'What was asked for, or what the caller had before Node raised it.', {
      man: 'getrlimit(2)',
      hint: `only CAP_SYS_RESOURCE raises a hard limit${resource === RLIMIT.NOFILE ? ', and nothing above fs.nr_open' : ''}`,
    }),
  );
}

/** Undoes what Node has changed in this process for its own use. */
export function restoreSteps(ignoredSignals: readonly number[], mask: number): PlanStep[] {
  const byDefault = Buffer.alloc(32);
  return [
    step(umask, [mask], 'The usual mask for the files that the command makes.'),
    ...ignoredSignals.map((signal) =>
      step(
        rt_sigaction,
        [signal, byDefault, null, 8],
        'This signal gets its default action back: Node or its caller ignores it, and execve(2) would keep that.',
        { man: 'sigaction(2)' },
      ),
    ),
    step(
      close_range,
      [3, 0xffffffff, CLOSE_RANGE.CLOEXEC],
      'The command gets descriptors 0, 1 and 2 only: execve(2) closes all others. By the end of the socket the supervisor knows that the command has begun.',
    ),
  ];
}

interface CalledOff {
  /** Its result is the pending signal, or an error when there is none. */
  look: PlanStep;
  /** Reached only from `look`. */
  end: PlanStep;
}

/**
 * Ends the container when a signal has asked for that before there is a command. The command would never get it: the
 * kernel drops signals for which process 1 has no handler (pid_namespaces(7)), and no program has one when it starts.
 */
export function calledOffSteps(): CalledOff {
  const set = Buffer.alloc(8);
  // SIGHUP, SIGINT, SIGQUIT, SIGTERM; signal n is bit n - 1.
  set.writeUInt32LE(0x4007);
  const man = 'sigwaitinfo(2)';
  const end = step(exit_group, [0], 'A signal came before there was a command to get it.', { man });
  const look = step(
    rt_sigtimedwait,
    [set, null, Buffer.alloc(16), 8],
    'Has a signal asked for the end already? The command would not get it: signals without a handler are dropped in process 1.',
    { next: end, onError: 'continue', man },
  );
  return { look, end };
}

/** Unblocks all signals for the command. With `--init` process 1 itself keeps them blocked and waits for them. */
export function signalStep(): PlanStep {
  return step(
    rt_sigprocmask,
    [SIG.SETMASK, Buffer.alloc(8), null, 8],
    'All signals were blocked until here, so that no handler of Node could run in this process.',
    { man: 'sigprocmask(2)' },
  );
}

export function noNewPrivilegesStep(): PlanStep {
  return step(prctl, [PR.SET_NO_NEW_PRIVS, 1, 0, 0, 0], 'From here on no set-user-ID program raises anything.', {
    man: 'PR_SET_NO_NEW_PRIVS(2const)',
  });
}
