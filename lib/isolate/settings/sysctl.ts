/** `--sysctl`: settings of the kernel that belong to a namespace of the container. */
import { usage } from './failures.js';

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
  if (name === '') throw usage(flag, 'it is not NAME=VALUE');
  const path = name.replaceAll('.', '/');
  if (path.split('/').some((part) => part === '')) throw usage(flag, `${name} is not the name of a sysctl`);
  const net = name.startsWith('net.');
  if (net && network === 'host') {
    throw usage(flag, "the network is the host's, and so is this setting", 'use it with --net none');
  }
  if (!net && !ofIpc.test(name)) {
    throw usage(flag, 'this setting has no namespace: it would be changed for the host');
  }
  return { path, value, why: `--sysctl: ${value}.` };
}
