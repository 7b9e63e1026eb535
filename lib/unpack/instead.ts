/** What to do in the place of flags that `umoci unpack`, tar or an earlier stage of the pipe has. */
import { hintsFor } from '../pipe/flags.js';

const owners = '--map gives files the owners of the image, by what /etc/subuid and /etc/subgid grant';

/** Of a flag without its dashes. */
export const unpackingInstead = hintsFor([
  ['C directory o output', 'DIR is an operand'],
  ['dry-run', '--list says what would be done'],
  ['exclude', '--only takes a part, and nothing leaves one out'],
  ['gid-map uid-map', owners],
  ['rootless', `leave it out; ${owners}`],
  ['image', 'it comes on stdin: md-fetch-layer oci:DIR:TAG | md-unpack DIR'],
  ['j jobs offline platform', 'it is for an earlier stage: md-fetch-layer --help'],
  ['q quiet', 'it is called --progress none'],
  ['t', 'it is called --list'],
]);
