/** `--security-opt`, as docker and podman have it, for command lines that were written for them. */
import { truthOf } from '../../pipe/flags.js';
import { usage } from './failures.js';

interface SecurityOptions {
  noNewPrivileges: boolean;
  /** As `--seccomp` has it. */
  seccomp: string | undefined;
  /** The AppArmor profile of the command; undefined for that of the caller. */
  apparmor: string | undefined;
  /** Root of the container may make cgroups below its own. */
  writableCgroups: boolean;
}

/** The flag, for messages of what it needs. */
export const writableCgroupsFlag = '--security-opt writable-cgroups=true';

/** This changes nothing: no container here has a label of SELinux. */
const already = 'label=disable';

/** docker's and podman's words for what bubblewrap, for example, needs to mount a /proc of its own. */
const uncovering = ['systempaths', 'unmask'];

/** Throws `Failure` 64 for an option that would ask for something else. */
export function securityOf(texts: readonly string[]): SecurityOptions {
  const options: SecurityOptions = {
    noNewPrivileges: false,
    seccomp: undefined,
    apparmor: undefined,
    writableCgroups: false,
  };
  for (const text of texts) {
    const [, name = '', value] = /^([^=:]*)(?:[=:](.*))?$/s.exec(text) ?? [];
    const truth = truthOf(value ?? 'true');
    if (name === 'no-new-privileges' && truth !== undefined) options.noNewPrivileges = truth;
    else if (name === 'seccomp' && value) options.seccomp = value;
    else if (name === 'apparmor' && value) options.apparmor = value === 'unconfined' ? undefined : value;
    else if (name === 'writable-cgroups' && value !== undefined && truth !== undefined) options.writableCgroups = truth;
    else if (`${name}=${value}` !== already) {
      throw usage(`--security-opt ${text}`, 'it is not offered', instead(name, value));
    }
  }
  return options;
}

/** What does here what the option does there, or else the options that there are. */
function instead(name: string, value: string | undefined): string {
  if (name === 'unmask' && value?.startsWith('/sys/fs/cgroup'))
    return `${writableCgroupsFlag} is for programs that divide their cgroup, as systemd`;
  if (uncovering.includes(name)) return 'with --privileged nothing of /proc and /sys is masked or read-only';
  return `no-new-privileges, seccomp=FILE|unconfined, apparmor=PROFILE and writable-cgroups=true are; ${already} is so in any case`;
}
