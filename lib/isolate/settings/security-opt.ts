/** `--security-opt`, as docker and podman have it, for command lines that were written for them. */
import { usage } from './failures.js';

export interface SecurityOptions {
  noNewPrivileges: boolean;
  /** As `--seccomp` has it. */
  seccomp: string | undefined;
}

/** These change nothing: no container here uses AppArmor or SELinux. */
const already = ['apparmor=unconfined', 'label=disable'];

/** docker's and podman's words for what bubblewrap, for example, needs to mount a /proc of its own. */
const uncovering = ['systempaths', 'unmask'];

/** Throws `Failure` 64 for an option that would ask for something else. */
export function securityOf(texts: readonly string[]): SecurityOptions {
  const options: SecurityOptions = { noNewPrivileges: false, seccomp: undefined };
  for (const text of texts) {
    const [, name = '', value] = /^([^=:]*)(?:[=:](.*))?$/s.exec(text) ?? [];
    if (name === 'no-new-privileges' && /^(true|false)?$/.test(value ?? ''))
      options.noNewPrivileges = value !== 'false';
    else if (name === 'seccomp' && value) options.seccomp = value;
    else if (!already.includes(`${name}=${value}`)) {
      const hint = uncovering.includes(name)
        ? 'with --privileged nothing of /proc and /sys is masked or read-only'
        : `no-new-privileges and seccomp=FILE|unconfined are; ${already.join(' and ')} are so in any case`;
      throw usage(`--security-opt ${text}`, 'it is not offered', hint);
    }
  }
  return options;
}
