/** The child's side of a terminal: a pty of the container's own devpts. */

import { Block, Result } from '../../sys/native-code/step.js';
import type { ControlFds } from '../../sys/process/control.js';
import { dup3, fchown, ioctl, ioctlMemory, openat, sendmsg } from '../../sys/syscalls/calls.js';
import { O, SCM_RIGHTS, SOL_SOCKET, TIO } from '../../sys/syscalls/constants.js';
import { type PlanStep, step } from '../child/step.js';
import { attach, copyOfTree, target } from '../filesystem/mounts.js';

interface ConsoleOptions {
  /** `struct winsize` of the terminal outside. */
  size: Buffer | undefined;
  uid: number;
  /** It becomes the controlling terminal of this process. */
  controlling: boolean;
}

/** Makes the pty, sends its master out to the supervisor and takes the other side for descriptors 0, 1 and 2. */
export function consoleSteps(dev: Result, pts: Result, { child }: ControlFds, options: ConsoleOptions): PlanStep[] {
  const { master, slave, steps } = ptySteps(pts, options);
  // It is the first of a new instance, so its number is 0.
  const bind = copyOfTree({ fd: pts, path: '0' }, 0, 'The terminal once more, under the name that docker gives it.');
  const place = target(dev, 'console', 'file', 'The mount point.');
  return [
    ...steps,
    step(
      sendmsg,
      [child, message(master), 0],
      'The supervisor gets the master: it carries what is typed and what is written.',
      { man: 'unix(7)' },
    ),
    ...bind.steps,
    ...place.steps,
    attach(bind.fd, place.fd, '/dev/console is the terminal.'),
    ...(options.controlling ? [controllingStep(slave)] : []),
    ...[0, 1, 2].map((fd) => step(dup3, [slave, fd, 0], `Descriptor ${fd} is the terminal.`)),
  ];
}

/** A pty that is ready for use, with both sides open. */
function ptySteps(pts: Result, { size, uid }: ConsoleOptions): { master: Result; slave: Result; steps: PlanStep[] } {
  const master = new Result('master');
  const slave = new Result('terminal');
  const flags = O.RDWR | O.NOCTTY | O.CLOEXEC;
  const whyNew = "A new terminal, in the container's own devpts: the host has no name for it.";
  const whyUnlock = 'A new one is locked until its owner says otherwise.';
  const whySize = 'As large as the window outside.';
  const whySlave = 'Its other side, without looking up a path that could lead elsewhere.';
  const whyOwner = 'The user may open this terminal by name.';
  const steps = [
    step(openat, [pts, 'ptmx', flags, 0], whyNew, { saves: master, man: 'pts(4)' }),
    step(ioctlMemory, [master, TIO.CSPTLCK, Buffer.alloc(4)], whyUnlock, { man: 'TIOCSPTLCK(2const)' }),
    ...(size ? [step(ioctlMemory, [master, TIO.CSWINSZ, size], whySize, { man: 'TIOCSWINSZ(2const)' })] : []),
    step(ioctl, [master, TIO.CGPTPEER, flags], whySlave, { saves: slave, man: 'TIOCGPTPEER(2const)' }),
    // An id that the user namespace does not have is an error later on, where the message can say so.
    ...(uid === 0 ? [] : [step(fchown, [slave, uid, -1], whyOwner, { onError: 'continue' })]),
  ];
  return { master, slave, steps };
}

export function controllingStep(terminal: number | Result): PlanStep {
  return step(
    ioctl,
    [terminal, TIO.CSCTTY, 0],
    'The controlling terminal of the session: Ctrl-C and Ctrl-Z are for its jobs.',
    { man: 'TIOCSCTTY(2const)' },
  );
}

/** `struct msghdr` of 56 bytes with one byte of data and one descriptor: cmsg(3). */
function message(fd: Result): Block {
  const data = new Block(new Uint8Array(1));
  const vector = new Block(u64s(0, 1), [{ offset: 0, value: data }]);
  const header = Buffer.alloc(24);
  header.writeBigUInt64LE(20n, 0);
  header.writeInt32LE(SOL_SOCKET, 8);
  header.writeInt32LE(SCM_RIGHTS, 12);
  const control = new Block(header, [{ offset: 16, value: fd }]);
  return new Block(u64s(0, 0, 0, 1, 0, 24, 0), [
    { offset: 16, value: vector },
    { offset: 32, value: control },
  ]);
}

function u64s(...values: number[]): Buffer {
  const bytes = Buffer.alloc(8 * values.length);
  values.forEach((value, i) => {
    bytes.writeBigUInt64LE(BigInt(value), 8 * i);
  });
  return bytes;
}
