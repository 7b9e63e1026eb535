/**
 * `--map`: a tree with the image's own owners, unpacked by an ordinary user. This command line runs once more, in a
 * user namespace where the caller is root and the subordinate ids are the others, as `md-isolate --userns range` has
 * them. Node has threads, and a process with threads cannot move itself there: clone(2) makes one that begins there.
 */

import { errnoText, Failure } from '../base/failure.js';
import { Status } from '../base/status.js';
import { trace, tracing } from '../base/trace.js';
import { userHome } from '../base/user-home.js';
import { onFailure } from '../pipe/cleanup.js';
import { Program } from '../sys/native-code/program.js';
import { Block, compare, pointerArray, Result, returned, type Step, stepOf } from '../sys/native-code/step.js';
import { Control, type ControlFds, controlPair } from '../sys/process/control.js';
import { waitForEnd } from '../sys/process/wait.js';
import { firstStatus, ownStatus, ownStrings, statusBits } from '../sys/procfs/status.js';
import { usernsHint } from '../sys/refusals/refusals.js';
import {
  close,
  execve,
  fcntl,
  kill,
  prctl,
  read,
  rt_sigaction,
  rt_sigprocmask,
  setresgid,
  setresuid,
  wait4,
} from '../sys/syscalls/calls.js';
import { CLONE, F, PR, SIG, SIGTERM } from '../sys/syscalls/constants.js';
import { EPIPE } from '../sys/syscalls/errno.js';
import { formatResult, SyscallError } from '../sys/syscalls/syscall.js';
import { rangeMaps } from '../sys/user-namespace/subordinate-ids.js';
import { writeMaps } from '../sys/user-namespace/write-maps.js';

/** Holds the process id of the parent, so that a variable that was inherited from elsewhere does not count. */
const marker = 'MD_UNPACK_MAPPED_BY';

/**
 * Runs this command line in the namespace and returns its exit status, 128 + n for a signal. Returns undefined at once
 * when this process is the one in the namespace. To be called before anything is read from stdin. Throws `Failure` 77
 * when the system grants no ids or no user namespace.
 */
export async function runMapped(): Promise<number | undefined> {
  if (process.env[marker] === String(process.ppid)) return undefined;
  firstStatus();
  const maps = rangeMaps('--map');
  const fds = controlPair();
  const program = new Program(stepsOf(fds));
  const pid = start(program);
  const ended = onFailure(() => stop(pid));
  close(fds.child);
  const control = new Control(fds.supervisor);
  try {
    writeMaps(pid, maps, 'without --map everything is owned by you');
    control.open();
    // Waits for the end of file: execve has closed the child's end, or the child has ended.
    control.arrived();
  } finally {
    // After a failure the child still waits at the gate. It ends when its line to this process is closed.
    control.close();
  }
  if (tracing()) showSteps(program);
  const status = await waitForEnd(pid);
  ended();
  const failed = program.failure();
  if (failed) throw refused(failed.error);
  return status;
}

function start(program: Program): number {
  try {
    return program.start(CLONE.NEWUSER);
  } catch (error) {
    throw error instanceof SyscallError ? refused(error) : error;
  }
}

function refused(error: SyscallError): Failure {
  const hint = error.syscall === 'execve' ? {} : { hint: usernsHint(error.code, CLONE.NEWUSER) };
  return new Failure(Status.notPermitted, `--map: ${error.call}`, errnoText(error.code), { cause: error, ...hint });
}

/** Lets the child clean up, and waits until it has: this command must not end before. */
function stop(pid: number): void {
  kill.try(pid, SIGTERM);
  wait4.try(pid, null, 0, null);
}

function stepsOf({ supervisor, child }: ControlFds): Step[] {
  const got = new Result('bytes');
  const byDefault = Buffer.alloc(32);
  return [
    stepOf(close, [supervisor]),
    // The gate: one byte when the ids are there, none when the parent has died or given up.
    stepOf(read, [child, new Block(new Uint8Array(1)), 1], { saves: got }),
    stepOf(compare, returned(got, 1, EPIPE)),
    // Some policies permit the namespace without its capabilities. Then this fails, before a tree without owners is
    // made.
    stepOf(setresgid, [1, 1, 1]),
    // Supplementary groups stay: the layers may be readable only for one of them.
    stepOf(setresgid, [0, 0, 0]),
    stepOf(setresuid, [0, 0, 0]),
    // After the ids, since a change of them resets it. SIGTERM lets the child clean up.
    stepOf(prctl, [PR.SET_PDEATHSIG, SIGTERM, 0, 0, 0]),
    // Node marks them close-on-exec.
    ...[0, 1, 2].map((fd) => stepOf(fcntl, [fd, F.SETFD, 0])),
    // All signals are blocked up to here. One that is pending must not call a handler of the parent.
    ...statusBits(ownStatus(), 'SigCgt').map((bit) => stepOf(rt_sigaction, [bit + 1, byDefault, null, 8])),
    stepOf(rt_sigprocmask, [SIG.SETMASK, Buffer.alloc(8), null, 8]),
    stepOf(execve, [process.execPath, pointerArray(ownStrings('cmdline')), pointerArray(environment())]),
  ];
}

function environment(): Uint8Array[] {
  const old = Buffer.from(`${marker}=`);
  const kept = ownStrings('environ').filter((line) => !old.equals(line.subarray(0, old.length)));
  const added = [`${marker}=${process.pid}`];
  // Without HOME the home directory is looked up by user id, which in the namespace is root's.
  if (process.env.HOME === undefined && process.geteuid!() !== 0) added.push(`HOME=${userHome(process.env)}`);
  return [...kept, ...added.map((line) => Buffer.from(line))];
}

function showSteps(program: Program): void {
  for (const step of program.steps) {
    // An execve that succeeded has no result.
    const result = program.result(step) ?? (step === program.steps.at(-1) ? 0 : undefined);
    if (result !== undefined) trace(`[child] ${program.show(step)} = ${formatResult(result)}`);
  }
}
