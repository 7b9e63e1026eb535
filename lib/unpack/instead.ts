/** What to do in the place of flags that `umoci unpack`, tar or an earlier stage of the pipe has. */

const earlier = 'it is for an earlier stage: md-fetch-layer --help';
const operand = 'DIR is an operand';
const owners = '--map gives files the owners of the image, by what /etc/subuid and /etc/subgid grant';

/** Long names and single letters. */
const instead: Record<string, string> = {
  C: operand,
  directory: operand,
  'dry-run': '--list says what would be done',
  exclude: '--only takes a part, and nothing leaves one out',
  'gid-map': owners,
  image: 'it comes on stdin: md-fetch-layer oci:DIR:TAG | md-unpack DIR',
  j: earlier,
  jobs: earlier,
  o: operand,
  offline: earlier,
  output: operand,
  platform: earlier,
  q: 'it is called --progress none',
  quiet: 'it is called --progress none',
  rootless: `leave it out; ${owners}`,
  t: 'it is called --list',
  'uid-map': owners,
};

/** Of a flag without its dashes. */
export function unpackingInstead(flag: string): string | undefined {
  return Object.hasOwn(instead, flag) ? instead[flag] : undefined;
}
