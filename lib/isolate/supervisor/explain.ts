/** Turns failed system calls into messages that say what to do. */

import { errnoNameOf } from '../../base/errno-names.js';
import { commonHint, errnoText, Failure } from '../../base/failure.js';
import { goArch, type Platform, platformName, unknownArchitecture } from '../../base/oci.js';
import { Status } from '../../base/status.js';
import type { Step } from '../../sys/native-code/step.js';
import { inUserNamespace } from '../../sys/procfs/own-id-map.js';
import {
  confinedHint,
  confinedUsernsHint,
  missingCallHint,
  orAsRoot,
  unmasking,
} from '../../sys/refusals/confinement.js';
import { namespaceLimitHint } from '../../sys/refusals/namespace-limits.js';
import { isChrooted, switchHint, tooManyProcesses, usernsHint } from '../../sys/refusals/refusals.js';
import { arch, type Capability, CLONE } from '../../sys/syscalls/constants.js';
import { SyscallError } from '../../sys/syscalls/syscall.js';
import { neededCapabilities, networkCapabilities, userCapabilities } from '../child/needed-capabilities.js';
import type { Circumstances } from '../plan/circumstances.js';
import type { Plan } from '../plan/plan.js';

/** Which user namespace the container is in. */
type UserNamespaces = Pick<Circumstances, 'maps' | 'inUserns'>;

/** The failure of a step of the plan. `profile` is that of seccomp, by the name that the user has given it. */
export function stepFailure(
  plan: Plan,
  { step, error }: { step: Step; error: SyscallError },
  userns: UserNamespaces,
  profile = 'default',
): Failure {
  const own = plan.steps.find((known) => known === step)?.hint;
  const ofStep = typeof own === 'function' ? own(error.code) : own;
  const filtered = plan.filter ? plan.steps.slice(plan.steps.indexOf(plan.filter) + 1) : [];
  const isFiltered = profile !== 'default' && filtered.some((known) => known === step);
  const ofFilter = isFiltered ? `${profile} has to permit what is left to do behind the filter` : undefined;
  const hint = commonHint(error.code) ?? ofStep ?? ofFilter ?? hintFor(error, userns);
  return new Failure(Status.isolate, error.call, errnoText(error.code), { cause: error, hint });
}

