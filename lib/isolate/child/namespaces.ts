/** Namespaces, and the first steps inside them: session, keyring, host name, loopback. */

import { compare, Result, returned } from '../../sys/native-code/step.js';
import { close, ioctlMemory, keyctl, sethostname, setsid, socket, umask, unshare } from '../../sys/syscalls/calls.js';
import { AF, CLONE, KEYCTL, SIOC, SOCK } from '../../sys/syscalls/constants.js';
import { EDQUOT } from '../../sys/syscalls/errno.js';
import { type PlanStep, type StepOptions, step } from './step.js';

/**
 * The flags for clone(2). `user`: with a user namespace. Without one there are no maps to write, and this process can
 * wait until the child executes a program. `moves`: the child first has to change its cgroup, and makes the cgroup
 * namespace itself after that.
 */
export function cloneFlagsOf(network: 'host' | 'none', user: boolean, moves: boolean): number {
  return (
    CLONE.NEWNS |
    CLONE.NEWPID |
    CLONE.NEWUTS |
    CLONE.NEWIPC |
    (moves ? 0 : CLONE.NEWCGROUP) |
    (network === 'none' ? CLONE.NEWNET : 0) |
    (user ? CLONE.NEWUSER : CLONE.VM | CLONE.VFORK)
  );
}

/** What a process has for itself in each namespace: namespaces(7). */
const ownIn = [
  [CLONE.NEWNS, 'mounts (NEWNS)'],
  [CLONE.NEWPID, 'process numbers (NEWPID)'],
  [CLONE.NEWUTS, 'host name (NEWUTS)'],
  [CLONE.NEWIPC, 'shared memory and message queues (NEWIPC)'],
  [CLONE.NEWCGROUP, 'view of the cgroups (NEWCGROUP)'],
  [CLONE.NEWNET, 'network (NEWNET)'],
  [CLONE.NEWUSER, 'users and groups (NEWUSER)'],
] as const;

/** Why the clone is made that comes before all steps. */
export function cloneReason(flags: number): string {
  const own = ownIn.filter(([flag]) => (flags & flag) !== 0).map(([, name]) => name);
  const memory =
    (flags & CLONE.VFORK) === 0
      ? ''
      : ' It uses the memory of md-isolate, which waits until it executes a program (VM, VFORK).';
  return (
    `The first process of the container starts in new namespaces: it has its own ${own.slice(0, -1).join(', ')} and ` +
    `${own.at(-1)}. What it changes of these, the host does not see. All that follows happens in there; ` +
    `md-isolate stays outside, as its supervisor.${memory}`
  );
}

/** After the child was moved to its cgroup: the namespace begins at the cgroup that it is in. */
export function cgroupNamespaceStep(): PlanStep {
  return step(unshare, [CLONE.NEWCGROUP], 'From here on this process sees its own cgroup as the topmost one.', {
    man: 'cgroup_namespaces(7)',
  });
}

export function beginningSteps(): PlanStep[] {
  const session = step(
    setsid,
    [],
    "A session without the caller's terminal: nothing here can push input into it (TIOCSTI), and Ctrl-C reaches the supervisor.",
  );
  return [
    step(umask, [0], 'Modes are given in full from here on; the usual mask comes back at the end.'),
    ...keyringSteps(session),
    session,
  ];
}

/**
 * A kernel without keys is not a failure, nor is a filter around this process, which keeps the command from them as
 * well.
 */
function keyringSteps(after: PlanStep): PlanStep[] {
  const keyring = new Result('keyring');
  const man = 'session-keyring(7)';
  const join = (why: string, options: StepOptions) =>
    step(keyctl, [KEYCTL.JOIN_SESSION_KEYRING, 0, 0, 0, 0], why, { man, ...options });
  const full = step(
    compare,
    returned(keyring, -EDQUOT, EDQUOT),
    'Has the user too many keys for one more? Otherwise there are none here, or this process may not ask for them.',
    { onError: after, man },
  );
  return [
    join("A session keyring of its own: the caller's keys stay outside.", {
      saves: keyring,
      next: after,
      onError: full,
    }),
    full,
    join("Without one of its own the container would have the caller's.", {
      hint: 'each container has a keyring, and kernel.keys.maxkeys says how many a user may have: see /proc/key-users',
    }),
  ];
}

/**
 * The filter of podman lets everybody make a user namespace and mount in it, but refuses this. A name that nobody has
 * `chosen` is no reason to have no container: it then has the one around it.
 */
export function hostnameStep(hostname: string, chosen: boolean): PlanStep {
  return step(
    sethostname,
    [hostname, Buffer.byteLength(hostname)],
    'The name of this UTS namespace; the host keeps its own.',
    { man: 'uts_namespaces(7)', ...(chosen ? {} : { onError: 'continue' }) },
  );
}

/** A new network namespace has one interface, lo, and it is down. */
export function loopbackSteps(): PlanStep[] {
  const fd = new Result('socket');
  const IFF_UP_RUNNING = 0x41;
  // struct ifreq: the name in 16 bytes, then the flags.
  const request = Buffer.alloc(40);
  request.write('lo');
  request.writeInt16LE(IFF_UP_RUNNING, 16);
  return [
    step(socket, [AF.INET, SOCK.DGRAM, 0], 'Any socket will do to configure the interfaces.', {
      saves: fd,
      man: 'netdevice(7)',
    }),
    step(
      ioctlMemory,
      [fd, SIOC.SIFFLAGS, request],
      'The only interface of a new network namespace is lo, and it is down. With this 127.0.0.1 answers.',
      { man: 'netdevice(7)' },
    ),
    step(close, [fd], 'It is not needed any more.'),
  ];
}
