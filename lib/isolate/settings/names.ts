/**
 * How names are resolved in the container: its /etc/hosts and /etc/resolv.conf are the host's with changes by flags.
 */
import { Failure } from '../../base/failure.js';
import { Status } from '../../base/status.js';
import type { IsolateFlags } from './flags.js';

export type NameFlags = Pick<IsolateFlags, 'add-host' | 'dns' | 'dns-search' | 'dns-option'>;

export interface Names {
  /** Lines for /etc/hosts. */
  hosts: string[];
  /** Each of these three replaces the host's lines of its kind, unless it is empty. */
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
    options: flags['dns-option'].map((text) => word(text, '--dns-option')),
  };
}

/** `NAME:ADDRESS` or `NAME=ADDRESS`; an IPv6 address may have brackets. Source: docker's `--add-host`. */
function hostLine(text: string, network: 'host' | 'none'): string {
  const flag = `--add-host ${text}`;
  const [, name, given = ''] = /^([^:=\s]+)[:=](.*)$/s.exec(text) ?? [];
  if (name === undefined) throw new Failure(Status.usage, flag, 'it is not NAME:ADDRESS');
  if (given !== 'host-gateway') return `${address(given.replace(/^\[(.*)\]$/s, '$1'), flag)}\t${name}`;
  // The container shares the host's network, so there is no gateway between them.
  if (network === 'host') return `127.0.0.1\t${name}`;
  throw new Failure(Status.usage, flag, 'with --net none there is no way to the host');
}

function address(text: string, flag: string): string {
  // Loading it for every start would take milliseconds.
  if (process.getBuiltinModule('node:net').isIP(text) !== 0) return text;
  throw new Failure(Status.usage, flag, `${JSON.stringify(text)} is not an IP address`);
}

function word(text: string, flag: string): string {
  if (/^\S+$/.test(text)) return text;
  throw new Failure(Status.usage, flag, `${JSON.stringify(text)} is not one word`);
}

/** The text of /etc/hosts: the host's names, since its network is usually shared, then the container's own. */
export function hostsFile(hosts: string, hostname: string, added: readonly string[]): string {
  const base = hosts === '' ? '127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n' : hosts;
  return [base.replace(/\n$/, ''), `127.0.1.1\t${hostname}`, ...added, ''].join('\n');
}

/** The text of /etc/resolv.conf. `--dns-search .` means no search at all, as in docker. */
export function resolverFile(text: string, { nameservers, search, options }: Names): string {
  const replaced: [kind: RegExp, lines: string[], given: number][] = [
    [/^(search|domain)\b/, search.includes('.') ? [] : [`search ${search.join(' ')}`], search.length],
    [/^nameserver\b/, nameservers.map((server) => `nameserver ${server}`), nameservers.length],
    [/^options\b/, [`options ${options.join(' ')}`], options.length],
  ];
  const inForce = replaced.filter(([, , given]) => given > 0);
  if (inForce.length === 0) return text;
  const kept = text.split('\n').filter((line) => line !== '' && !inForce.some(([kind]) => kind.test(line)));
  return [...kept, ...inForce.flatMap(([, lines]) => lines), ''].join('\n');
}
