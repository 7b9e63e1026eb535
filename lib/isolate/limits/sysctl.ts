/** `--sysctl`: settings of the kernel that belong to a namespace of the container. */

import { Failure } from '../../pipe/failure.js';
import { Status } from '../../pipe/status.js';
import { close, openat2, openHow, write } from '../../sys/calls.js';
import { O, RESOLVE } from '../../sys/constants.js';
import { Block, Result } from '../../sys/program.js';
import { type PlanStep, step } from '../step.js';

export interface Sysctl {
  /** Below /proc/sys. */
  path: string;
  value: string;
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
    throw new Failure(Status.usage, flag, `${name} is no name of a sysctl`);
  const net = name.startsWith('net.');
  if (net && network === 'host') {
    throw new Failure(Status.usage, flag, "the network is the host's, and so is this setting", {
      hint: 'use it with --net none',
    });
  }
  if (!net && !ofIpc.test(name)) {
    throw new Failure(Status.usage, flag, 'this setting has no namespace: it would be changed for the host');
  }
  return { path, value };
}

/** Writes the settings below the proc that the plan has mounted, before its sys/ becomes read-only. */
export function sysctlSteps(proc: Result, sysctls: readonly Sysctl[]): PlanStep[] {
  return sysctls.flatMap(({ path, value }) => {
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
      step(write, [fd, new Block(bytes), bytes.length], `--sysctl: ${value}.`, {
        hint: 'the kernel does not take this value',
      }),
      step(close, [fd], 'It is written.'),
    ];
  });
}
