#!/usr/bin/env node
import { main } from '../lib/pipe/command.js';
import { writeDocument } from '../lib/pipe/output.js';
import { askedLogin, loginFlags } from '../lib/registry/login.js';
import { networkFlags, networkOf } from '../lib/registry/network.js';
import { openRegistry } from '../lib/registry/open.js';
import { formatReference, manifestName, parseReference } from '../lib/registry/reference.js';

main(
  {
    name: 'md-token',
    summary: 'Ask the registry of IMAGE how it wants to be asked, and get a token for pulling from it',
    operands: 'IMAGE',
    arity: { min: 1, max: 1 },
    flags: { ...loginFlags, ...networkFlags },
    examples: [
      ['md-token alpine', 'docker.io/library/alpine:latest, as docker has it'],
      ['md-token ghcr.io/owner/name:1.2', 'another registry'],
      ['md-token debian@sha256:9c1f...', 'exactly this image'],
      ['md-token --username me --password-stdin me/private < secret', 'with a login of its own'],
      ['md-token -x alpine', 'show the challenge and the answer to it'],
    ],
    statuses: [0, 64, 69, 74, 75, 76, 77],
    notes: [
      'Writes the document that md-manifest reads. Its fields "authorization" and "login" are secrets.',
      'Logins made with docker login or podman login are used. The network flags go down the pipe with the document.',
    ].join('\n'),
  },
  async ({ flags, operands: [image = ''] }) => {
    const reference = parseReference(image);
    const { registry, repository } = reference;
    const network = networkOf(flags);
    const login = await askedLogin(flags);
    const source = await openRegistry({ registry, repository, login }, network);
    writeDocument({
      image: formatReference(reference),
      registry,
      repository,
      reference: manifestName(reference),
      authorization: await source.login(),
      ...(login ? { login } : {}),
      ...(Object.keys(network).length > 0 ? { network } : {}),
    });
    return undefined;
  },
);
