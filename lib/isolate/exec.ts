/** The two changes of program: from a copy of Node to a few bytes of its own, and in the end to the command. */
import { Failure } from '../pipe/failure.js';
import { Status } from '../pipe/status.js';
import {
  close_range,
  execve,
  exit_group,
  fcntl,
  prctl,
  prlimit64,
  rt_sigaction,
  rt_sigprocmask,
  rt_sigtimedwait,
  umask,
} from '../sys/calls.js';
import { CLOSE_RANGE, F, PR, SIG } from '../sys/constants.js';
import type { ControlFds } from '../sys/control.js';
import { EACCES, ENOENT, ENOTDIR } from '../sys/errno.js';
import type { ImageSteps } from '../sys/image.js';
import { Block, compare, pointerArray, Result } from '../sys/program.js';
import type { Path } from '../sys/syscall.js';
import type { Host } from './host.js';
import type { ResourceLimit } from './limits/limits.js';
import { type PlanStep, step } from './step.js';

const SIGKILL = 9;

/**
 * The child becomes another program, which goes on with this plan: from here on nothing in it leads to the supervisor's own
 * executable, which a command could otherwise get hold of (CVE-2019-5736).
 */
export function changeSteps({ prepare, change, resume }: ImageSteps, control: number): PlanStep[] {
  return [
    ...[0, 1, 2].map((fd) =>
      step(fcntl, [fd, F.SETFD, 0], `Node marks descriptor ${fd} close-on-exec; the command needs it.`),
    ),
    step(fcntl, [control, F.SETFD, 0], 'The line to the supervisor goes along.'),
    { ...prepare, why: 'The memory that this plan is in goes along.', man: 'fcntl(2)' },
    {
      ...change,
      why: 'Until now this process is a copy of Node, and /proc/self/exe its file on the host. A script with that for its interpreter could get hold of it (CVE-2019-5736). A few bytes in memory take the place.',
      man: 'execveat(2)',
      hint: 'vm.memfd_noexec must not be 2, and a seccomp filter around this process must let execveat pass',
    },
    {
      ...resume,
      why: 'The plan is mapped again, at the same address; its file is not needed any more.',
      man: 'memfd_create(2)',
    },
  ];
}

/**
 * Until execve(2) has succeeded, what is close-on-exec is open, and the lookups that come before could go by it: of the command, of
 * the interpreter of a script, of a program's loader. By /proc/self/fd/5/bin/sh an image would run a program of the host, and could
 * then write to it (CVE-2024-21626). So nothing that leads outside is left when the command is looked up, nor with `--init`
 * in process 1, whose descriptors CAP_SYS_PTRACE opens. The line to the supervisor is a socket and leads nowhere.
 */
export function closeSteps({ child }: ControlFds): PlanStep[] {
  const why = 'Some of these lead to the host: they must be gone before the command, or its interpreter, is looked up.';
  return [
    ...(child > 3 ? [step(close_range, [3, child - 1, 0], why)] : []),
    step(close_range, [child + 1, 0xffffffff, 0], why),
  ];
}

/** Dies with the supervisor. Has to come after the last change of ids, which takes the setting back. */
export function deathStep(): PlanStep {
  return step(
    prctl,
    [PR.SET_PDEATHSIG, SIGKILL, 0, 0, 0],
    'When the supervisor dies, killed perhaps, so does this process, unless the command changes its user or asks the kernel for something else: --init rules that out.',
    {
      man: 'PR_SET_PDEATHSIG(2const)',
    },
  );
}

/** Not before all files are open, since one of the limits is on those; not after root's powers are gone, one of which raises limits. */
export function limitSteps(limits: readonly ResourceLimit[]): PlanStep[] {
  return limits.map(({ resource, value }) =>
    step(prlimit64, [0, resource, value, null], 'What was asked for, or what the caller had before Node raised it.', {
      man: 'getrlimit(2)',
      hint: 'only CAP_SYS_RESOURCE raises a hard limit',
    }),
  );
}

