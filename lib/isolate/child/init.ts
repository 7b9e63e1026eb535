/**
 * `--init`: a process 1 of our own, with the command as its child. It reaps orphans, passes signals on, and ends with
 * the command. Its program is the stub that every container goes through (lib/sys/native-code/stub.ts): here it stays,
 * and does not give way to the command. It has no JavaScript, no memory but the table of calls, and no open file.
 *
 * Process 1 ends with the supervisor: it has asked for SIGKILL when the supervisor dies. Nothing in the container can
 * undo that, since process 1 never executes another program and cannot be traced. When it ends, the kernel kills all
 * others.
 *
 * Sources: pid_namespaces(7), credentials(7), wait(2), PR_SET_DUMPABLE(2const).
 */

import { Block, compare, Result, returned } from '../../sys/native-code/step.js';
import {
  clone,
  close_range,
  exit_group,
  kill,
  prctl,
  rt_sigtimedwait,
  setsid,
  wait4,
} from '../../sys/syscalls/calls.js';
import { CLONE, PR, SIGCHLD, W } from '../../sys/syscalls/constants.js';
import { EAGAIN, EINTR, EPERM } from '../../sys/syscalls/errno.js';
import { type PlanStep, step } from './step.js';

export interface Init {
  /** Process 1 starts its child here. The steps after these are the child's, which becomes the command. */
  divide: PlanStep[];
  /** What process 1 does from then on. Reached only from `divide`. */
  loop: PlanStep[];
  /** Where wait(2) puts the status of the command. Process 1 itself then ends with 0. */
  status: Block;
}

/** The steps for `--init`. `ofCommand` are those that the command makes first, in its own session. */
export function initSteps(ofCommand: readonly PlanStep[]): Init {
  const command = new Result('command');
  const status = new Block(new Uint8Array(8));
  const loop = loopSteps(command, status);
  return {
    divide: [
      step(
        prctl,
        [PR.SET_DUMPABLE, 0, 0, 0, 0],
        'Nobody in the container may trace process 1 or write to its memory. For the command execve(2) undoes this.',
        { man: 'PR_SET_DUMPABLE(2const)' },
      ),
      step(prctl, [PR.SET_NAME, new Block(Buffer.from('md-init\0')), 0, 0, 0], 'What ps(1) calls it.', {
        man: 'PR_SET_NAME(2const)',
      }),
      step(
        clone,
        [CLONE.VFORK | CLONE.PARENT_SETTID | SIGCHLD, null, command.memory, 0, 0],
        '--init: this process stays what it is, process 1 of the container, and the command becomes its child. It waits until execve(2), since until then both write to the same memory.',
        { man: 'pid_namespaces(7)', hint: '--init takes one process more: see --pids-limit and --ulimit nproc' },
      ),
      step(
        setsid,
        [],
        'Both processes come here. For process 1 this fails, since it leads a session already: it goes on with steps of its own.',
        { onError: loop[0]! },
      ),
      ...ofCommand,
    ],
    loop,
    status,
  };
}

function loopSteps(command: Result, status: Block): PlanStep[] {
  const signal = new Result('signal');
  const interrupted = step(
    compare,
    returned(signal, -EINTR, EPERM),
    'Being stopped and continued from outside interrupts the wait: it begins again.',
    { man: 'sigwaitinfo(2)', hint: 'with --init a seccomp profile has to let rt_sigtimedwait pass' },
  );
  const listen = step(
    rt_sigtimedwait,
    [Buffer.alloc(8, 0xff), null, null, 8],
    'All signals are blocked here, so each one stays pending until this takes it.',
    { saves: signal, onError: interrupted, man: 'sigwaitinfo(2)' },
  );
  const reaping = reapSteps(command, status, listen);
  const forward = step(kill, [command, signal], 'A signal from outside is for the command.', {
    next: listen,
    onError: listen,
  });
  const which = step(
    compare,
    returned(signal, SIGCHLD, EAGAIN),
    'Has a child ended? Any other signal is for the command.',
    { next: reaping[0]!, onError: forward, man: 'signal(7)' },
  );
  const alone = step(
    close_range,
    [0, 0xffffffff, 0],
    'Process 1 keeps nothing open, so that a reader of the output sees its end when the command has ended.',
    { next: listen },
  );
  return [alone, interrupted, listen, which, ...reaping, forward];
}

/** Takes the status of all children that have ended. Process 1 ends with the command, else it goes on at `listen`. */
function reapSteps(command: Result, status: Block, listen: PlanStep): PlanStep[] {
  const ended = new Result('ended');
  const man = 'wait(2)';
  const reap = step(
    wait4,
    [-1, status, W.NOHANG, null],
    'Orphans become children of process 1. Each that ends is a zombie until this takes its status.',
    { saves: ended, onError: listen, man },
  );
  const end = step(
    exit_group,
    [0],
    'When process 1 ends, the kernel ends all other processes. The supervisor finds the status of the command in memory.',
    { man: 'pid_namespaces(7)' },
  );
  const other = step(
    compare,
    returned(ended, 0, EAGAIN),
    'No child has ended: wait for signals. One has: look for the next one.',
    { next: listen, onError: reap, man },
  );
  const whyMain = 'Was it the command?';
  const main = step(compare, returned(ended, command, EAGAIN), whyMain, { next: end, onError: other, man });
  return [reap, main, end, other];
}
