/** How names are resolved in the container: what flags change in the host's /etc/hosts and /etc/resolv.conf. */

import { usage } from './failures.js';
import type { IsolateFlags } from './flags.js';

export type NameFlags = Pick<IsolateFlags, 'add-host' | 'dns' | 'dns-search' | 'dns-option'>;

export interface Names {
  /** Lines for /etc/hosts. */
  hosts: string[];
  /** Each of these three replaces the host's lines of its kind, unless it is empty. An empty option is none. */
  nameservers: string[];
  search: string[];
  options: string[];
}

/** Reads the flags. Throws `Failure` 64 for what cannot be a line of hosts(5) or resolv.conf(5). */
export function namesOf(flags: NameFlags, network: 'host' | 'none'): Names {
  return {
    hosts: flags['add-host'].map((text) => hostLine(text, network)),
    nameservers: flags.dns.map((text) => address(text, `--dns ${text}`)),
    search: flags['dns-search'].map((text) => word(text, '--dns-search')),
    options: flags['dns-option'].map((text) => (text === '' ? '' : word(text, '--dns-option'))),
  };
}

/** `NAME:ADDRESS` or `NAME=ADDRESS`; an IPv6 address may have brackets. Source: docker's `--add-host`. */
function hostLine(text: string, network: 'host' | 'none'): string {
  const flag = `--add-host ${text}`;
  const [, name, given = ''] = /^([^:=\s]+)[:=](.*)$/s.exec(text) ?? [];
  if (name === undefined) throw usage(flag, 'it is not NAME:ADDRESS');
  if (given !== 'host-gateway') return `${address(given.replace(/^\[(.*)\]$/s, '$1'), flag)}\t${name}`;
  // The container shares the host's network, so there is no gateway between them.
  if (network === 'host') return `127.0.0.1\t${name}`;
  throw usage(flag, 'with --net none there is no way to the host');
}

function address(text: string, flag: string): string {
  // Loading it for every start would take milliseconds.
  if (process.getBuiltinModule('node:net').isIP(text) !== 0) return text;
  throw usage(flag, `${JSON.stringify(text)} is not an IP address`);
}

function word(text: string, flag: string): string {
  if (/^\S+$/.test(text)) return text;
  throw usage(flag, `${JSON.stringify(text)} is not one word`);
}
