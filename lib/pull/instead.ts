/**
 * What to do in the place of flags and sources that `podman pull`, `docker pull` or `skopeo copy` has, for who types
 * them by habit, and of flags that another stage of the pipe has.
 */

import { existsSync } from 'node:fs';
import { formatReference, tryReference } from '../registry/names/reference.js';

const login = '--username NAME with --password-stdin; everybody can see a password on a command line';
const platform = 'it is --platform OS/ARCH[/VARIANT]';
const fetching = 'md-fetch-layer has it';
const unpacking = 'md-unpack has it';
const quiet =
  'progress is shown on a terminal only; --progress none of md-fetch-layer and md-unpack hides it there, too';
const shown = 'md-manifest IMAGE | jq shows all of it: .manifest, .config';
const verbose = '-x shows every exchange, and -V is the version';
const tls = '--plain-http HOST speaks http, --insecure HOST checks no certificate';

/** Long names and single letters. */
const instead: Record<string, string> = {
  a: 'one image is pulled at a time',
  'all-tags': 'one image is pulled at a time',
  arch: platform,
  authfile: 'REGISTRY_AUTH_FILE in the environment names the file',
  'cert-dir': 'md-token --help tells where certificates are looked for; --ca-file FILE adds authorities',
  config: shown,
  creds: login,
  'disable-content-trust': 'leave it out: digests are always checked, signatures never',
  f: unpacking,
  force: unpacking,
  format: shown,
  j: fetching,
  jobs: fetching,
  list: unpacking,
  map: unpacking,
  only: unpacking,
  os: platform,
  'override-arch': platform,
  'override-os': platform,
  p: login,
  password: login,
  path: unpacking,
  platform: 'md-manifest has it',
  progress: fetching,
  q: quiet,
  quiet,
  raw: shown,
  retry: 'it is called --retries',
  'retry-times': 'it is called --retries',
  'src-creds': login,
  'src-password': login,
  'src-tls-verify': tls,
  'tls-verify': tls,
  v: verbose,
  variant: platform,
  verbose,
  verify: unpacking,
};

/** Of a flag without its dashes. */
export function pullingInstead(flag: string): string | undefined {
  return Object.hasOwn(instead, flag) ? instead[flag] : undefined;
}

/**
 * skopeo's names for images of this machine that are not read here. `docker-daemon:x` could also be a tag of
 * docker.io/library/docker-daemon: for that image, the full name can be written. `dir:x` is a tag, `dir:PATH` is none,
 * and with a port each is a host.
 */
const otherSource = /^(docker-daemon|containers-storage|dir(?=:.*\/)):(?![0-9]+\/)/;
const otherSources: Record<string, string> = {
  'docker-daemon': 'docker save NAME >FILE writes what docker-archive:FILE reads',
  'containers-storage': 'podman save NAME >FILE writes what docker-archive:FILE reads',
  dir: 'skopeo copy dir:PATH oci:DIR writes what oci:DIR reads',
};

/** Of IMAGE, if it is such a source. */
export function sourceInstead(image: string): string | undefined {
  return otherSources[otherSource.exec(image)?.[1] ?? ''];
}

/** Of IMAGE, if it is the path of an archive that is there: what was probably meant, and the image's full name. */
export function archiveInstead(image: string): string | undefined {
  if (!/\.(tar(\.\w+)?|tgz)$/i.test(image) || !existsSync(image)) return undefined;
  const reference = tryReference(image);
  return `docker-archive:${image} reads it${reference ? `; the image is ${formatReference(reference)}` : ''}`;
}
