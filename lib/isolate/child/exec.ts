/**
 * The steps around the two changes of program: from a copy of Node to the stub (stub.ts), and in the end to the
 * command.
 */
import { Block, compare, pointerArray, Result, returned } from '../../sys/native-code/step.js';
import type { StubSteps } from '../../sys/native-code/stub.js';
import { execve, fcntl } from '../../sys/syscalls/calls.js';
import { F } from '../../sys/syscalls/constants.js';
import { EACCES, ENOENT, ENOTDIR } from '../../sys/syscalls/errno.js';
import type { Path } from '../../sys/syscalls/syscall.js';
import { refused } from '../settings/failures.js';
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
    step(fcntl, [control, F.SETFD, 0], 'The socket to the supervisor must stay open in the next program.'),
    { ...prepare, why: 'So must the memory file that this plan is in.' },
    {
      ...change,
      why: 'Until now this process is a copy of Node, and /proc/self/exe leads to its file on the host. A script with that as its interpreter could overwrite it (CVE-2019-5736). So a program of a few bytes, in memory only, takes over.',
    },
    {
      ...resume,
      why: 'The plan is mapped again, at the same address; its file is not needed any more.',
      man: 'memfd_create(2)',
    },
  ];
}

export interface ExecSteps {
  steps: PlanStep[];
  /** The attempts at execve(2), in order. The path is for messages. */
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
  const [name = ''] = argv;
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
    const shown = textOf(path);
    const result = new Result(`execve ${shown}`);
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
    attempts.push({ path: shown, step: attempt });
  }
  return { steps: reversed.reverse(), attempts: attempts.reverse(), gaveUp, name: textOf(name) };
}

function textOf(path: Path): string {
  return typeof path === 'string' ? path : Buffer.from(path).toString();
}

/** A directory of PATH that gives one of these is passed over, as by a shell. */
const passOver = [ENOENT, EACCES, ENOTDIR];

const slash = 0x2f;
/** NAME_MAX: what is longer is in no directory. Thousands of paths with a long name would not fit into memory. */
const longestName = 255;
/** MAX_ARG_STRLEN of execve(2), without `PATH=` and the NUL, which count as well. */
const longestPath = 128 * 1024 - 6;

/** The paths that execve(2) is tried with. Throws `Failure` 125 for a PATH that is too long for any program. */
export function candidates(name: Path, env: readonly string[]): Path[] {
  const bytes = typeof name === 'string' ? Buffer.from(name) : name;
  if (bytes.includes(slash)) return [name];
  const path = env.find((line) => line.startsWith('PATH='))?.slice(5) ?? '';
  if (Buffer.byteLength(path) > longestPath) {
    const why = `it has more than ${longestPath} bytes, and no program could be given it`;
    throw refused('PATH', why, '-e PATH=... gives another');
  }
  // Empty and relative elements mean the working directory. They are skipped, so that a file there cannot pass for
  // `ls`.
  const directories = path.split(':').filter((directory) => directory.startsWith('/'));
  if (bytes.length === 0 || bytes.length > longestName) return [];
  return (
    directories
      // Looked for from the first slash of several only: from each of 100,000 of them it would take a quarter of a minute.
      .map((directory) => `${directory.replace(/(?<!\/)\/+$/, '')}/`)
      .map((directory) => (typeof name === 'string' ? directory + name : Buffer.concat([Buffer.from(directory), name])))
  );
}
