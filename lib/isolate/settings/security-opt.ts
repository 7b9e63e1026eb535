/** `--security-opt`, as docker and podman have it, for command lines that were written for them. */
import { usage } from './failures.js';

export interface SecurityOptions {
  noNewPrivileges: boolean;
  /** As `--seccomp` has it. */
  seccomp: string | undefined;
  /** Root of the container may make cgroups below its own. */
  writableCgroups: boolean;
}

/** The flag, for messages of what it needs. */
export const writableCgroupsFlag = '--security-opt writable-cgroups=true';

/** These change nothing: no container here uses AppArmor or SELinux. */
const already = ['apparmor=unconfined', 'label=disable'];

/** docker's and podman's words for what bubblewrap, for example, needs to mount a /proc of its own. */
const uncovering = ['systempaths', 'unmask'];

/** Throws `Failure` 64 for an option that would ask for something else. */
export function securityOf(texts: readonly string[]): SecurityOptions {
  const options: SecurityOptions = { noNewPrivileges: false, seccomp: undefined, writableCgroups: false };
  for (const text of texts) {
    const [, name = '', value] = /^([^=:]*)(?:[=:](.*))?$/s.exec(text) ?? [];
    if (name === 'no-new-privileges' && /^(true|false)?$/.test(value ?? ''))
      options.noNewPrivileges = value !== 'false';
    else if (name === 'seccomp' && value) options.seccomp = value;
    else if (name === 'writable-cgroups' && /^(true|false)$/.test(value ?? ''))
      options.writableCgroups = value === 'true';
    else if (!already.includes(`${name}=${value}`)) {
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
  return `no-new-privileges, seccomp=FILE|unconfined and writable-cgroups=true are; ${already.join(' and ')} are so in any case`;
}
