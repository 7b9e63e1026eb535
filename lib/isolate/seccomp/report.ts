/**
 * `--seccomp-report`: which system calls a container was refused. The filter asks this process about each call that it
 * would refuse. This process notes the name, and answers with the same error that the filter would have given. It never
 * permits a call, so it does not depend on memory that the container could change in the meantime.
 *
 * Source: seccomp_unotify(2).
 */

import { POLL, poll } from '../../sys/files/poll.js';
import { close, ioctlMemory, pidfd_getfd, pidfd_open } from '../../sys/syscalls/calls.js';
import { SECCOMP_IOCTL } from '../../sys/syscalls/constants.js';
import { ENOSYS, EPERM } from '../../sys/syscalls/errno.js';
import { isErrno } from '../../sys/syscalls/syscall.js';
import { compile } from './bpf.js';
import { auditArch, type Filter, type ProfileSource, seccompRules } from './filter.js';
import type { Target } from './profile.js';
import { type Call, RET, type Section, verdictOf } from './rules.js';
import { type SyscallArch, syscallName } from './syscall-numbers.js';

/** How often this looks for questions. A refused call waits up to that long, an allowed one not at all. */
const everyMs = 4;
/** How long to wait for the filter, and for another question after an answer: one often follows at once. */
const followsNs = 300_000;
/** How many answers in a row: many processes may ask without end, and signals and the terminal need their turn. */
const most = 100;

export interface Report {
  /** For seccomp(2) with SECCOMP_FILTER_FLAG_NEW_LISTENER, which returns the descriptor for `listen`. */
  filter: Filter;
  /**
   * Begins to answer as soon as the child has its filter: `installed` gives the child's descriptor of it from then on.
   * The child could not announce it, since the filter may ask about the very call that would, and nobody would answer.
   * Until this returns it must not go on to execve(2), which closes the descriptor. Does nothing when the child has
   * ended, which closes `line`.
   */
  listen(pid: number, installed: () => number | undefined, line: number): void;
  /** Answers until something, or the end, can be read from `fd`. For the moments when this process blocks on `fd`. */
  answerUntil(fd: number): void;
  /** Ends it, and returns the names of the calls that were refused, in the order of their first time, and how often. */
  end(): Map<string, number>;
}

/**
 * A filter that reports what it refuses. ENOSYS does not count as a refusal: it tells a program to use an older call.
 */
export function seccompReport(source: ProfileSource, target: Target): Report {
  const { sections, flags } = seccompRules(source, target);
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
    for (let left = most; left > 0 && poll([listener], followsNs)[0]! & POLL.IN; left--) answerOne();
  };

  return {
    filter: { program: compile(sections.map(asking)), flags },
    listen: (pid, installed, line) => {
      while (installed() === undefined && !poll([line], followsNs)[0]);
      const fd = installed() ?? -1;
      if (fd < 0) return;
      const pidfd = pidfd_open(pid, 0);
      listener = pidfd_getfd(pidfd, fd, 0);
      close(pidfd);
      timer = setInterval(answerAll, everyMs);
      timer.unref();
    },
    answerUntil: (fd) => {
      for (;;) {
        const [question = 0, other = 0] = poll([listener, fd]);
        // The listener hangs up when all processes have ended: that is no question.
        if (question & POLL.IN) answerOne();
        if (other & (POLL.IN | POLL.HUP)) return;
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

/** The section with each refusal replaced by a question. */
function asking(section: Section): Section {
  return {
    ...section,
    rules: section.rules.map((rule) => ({ ...rule, action: question(rule.action) })),
    defaultAction: question(section.defaultAction),
    newerAction: question(section.newerAction),
  };
}

function question(action: number): number {
  const refusal = (action & ~0xffff) === RET.ERRNO && action !== (RET.ERRNO | ENOSYS);
  return refusal ? RET.USER_NOTIF : action;
}

/** Reads a question, a `struct seccomp_notif`, and answers it. Undefined when who asked has died meanwhile. */
function answer(listener: number, sections: readonly Section[]): Call | undefined {
  const asked = Buffer.alloc(80);
  if (isErrno(ioctlMemory.try(listener, SECCOMP_IOCTL.NOTIF_RECV, asked))) return undefined;
  const call = callOf(asked.subarray(16));
  const errno = (verdictOf(sections, call) ?? RET.ERRNO | EPERM) & 0xffff;
  // `struct seccomp_notif_resp`: id, value, error, flags.
  const response = Buffer.alloc(24);
  asked.copy(response, 0, 0, 8);
  response.writeInt32LE(-errno, 16);
  ioctlMemory.try(listener, SECCOMP_IOCTL.NOTIF_SEND, response);
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
