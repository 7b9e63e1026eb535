/** What to do in the place of flags that `podman pull`, `docker pull` or `skopeo copy` has, for who types them by habit. */

const login = '--username NAME with --password-stdin; on a command line everybody sees a password';
const platform = 'it is --platform OS/ARCH[/VARIANT]';
const tls = '--plain-http HOST speaks http, --insecure HOST checks no certificate';

/** Long names and single letters. */
const instead: Record<string, string> = {
  a: 'an image at a time is pulled',
  'all-tags': 'an image at a time is pulled',
  arch: platform,
  authfile: 'REGISTRY_AUTH_FILE in the environment names the file',
  'cert-dir': 'md-token --help tells where certificates are looked for; --ca-file FILE adds authorities',
  creds: login,
  os: platform,
  'override-arch': platform,
  'override-os': platform,
  p: login,
  password: login,
  retry: 'it is called --retries',
  'src-creds': login,
  'src-tls-verify': tls,
  'tls-verify': tls,
  variant: platform,
};

/** Of a flag without its dashes. */
export function pullingInstead(flag: string): string | undefined {
  return Object.hasOwn(instead, flag) ? instead[flag] : undefined;
}
