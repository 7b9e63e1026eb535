/** `--sysctl`: settings of the kernel that belong to a namespace of the container. */
import { usage } from './failures.js';

export interface Sysctl {
  /** Below /proc/sys. */
  path: string;
  value: string;
  /** Why it is set, in one plain sentence. */
  why: string;
}

/**
 * Settings that each namespace has for itself: ipc_namespaces(7), uts_namespaces(7). So have network namespaces all of
 * theirs. All others are the host's.
 */
const ofNamespace =
  /^(kernel\.(msgmax|msgmnb|msgmni|sem|shmall|shmmax|shmmni|shm_rmid_forced|domainname)|fs\.mqueue\..+)$/;

/** `NAME=VALUE`; a name has dots or slashes in it, as for sysctl(8). Throws `Failure` 64 for what is the host's. */
export function parseSysctl(text: string, network: 'host' | 'none'): Sysctl {
  const flag = `--sysctl ${text}`;
  const [, given = '', value = ''] = /^([a-zA-Z0-9_./-]+)=(.*)$/s.exec(text) ?? [];
  if (given === '') throw usage(flag, 'it is not NAME=VALUE');
  const name = given.replaceAll('/', '.');
  const parts = name.split('.');
  if (parts.includes('')) throw usage(flag, `${given} is not the name of a sysctl`);
  const net = name.startsWith('net.');
  if (net && network === 'host') {
    throw usage(flag, "the network is the host's, and so is this setting", 'use it with --net none');
  }
  if (name === 'kernel.hostname') throw usage(flag, 'this one has a flag of its own', '--hostname NAME');
  if (!net && !ofNamespace.test(name)) {
    throw usage(flag, 'this setting has no namespace: it would be changed for the host');
  }
  return { path: parts.join('/'), value, why: `--sysctl: ${value}.` };
}
