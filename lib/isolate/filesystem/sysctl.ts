/** Writes settings of the kernel that belong to a namespace of the container, and knows those that docker makes. */

import { Block, Result } from '../../sys/native-code/step.js';
import { close, openat2, openHow, write } from '../../sys/syscalls/calls.js';
import { O, RESOLVE } from '../../sys/syscalls/constants.js';
import { type PlanStep, step } from '../child/step.js';
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
  return sysctls.flatMap(({ path, value, why }) => {
    const fd = new Result(path);
    const bytes = Buffer.from(value);
    const how = openHow(O.WRONLY | O.CLOEXEC, RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS);
    return [
      step(
        openat2,
        [proc, `sys/${path}`, how, 24],
        'The setting as this process sees it: that of its own namespaces.',
        { saves: fd, hint: 'this kernel has no such setting', man: 'sysctl(8)' },
      ),
      step(write, [fd, new Block(bytes), bytes.length], why, { hint: 'the kernel does not take this value' }),
      step(close, [fd], 'It is written.'),
    ];
  });
}
