#!/usr/bin/env node
import { main } from '../lib/pipe/command.js';
import type { TokenDocument } from '../lib/pipe/document.js';
import type { Flags, FlagValues } from '../lib/pipe/flags.js';
import { writeDocument } from '../lib/pipe/output.js';
import { askedLogin, loginFlags } from '../lib/registry/login.js';
import { networkFlags, networkOf } from '../lib/registry/network.js';
import { openRegistry } from '../lib/registry/open.js';
import {
  formatReference,
  isSameReference,
  manifestName,
  parseReference,
  type Reference,
  tryReference,
} from '../lib/registry/reference.js';

const registryFlags = {
  offline: { kind: 'boolean', help: 'ask nobody: the image is in the store already' },
  ...loginFlags,
  ...networkFlags,
} as const satisfies Flags;

main(
  {
    name: 'md-token',
    summary: 'Ask the registry of IMAGE how it wants to be asked, and get a token for pulling from it',
    operands: 'IMAGE',
    arity: { min: 1, max: 1 },
    flags: registryFlags,
    examples: [
      ['md-token alpine', 'docker.io/library/alpine:latest, as docker has it'],
      ['md-token ghcr.io/owner/name:1.2', 'another registry'],
      ['md-token debian@sha256:9c1f...', 'exactly this image'],
      ['md-token --username me --password-stdin me/private < secret', 'with a login of its own'],
      ['md-token --offline alpine', 'from the store, without the network'],
      ['md-token oci:layout:latest', 'from an OCI image layout in ./layout'],
      ['md-token docker-archive:alpine.tar', 'from what docker save wrote; gzip and zstd are fine'],
      ['md-token oci-archive:alpine.tar', 'from what podman save --format oci-archive wrote'],
      ['md-token -x alpine', 'show the challenge and the answer to it'],
    ],
    statuses: [0, 64, 65, 69, 74, 75, 76, 77],
    notes: [
      'IMAGE is a name, or for an image on this machine oci:DIR[:NAME|@DIGEST], oci-archive:FILE[:NAME|@DIGEST] or',
      'docker-archive:FILE[:NAME:TAG|@DIGEST].',
      'Writes the document that md-manifest reads. Its fields "authorization" and "login" are secrets.',
      'Logins made with docker login or podman login are used, and those in DOCKER_AUTH_CONFIG.',
      'Certificates for one registry are those of docker and podman: certs.d/HOST:PORT below /etc/docker, /etc/containers',
      'or ~/.config/containers; *.crt are authorities, NAME.cert with NAME.key is a client certificate. They are for that',
      'host alone, not for a token service or storage elsewhere; those for a host on loopback say that it speaks TLS.',
      'The network flags go down the pipe with the document.',
      'http_proxy, https_proxy and no_proxy are obeyed; no_proxy may have networks (10.0.0.0/8), domains and ports.',
    ].join('\n'),
  },
  async ({ flags, operands: [image = ''] }) => {
    const document =
      (await localImage(image)) ?? (flags.offline ? await storedImage(image) : await registryImage(image, flags));
    writeDocument(document);
    return undefined;
  },
);

async function registryImage(image: string, flags: FlagValues<typeof registryFlags>): Promise<TokenDocument> {
  const named = nameFields(parseReference(image));
  const network = networkOf(flags);
  const login = await askedLogin(flags);
  const source = await openRegistry({ ...named, login }, network);
  return {
    ...named,
    authorization: await source.login(),
    ...(login ? { login } : {}),
    ...(Object.keys(network).length > 0 ? { network } : {}),
  };
}

/** An image in a layout or an archive of the user's. */
async function localImage(text: string): Promise<TokenDocument | undefined> {
  // As a name that could only be docker.io/library/oci with a tag, which can be written so.
  if (!/^(?:oci|oci-archive|docker-archive):/.test(text)) return undefined;
  const { findLocal } = await import('../lib/image/local.js');
  const { source, reference, names } = await findLocal(text, isSameReference);
  const name = names.find(tryReference) ?? names.at(-1)!;
  return { ...nameFields(parseReference(name)), reference, source, authorization: null };
}

/** An image that was pulled before. */
async function storedImage(text: string): Promise<TokenDocument> {
  const [{ Store }, { Offline }, { hostPlatform }] = await Promise.all([
    import('../lib/image/store.js'),
    import('../lib/image/offline.js'),
    import('../lib/image/platform.js'),
  ]);
  const named = nameFields(parseReference(text));
  new Offline(new Store(), named.image, hostPlatform()).check(named.reference);
  return { ...named, source: 'store', authorization: null };
}

function nameFields(reference: Reference) {
  const { registry, repository } = reference;
  return { image: formatReference(reference), registry, repository, reference: manifestName(reference) };
}
