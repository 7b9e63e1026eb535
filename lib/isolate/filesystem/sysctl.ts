/** Writes settings of the kernel that belong to a namespace of the container, and knows those that docker makes. */

import type { Result } from '../../sys/native-code/step.js';
import { kernelFileSteps } from '../child/kernel-file.js';
import type { PlanStep } from '../child/step.js';
import type { Sysctl } from '../settings/sysctl.js';

/**
 * What docker sets in a network that is the container's own. In a user namespace the range of groups is
 * not set, since the kernel takes only one whose ends are mapped. Source: moby, daemon/oci_linux.go.
 */
export function networkSysctls(inUserns: boolean): Sysctl[] {
  const ports: Sysctl = {
    path: 'net/ipv4/ip_unprivileged_port_start',
    value: '0',
    why: 'Any user may listen on ports below 1024 as well: they are those of this container alone.',
  };
  const ping: Sysctl = {
    path: 'net/ipv4/ping_group_range',
    value: '0 2147483647',
    why: 'Any user may ping, without a capability: icmp(7).',
  };
  return inUserns ? [ports] : [ports, ping];
}

/** Writes the settings below the proc that the plan has mounted, before its sys/ becomes read-only. */
export function sysctlSteps(proc: Result, sysctls: readonly Sysctl[]): PlanStep[] {
  return sysctls.flatMap(({ path, value, why }) =>
    kernelFileSteps(proc, {
      name: path,
      path: `sys/${path}`,
      value,
      whyOpen: 'The setting as this process sees it: that of its own namespaces.',
      why,
      ofOpen: { hint: hintOfOpen, man: 'sysctl(8)' },
      ofWrite: { hint: 'the kernel does not take this value' },
    }),
  );
}

function hintOfOpen(code: string): string {
  return code === 'EACCES'
    ? 'the kernel lets only root of the host set it: use sudo'
    : 'this kernel has no such setting';
}
