#!/usr/bin/env node
import { main } from '../lib/pipe/command.js';
import { writeDocument } from '../lib/pipe/output.js';
import { RegistryClient } from '../lib/registry/client.js';
import { formatReference, manifestName, parseReference } from '../lib/registry/reference.js';

main(
  {
    name: 'md-token',
    summary: 'Ask the registry of IMAGE how it wants to be asked, and get a token for pulling from it',
    operands: 'IMAGE',
    arity: { min: 1, max: 1 },
    flags: {},
    examples: [
      ['md-token alpine', 'docker.io/library/alpine:latest, as docker has it'],
      ['md-token ghcr.io/owner/name:1.2', 'another registry'],
      ['md-token debian@sha256:9c1f...', 'exactly this image'],
      ['md-token -x alpine', 'show the challenge and the answer to it'],
    ],
    statuses: [0, 64, 69, 75, 76, 77],
    notes: 'Writes the document that md-manifest reads. Its field "authorization" is a secret.',
  },
  async ({ operands: [image = ''] }) => {
    const reference = parseReference(image);
    const { registry, repository } = reference;
    const authorization = await new RegistryClient({ registry, repository }).login();
    writeDocument({
      image: formatReference(reference),
      registry,
      repository,
      reference: manifestName(reference),
      authorization,
    });
    return undefined;
  },
);
