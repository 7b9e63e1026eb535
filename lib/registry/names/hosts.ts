/** Hosts as users write them, and as URLs have them. */

/** Docker Hub, as users write it. Its API is served by another host. */
export const hub = 'docker.io';
const hubApi = 'registry-1.docker.io';

/** Whether a host is one of the names that Docker Hub has. */
export function isHub(host: string): boolean {
  return host === hub || host === hubApi || host === 'index.docker.io';
}

/** The host and port that serve the API of a registry. */
export function apiHost(registry: string): string {
  return registry === hub ? hubApi : registry;
}

/** Whether a host (with or without port) is this machine: for these plain http is the default, as in docker. */
export function isLoopback(host: string): boolean {
  const name = host.replace(/:[0-9]+$/, '').toLowerCase();
  return (
    name === 'localhost' || name.endsWith('.localhost') || name === '[::1]' || /^127(?:\.[0-9]{1,3}){3}$/.test(name)
  );
}

/** A host without the brackets in which a URL has an IPv6 address. */
export function bareHost(hostname: string): string {
  return hostname.replace(/^\[|\]$/g, '');
}

/** Whether a URL is for a host as users write it, in upper or lower case, with or without the default port. */
export function isHost(url: URL, host: string): boolean {
  const its = `${url.protocol}//${host}`;
  return URL.canParse(its) && new URL(its).host === url.host;
}
