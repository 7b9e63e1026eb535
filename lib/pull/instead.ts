/**
 * What to do in the place of flags and sources that `podman pull`, `docker pull` or `skopeo copy` has, for who types
 * them by habit, and of flags that another stage of the pipe has.
 */

import { existsSync } from 'node:fs';
import { hintsFor } from '../pipe/flags.js';
import { formatReference, tryReference } from '../registry/names/reference.js';

/** Of a flag without its dashes. */
export const pullingInstead = hintsFor([
  ['a all-tags', 'one image is pulled at a time'],
  ['arch os override-arch override-os variant', 'it is --platform OS/ARCH[/VARIANT]'],
  ['authfile', 'REGISTRY_AUTH_FILE in the environment names the file'],
  ['cert-dir', 'md-token --help tells where certificates are looked for; --ca-file FILE adds authorities'],
  [
    'creds p password src-creds src-password',
    '--username NAME with --password-stdin; everybody can see a password on a command line',
  ],
  ['disable-content-trust', 'leave it out: digests are always checked, signatures never'],
  ['retry retry-times', 'it is called --retries'],
  ['src-tls-verify tls-verify', '--plain-http HOST speaks http, --insecure HOST checks no certificate'],
  ['config format raw', 'md-manifest IMAGE | jq shows all of it: .manifest, .config'],
  [
    'q quiet',
    'progress is shown on a terminal only; --progress none of md-fetch-layer and md-unpack hides it there, too',
  ],
  ['v verbose', '-x shows every exchange, and -V is the version'],
  ['platform', 'md-manifest has it'],
  ['j jobs progress', 'md-fetch-layer has it'],
  ['f force list map only path verify', 'md-unpack has it'],
]);

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
