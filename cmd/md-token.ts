import { main } from '../lib/pipe/command.js';
import { writeDocument } from '../lib/pipe/output.js';
import { pullingInstead } from '../lib/pull/instead.js';
import { imageFlags, nameLocal, nameRemote } from '../lib/pull/open-image.js';
import { networkFlags } from '../lib/registry/network.js';

main(
  {
    name: 'md-token',
    summary: 'Find the registry of IMAGE, and get a token to pull it',
    operands: 'IMAGE',
    hintFor: pullingInstead,
    flags: { ...imageFlags, ...networkFlags },
    examples: [
      ['md-token alpine', 'docker.io/library/alpine:latest'],
      ['md-token ghcr.io/owner/name:1.2', 'another registry'],
      ['md-token debian@sha256:9c1f...', 'exactly this image'],
      ['md-token -u me --password-stdin me/private < secret', 'with a login of its own'],
      ['md-token --offline alpine', 'from the store, without the network'],
      ['md-token oci:layout:latest', 'from an OCI image layout in ./layout'],
      ['md-token docker-archive:alpine.tar', 'from docker save, compressed or not'],
      ['md-token oci-archive:alpine.tar', 'from podman save --format oci-archive'],
      ['md-token -x alpine', 'show the challenge and the answer to it'],
    ],
    statuses: [0, 64, 65, 66, 69, 74, 75, 76, 77],
    notes: [
      'IMAGE is a name, or for an image on this machine oci:DIR[:NAME|@DIGEST],',
      'oci-archive:FILE[:NAME|@DIGEST] or docker-archive:FILE[:NAME:TAG|@DIGEST]. A compressed archive is',
      'decompressed each time. After a pull the name of the image is enough; an image that has only a TAG',
      'for a name in there is called localhost/DIR:TAG.',
      '',
      'Writes the document that md-manifest reads. Its fields "authorization" and "login" are secrets. The',
      'network flags go down the pipe with it: no later stage needs them again.',
      '',
      'Logins are those of docker login and podman login. They are looked for in DOCKER_AUTH_CONFIG (the',
      'text of such a file), the file that REGISTRY_AUTH_FILE names, config.json in DOCKER_CONFIG, and the',
      'files of podman login and docker login. The first place that has one for the registry counts, and',
      'there the one for the longest part of the name.',
      '',
      'http_proxy, https_proxy and no_proxy are obeyed; the last may have networks (10.0.0.0/8), domains',
      'and ports.',
      '',
      'Certificates for one registry are those of docker and podman: certs.d/HOST:PORT below /etc/docker,',
      '/etc/containers or ~/.config/containers; *.crt are authorities, NAME.cert with NAME.key is a client',
      'certificate. They are used for that host only, not for a token service or storage elsewhere. Those',
      'for a host on loopback mean that it uses TLS.',
    ].join('\n'),
  },
  async ({ flags, operands: [image = ''] }) => {
    writeDocument((await nameLocal(image, flags.offline)) ?? (await nameRemote(image, flags)));
    return undefined;
  },
);