/** Puts back what Node changed in this process for itself. */
export function restoreSteps({ changedSignals }: Host, mask: number): PlanStep[] {
  const SIGPIPE = 13;
  const SIGXFSZ = 25;
  const byDefault = Buffer.alloc(32);
  const signals = [...new Set([...changedSignals, SIGPIPE, SIGXFSZ])].sort((a, b) => a - b);
  return [
    step(umask, [mask], 'The usual mask for the files that the command makes.'),
    ...signals.map((signal) =>
      step(
        rt_sigaction,
        [signal, byDefault, null, 8],
        `Signal ${signal} means to the command what signal(7) says, not what Node made of it.`,
        {
          man: 'sigaction(2)',
        },
      ),
    ),
    step(
      close_range,
      [3, 0xffffffff, CLOSE_RANGE.CLOEXEC],
      'The command gets descriptors 0, 1 and 2. The end of the line tells the supervisor that it has begun.',
    ),
  ];
}

export interface CalledOff {
  /** Its result is the signal that came, or an error when none has. */
  look: PlanStep;
  /** Reached from there only. */
  end: PlanStep;
}

/**
 * Somebody wants the end before there is a command. As process 1 it would never hear of that: the kernel drops what a process 1 has
 * no handler for (pid_namespaces(7)), and no program has one in its first moment.
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
    'Has a signal asked for the end already? The command would not hear of it: what comes before a process 1 has a handler is dropped.',
    { next: end, onError: 'continue', man },
  );
  return { look, end };
}

/** From here on a signal is for the command; a process 1 of our own does without. */
export function signalStep(): PlanStep {
  return step(
    rt_sigprocmask,
    [SIG.SETMASK, Buffer.alloc(8), null, 8],
    'All signals were held back until there was nobody left to be hurt.',
    {
      man: 'sigprocmask(2)',
    },
  );
}

export interface ExecSteps {
  steps: PlanStep[];
  /** The attempts at execve(2), in order. */
  attempts: { path: string; step: PlanStep }[];
  /** Reached when all attempts failed. */
  gaveUp: PlanStep;
}

/** execve(2) of a path, or along PATH as a shell does: past what is not there or is not permitted, up to anything else. */
export function execSteps(argv: readonly Path[], env: readonly string[]): ExecSteps {
  const name = nameOf(argv);
  const argvBlock = pointerArray(argv);
  const envBlock = pointerArray(env);
  const gaveUp = step(compare, [new Block(new Uint8Array(8)), 1, 1, ENOENT], 'No attempt is left.', {
    man: 'execve(2)',
  });
  const attempts: { path: string; step: PlanStep }[] = [];
  // From the last to the first, since each leads to the one behind it.
  const reversed: PlanStep[] = [gaveUp];
  const why = 'The command takes over this process: process 1 of its PID namespace.';
  for (const path of candidates(name, env).reverse()) {
    const next = reversed.at(-1)!;
    const result = new Result(`execve ${path}`);
    const seen = new Block(new Uint8Array(8), [{ offset: 0, value: result }]);
    let goOn: PlanStep = gaveUp;
    for (const errno of passOver) {
      goOn = step(compare, [seen, 0xffffffff, 2 ** 32 - errno, errno], 'Not there: on to the next directory of PATH.', {
        next,
        onError: goOn,
        man: 'execve(2)',
      });
      reversed.push(goOn);
    }
    const attempt = step(execve, [path, argvBlock, envBlock], why, { saves: result, onError: goOn });
    reversed.push(attempt);
    attempts.push({ path, step: attempt });
  }
  return { steps: reversed.reverse(), attempts: attempts.reverse(), gaveUp };
}

/** The command as text. One that is none is not found. */
export function nameOf([name = '']: readonly Path[]): string {
  return typeof name === 'string' ? name : Buffer.from(name).toString();
}

/** A directory of PATH that gives one of these is passed over, as by a shell. */
const passOver = [ENOENT, EACCES, ENOTDIR];

/** MAX_ARG_STRLEN of execve(2) is for `PATH=` and a NUL as well. */
const longestPath = 128 * 1024 - 6;

function candidates(name: string, env: readonly string[]): string[] {
  if (name.includes('/')) return [name];
  const path = env.find((line) => line.startsWith('PATH='))?.slice(5) ?? '';
  if (Buffer.byteLength(path) > longestPath) {
    const why = `it has more than ${longestPath} bytes, and no program could be given it`;
    throw new Failure(Status.isolate, 'PATH', why, { hint: '-e PATH=... gives another' });
  }
  // An empty or relative element would be looked up in the working directory: an image must not make `ls` its own by that.
  const directories = path.split(':').filter((directory) => directory.startsWith('/'));
  return name === '' ? [] : directories.map((directory) => `${directory.replace(/\/+$/, '')}/${name}`);
}
