/** Settings of the kernel that belong to a namespace of the container: `--sysctl`, and docker's own. */

import { Failure } from '../../base/failure.js';
import { Status } from '../../base/status.js';
import { close, openat2, openHow, write } from '../../sys/calls.js';
import { O, RESOLVE } from '../../sys/constants.js';
import { Block, Result } from '../../sys/native-code/program.js';
import { type PlanStep, step } from '../child/step.js';

export interface Sysctl {
  /** Below /proc/sys. */
  path: string;
  value: string;
  /** Why it is set, in one plain sentence. */
  why: string;
}

/** Settings that each namespace has for itself: ipc_namespaces(7), network_namespaces(7). All others are the host's. */
const ofIpc = /^(kernel\.(msgmax|msgmnb|msgmni|sem|shmall|shmmax|shmmni|shm_rmid_forced)|fs\.mqueue\..+)$/;

/** `NAME=VALUE`. Throws `Failure` 64 for what is the host's. */
export function parseSysctl(text: string, network: 'host' | 'none'): Sysctl {
  const flag = `--sysctl ${text}`;
  const [, name = '', value = ''] = /^([a-zA-Z0-9_./-]+)=(.*)$/s.exec(text) ?? [];
  if (name === '') throw new Failure(Status.usage, flag, 'it is not NAME=VALUE');
  const path = name.replaceAll('.', '/');
  if (path.split('/').some((part) => part === ''))
    throw new Failure(Status.usage, flag, `${name} is not the name of a sysctl`);
  const net = name.startsWith('net.');
  if (net && network === 'host') {
    throw new Failure(Status.usage, flag, "the network is the host's, and so is this setting", {
      hint: 'use it with --net none',
    });
  }
  if (!net && !ofIpc.test(name)) {
    throw new Failure(Status.usage, flag, 'this setting has no namespace: it would be changed for the host');
  }
  return { path, value, why: `--sysctl: ${value}.` };
}

/**
 * What docker sets in a network that is the container's own. `mapped` tells that there is a user namespace, the
 * container's own or one around this process: the range of groups is not set there, since the kernel takes only one
 * whose ends are mapped. Source: moby, daemon/oci_linux.go.
 */
export function networkSysctls(mapped: boolean): Sysctl[] {
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
  return mapped ? [ports] : [ports, ping];
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
        {
          saves: fd,
          hint: 'this kernel has no such setting',
          man: 'sysctl(8)',
        },
      ),
      step(write, [fd, new Block(bytes), bytes.length], why, {
        hint: 'the kernel does not take this value',
      }),
      step(close, [fd], 'It is written.'),
    ];
  });
}
