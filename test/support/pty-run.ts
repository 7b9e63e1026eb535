/**
 * Runs a command on a new pty and carries it to this process's terminal: what `md-isolate -t` does, without a
 * container. `MD_TEST_CRASH=1` in the environment: an exception after the first output.
 */

import { constants, openSync } from 'node:fs';
import { parseDetachKeys } from '../../lib/isolate/stdio/detach-keys.js';
import { attachTerminal } from '../../lib/isolate/stdio/terminal.js';
import { Program } from '../../lib/sys/native-code/program.js';
import { pointerArray, stepOf } from '../../lib/sys/native-code/step.js';
import { endProcess } from '../../lib/sys/process/exit.js';
import { waitForEnd } from '../../lib/sys/process/wait.js';
import {
  close,
  close_range,
  dup3,
  execve,
  ioctl,
  ioctlMemory,
  rt_sigaction,
  rt_sigprocmask,
  setsid,
} from '../../lib/sys/syscalls/calls.js';
import { SIG, TIO } from '../../lib/sys/syscalls/constants.js';

const master = openSync('/dev/ptmx', constants.O_RDWR | constants.O_NOCTTY);
ioctlMemory(master, TIO.CSPTLCK, Buffer.alloc(4));
const slave = ioctl(master, TIO.CGPTPEER, constants.O_RDWR | constants.O_NOCTTY);

const argv = ['/usr/bin/env', ...process.argv.slice(2)];
const env = Object.entries(process.env).map(([name, value]) => `${name}=${value}`);
const signals = [1, 2, 3, 13, 15, 17, 18, 20, 21, 22, 28];
const child = new Program([
  stepOf(setsid, []),
  stepOf(ioctl, [slave, TIO.CSCTTY, 0]),
  ...[0, 1, 2].map((fd) => stepOf(dup3, [slave, fd, 0])),
  stepOf(close_range, [3, 0xffffffff, 0]),
  ...signals.map((signal) => stepOf(rt_sigaction, [signal, Buffer.alloc(32), null, 8])),
  stepOf(rt_sigprocmask, [SIG.SETMASK, Buffer.alloc(8), null, 8]),
  stepOf(execve, [argv[0]!, pointerArray(argv), pointerArray(env)]),
]);
const terminal = attachTerminal(master, parseDetachKeys());
const pid = child.start(0);
close(slave);
if (process.env.MD_TEST_CRASH === '1') {
  setTimeout(() => {
    throw new Error('crashed as told');
  }, 300);
}
const status = await waitForEnd(pid);
terminal.finish();
await terminal.ended;
terminal.restore();
endProcess(status);
