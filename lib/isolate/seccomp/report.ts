/**
 * Which system calls a container was refused. The filter asks this process about each call that it would refuse, and this
 * process answers with the very error that the filter would have given, after taking down the name. It never lets a call
 * through, so it needs to look at nothing that the container could change in the meantime.
 *
 * Source: seccomp_unotify(2).
 */
import { close, ioctlSeccomp, pidfd_getfd, pidfd_open, ppoll } from '../../sys/calls.js';
import { SECCOMP_IOCTL } from '../../sys/constants.js';
import { ENOSYS, EPERM } from '../../sys/errno.js';
import { isErrno } from '../../sys/syscall.js';
import { type Call, compile, RET, type Section, verdictOf } from './bpf.js';
import { auditArch, type ProfileSource, seccompRules, type Target } from './index.js';
import { type SyscallArch, syscallName } from './syscall-numbers.js';

/** How often is looked for questions. A refused call waits that long, an allowed one not at all. */
const everyMs = 4;
/** After an answer the next question often follows at once: wait for it this long. */
const followsNs = 300_000;
/** Answers in a row. Many processes can ask faster than is answered, and signals and the terminal have their turn in between. */
const most = 100;

export interface Report {
  /** For seccomp(2) with SECCOMP_FILTER_FLAG_NEW_LISTENER, which returns the descriptor for `listen`. */
  filter: Buffer;
  /**
   * Begins to answer, given the child's pid and its descriptor. The child must not go on to execve(2) before, which
   * closes the descriptor.
   */
  listen(pid: number, fd: number): void;
  /** Answers until there is something to read from `fd`, or its end. For when the event loop has to wait for that. */
  answerUntil(fd: number): void;
  /** Ends it, and returns the names of the calls that were refused, in the order of their first time, and how often. */
  end(): Map<string, number>;
}

/** A filter that reports what it refuses. Calls that get ENOSYS, the sign to use an older call, count as answered and not as refused. */
export function seccompReport(source: ProfileSource, target: Target): Report {
  const sections = seccompRules(source, target);
  const refused = new Map<string, number>();
  let listener = -1;
  let timer: NodeJS.Timeout | undefined;

  const answerOne = () => {
    const call = answer(listener, sections);
    if (!call) return;
    const name = nameOf(call);
    refused.set(name, (refused.get(name) ?? 0) + 1);
  };
  const answerAll = () => {
    for (let left = most; left > 0 && poll([listener], followsNs)[0]; left--) answerOne();
  };

  return {
    filter: compile(sections.map(asking)),
    listen: (pid, fd) => {
      const pidfd = pidfd_open(pid, 0);
      listener = pidfd_getfd(pidfd, fd, 0);
      close(pidfd);
      timer = setInterval(answerAll, everyMs);
      timer.unref();
    },
    answerUntil: (fd) => {
      for (let asked = true; asked; ) {
        const [question, other] = poll([listener, fd]);
        if (question) answerOne();
        asked = !other;
      }
    },
    end: () => {
      clearInterval(timer);
      if (listener >= 0) close(listener);
      listener = -1;
      return refused;
    },
  };
}

/** The section with a question in the place of each refusal. */
function asking(section: Section): Section {
  return {
    ...section,
    rules: section.rules.map((rule) => ({ ...rule, action: question(rule.action) })),
    defaultAction: question(section.defaultAction),
  };
}

function question(action: number): number {
  const refusal = (action & ~0xffff) === RET.ERRNO && action !== (RET.ERRNO | ENOSYS);
  return refusal ? RET.USER_NOTIF : action;
}

/** Which of the descriptors have something to read, or are at their end, within `timeoutNs` or ever. */
function poll(fds: readonly number[], timeoutNs?: number): boolean[] {
  const POLLIN = 1;
  const POLLHUP = 16;
  const asked = Buffer.alloc(8 * fds.length);
  fds.forEach((fd, i) => {
    asked.writeInt32LE(fd, 8 * i);
    asked.writeInt16LE(POLLIN, 8 * i + 4);
  });
  const timeout = Buffer.alloc(16);
  timeout.writeBigInt64LE(BigInt(timeoutNs ?? 0), 8);
  ppoll.try(asked, fds.length, timeoutNs === undefined ? null : timeout, null, 8);
  return fds.map((_, i) => {
    const got = asked.readInt16LE(8 * i + 6);
    // Of a listener whose processes have all ended, the hang-up is no question.
    return (got & (i === 0 ? POLLIN : POLLIN | POLLHUP)) !== 0;
  });
}

/** Reads a question, a `struct seccomp_notif`, and answers it. Undefined when who asked has died meanwhile. */
function answer(listener: number, sections: readonly Section[]): Call | undefined {
  const asked = Buffer.alloc(80);
  if (isErrno(ioctlSeccomp.try(listener, SECCOMP_IOCTL.NOTIF_RECV, asked))) return undefined;
  const call = callOf(asked.subarray(16));
  const errno = (verdictOf(sections, call) ?? RET.ERRNO | EPERM) & 0xffff;
  // `struct seccomp_notif_resp`: id, value, error, flags.
  const response = Buffer.alloc(24);
  asked.copy(response, 0, 0, 8);
  response.writeInt32LE(-errno, 16);
  ioctlSeccomp.try(listener, SECCOMP_IOCTL.NOTIF_SEND, response);
  return call;
}

/** `struct seccomp_data`. */
function callOf(data: Buffer): Call {
  return {
    number: data.readInt32LE(0),
    auditArch: data.readUInt32LE(4),
    args: [0, 1, 2, 3, 4, 5].map((i) => data.readBigUInt64LE(16 + 8 * i)),
  };
}

function nameOf(call: Call): string {
  for (const [arch, audit] of Object.entries(auditArch) as [SyscallArch, number][]) {
    if (audit === call.auditArch) return syscallName(arch, call.number);
  }
  return `call ${call.number}`;
}
