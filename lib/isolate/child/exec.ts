/**
 * The steps around the two changes of program: from a copy of Node to the stub (stub.ts), and in the end to the command.
 */
import { Failure } from '../../base/failure.js';
import { Status } from '../../base/status.js';
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
} from '../../sys/calls.js';
import { CLOSE_RANGE, F, PR, RLIMIT, SIG, SIGKILL } from '../../sys/constants.js';
import type { ControlFds } from '../../sys/control.js';
import { EACCES, ENOENT, ENOTDIR } from '../../sys/errno.js';
import { Block, compare, pointerArray, Result, returned } from '../../sys/native-code/program.js';
import type { StubSteps } from '../../sys/native-code/stub.js';
import type { Path } from '../../sys/syscall.js';
import type { ResourceLimit } from '../settings/limits.js';
import { type PlanStep, step } from './step.js';

/**
 * The child becomes another program, which goes on with this plan. From then on nothing in the child leads to the
 * executable of the supervisor, which a command could otherwise overwrite (CVE-2019-5736). The last step is the first
 * that the next program makes.
 */
export function changeSteps({ prepare, change, resume }: StubSteps, control: number): PlanStep[] {
  return [
    ...[0, 1, 2].map((fd) =>
      step(fcntl, [fd, F.SETFD, 0], `Node marks descriptor ${fd} close-on-exec; the command needs it.`),
    ),
    step(fcntl, [control, F.SETFD, 0], 'The line to the supervisor must stay open in the next program.'),
    { ...prepare, why: 'So must the memory file that this plan is in.', man: 'fcntl(2)' },
    {
      ...change,
      why: 'Until now this process is a copy of Node, and /proc/self/exe leads to its file on the host. A script with that as its interpreter could overwrite it (CVE-2019-5736). So a program of a few bytes, in memory only, takes over.',
      man: 'execveat(2)',
    },
    {
      ...resume,
      why: 'The plan is mapped again, at the same address; its file is not needed any more.',
      man: 'memfd_create(2)',
    },
  ];
}

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
    {
      man: 'PR_SET_PDEATHSIG(2const)',
    },
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
        `Signal ${signal} gets its default action back: Node or its caller ignores it, and execve(2) would keep that.`,
        {
          man: 'sigaction(2)',
        },
      ),
    ),
    step(
      close_range,
      [3, 0xffffffff, CLOSE_RANGE.CLOEXEC],
      'The command gets descriptors 0, 1 and 2 only. When the line is closed, the supervisor knows that it has begun.',
    ),
  ];
}

export interface CalledOff {
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
  /** The command as text, for messages; empty when there is none. */
  name: string;
}

/**
 * execve(2) of a path, or of each path along PATH as a shell does it, until one succeeds or fails for an unusual
 * reason.
 */
export function execSteps(argv: readonly Path[], env: readonly string[]): ExecSteps {
  const name = nameOf(argv);
  const argvBlock = pointerArray(argv);
  const envBlock = pointerArray(env);
  const gaveUp = step(compare, [new Block(new Uint8Array(8)), 1, 1, ENOENT], 'No attempt is left.', {
    man: 'execve(2)',
  });
  const attempts: { path: string; step: PlanStep }[] = [];
  // Built from the last to the first, since each refers to the one after it.
  const reversed: PlanStep[] = [gaveUp];
  const why = 'The command takes over this process: process 1 of its PID namespace.';
  for (const path of candidates(name, env).reverse()) {
    const next = reversed.at(-1)!;
    const result = new Result(`execve ${path}`);
    let goOn: PlanStep = gaveUp;
    for (const errno of passOver) {
      goOn = step(compare, returned(result, -errno, errno), 'Not there: on to the next directory of PATH.', {
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
  return { steps: reversed.reverse(), attempts: attempts.reverse(), gaveUp, name };
}

function nameOf([name = '']: readonly Path[]): string {
  return typeof name === 'string' ? name : Buffer.from(name).toString();
}

/** A directory of PATH that gives one of these is passed over, as by a shell. */
const passOver = [ENOENT, EACCES, ENOTDIR];

/** MAX_ARG_STRLEN of execve(2), without `PATH=` and the NUL, which count as well. */
const longestPath = 128 * 1024 - 6;

function candidates(name: string, env: readonly string[]): string[] {
  if (name.includes('/')) return [name];
  const path = env.find((line) => line.startsWith('PATH='))?.slice(5) ?? '';
  if (Buffer.byteLength(path) > longestPath) {
    const why = `it has more than ${longestPath} bytes, and no program could be given it`;
    throw new Failure(Status.isolate, 'PATH', why, { hint: '-e PATH=... gives another' });
  }
  // Empty and relative elements mean the working directory. They are skipped, so that a file there cannot pass for
  // `ls`.
  const directories = path.split(':').filter((directory) => directory.startsWith('/'));
  return name === '' ? [] : directories.map((directory) => `${directory.replace(/\/+$/, '')}/${name}`);
}