function hintFor({ syscall, code, call }: SyscallError, { maps, inUserns }: UserNamespaces): string | undefined {
  if (code === 'ENOSYS') return missingCallHint(syscall);
  const [, fileSystem] = /^fsopen\("(\w+)"/.exec(call) ?? [];
  if (code === 'ENODEV' && fileSystem) return `this kernel does not have it loaded: sudo modprobe ${fileSystem}`;
  if (code === 'EINVAL' && isChrooted())
    return 'the root of this process is not a mount: mount --bind DIR DIR before chroot(8) makes it one';
  if (code === 'ENOSPC' && syscall === 'unshare') return namespaceLimitHint(CLONE.NEWCGROUP);
  if (!notPermitted.includes(code)) return undefined;
  const known = maps && switchHint();
  if (known) return known;
  const isNewMount = syscall === 'fsmount' || (syscall === 'fsconfig' && call.includes('CMD_CREATE'));
  if (inUserns && code === 'EPERM' && isNewMount) {
    return `the kernel refuses a new proc or sysfs where the one outside is partly covered, as inside another container: start that one ${unmasking}, a unit of systemd without ProtectKernelTunables${orAsRoot()}`;
  }
  if (!maps) return powerlessHint(syscall);
  if (syscall === 'open_tree' || syscall === 'openat2')
    return 'as an ordinary user you can only use files and directories that you may enter';
  return confinedUsernsHint();
}

const notPermitted = ['EPERM', 'EACCES'];

/** What single calls need besides. */
const furtherCapabilities: Record<string, readonly Capability[]> = {
  // The only ioctl(2) of a plan for which a capability is needed.
  ioctl: networkCapabilities,
  // An overlay has a directory without permissions for its own work.
  fsconfig: ['DAC_OVERRIDE'],
};

/** The hint when the kernel refuses a call to root. */
function powerlessHint(syscall: string): string {
  const needed = [...neededCapabilities, ...userCapabilities, ...(furtherCapabilities[syscall] ?? [])];
  const hint = confinedHint(needed);
  if (hint) return hint;
  if (inUserNamespace()) return 'root here is only root of a user namespace: --userns self can work with that';
  return 'root is not enough here: a policy of this host takes its powers away';
}

/** The failure of clone(2) itself, which was to make namespaces by these flags. */
export function cloneFailure(error: unknown, flags: number): Failure {
  if (!(error instanceof SyscallError)) throw error;
  const { code } = error;
  const hint = cloneHint(code, flags);
  return new Failure(Status.isolate, error.call, errnoText(code), { cause: error, hint });
}

function cloneHint(code: string, flags: number): string | undefined {
  if (code === 'EAGAIN') return tooManyProcesses;
  if ((flags & CLONE.NEWUSER) !== 0) return usernsHint(code, flags);
  if (code === 'ENOSPC') return namespaceLimitHint(flags);
  return notPermitted.includes(code) ? powerlessHint('clone') : undefined;
}

/**
 * The failure when no execve(2) succeeded: the first error that says more than "not there" is the reason. `platform` is
 * that of the image; `missingFor` tells which interpreter a program that is there lacks.
 */
export function execFailure(
  command: string,
  attempts: { path: string; errno: number }[],
  platform: Platform | undefined,
  missingFor: (path: string) => string | undefined,
): Failure {
  const telling = attempts.find(({ errno }) => !['ENOENT', 'ENOTDIR'].includes(errnoNameOf(errno)));
  if (telling) {
    const code = errnoNameOf(telling.errno);
    const why = code === 'ENOEXEC' ? 'exec format error (ENOEXEC)' : errnoText(code);
    return new Failure(Status.notExecutable, telling.path, why, { hint: execHint(code, platform) });
  }
  for (const { path } of attempts) {
    const missing = missingFor(path);
    if (missing !== undefined) return interpreterFailure(path, missing);
  }
  const hint = wordHint(command);
  const [only] = attempts;
  if (only && command.includes('/')) {
    return new Failure(Status.notFound, command, errnoText(errnoNameOf(only.errno)), { hint });
  }
  return new Failure(Status.notFound, command || '""', `not found in the container's PATH`, { hint });
}

/** For the kernel such a program is not there either: ENOENT of execve(2) does not tell the two apart. */
function interpreterFailure(path: string, missing: string): Failure {
  const why = `its interpreter ${JSON.stringify(missing)} is not in the container`;
  let hint: string | undefined;
  if (missing.endsWith('\r')) hint = "its first line ends in CRLF; sed -i 's/\\r$//' FILE mends that";
  else if (/\/ld-[^/]*$/.test(missing)) hint = 'it was linked on a system with other libraries, such as glibc';
  return new Failure(Status.notFound, path, why, { hint });
}

/** What was probably meant by a word that is no command. */
function wordHint(command: string): string | undefined {
  if (command.startsWith('-')) return 'flags go before the image or directory, the command after it';
  return command.includes(' ') ? 'it is one word: leave out the quotes, or put sh -c in front of it' : undefined;
}

function execHint(code: string, platform: Platform | undefined): string | undefined {
  if (code === 'EACCES') return 'it is a directory, not executable for this user, or on a mount without exec';
  if (code === 'EAGAIN')
    return 'the user has more processes than --ulimit nproc says: those outside of the container count as well';
  return code === 'ENOEXEC' ? formatHint(platform) : undefined;
}

function formatHint(platform: Platform | undefined): string {
  const own = goArch[arch];
  if (!platform || [own, unknownArchitecture].includes(platform.architecture))
    return "it is not a program for this machine's processor, or a script without #!";
  return `the image is for ${platformName(platform)}, this machine is linux/${own}: pull it without --platform, or install qemu-user-static, unless it is a script without #!`;
}
