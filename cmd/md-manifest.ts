#!/usr/bin/env node
import { openLocal } from '../lib/image/local.js';
import { resolveImage } from '../lib/image/manifest.js';
import { hostPlatform, parsePlatform } from '../lib/image/platform.js';
import { Store } from '../lib/image/store.js';
import { main } from '../lib/pipe/command.js';
import { asTokenDocument } from '../lib/pipe/document.js';
import { StdinLines } from '../lib/pipe/input.js';
import { writeDocument } from '../lib/pipe/output.js';
import { loadAgent } from '../lib/registry/dispatchers.js';
import { networkFlags, networkOf } from '../lib/registry/network.js';
import { openRegistry } from '../lib/registry/open.js';

main(
  {
    name: 'md-manifest',
    summary: 'Find the manifest and the config of an image for one platform',
    operands: '',
    arity: { min: 0, max: 0 },
    flags: {
      platform: {
        kind: 'string',
        value: 'OS/ARCH[/VARIANT]',
        help: "the platform to choose, or its ARCH alone; this machine's by default",
      },
      ...networkFlags,
    },
    examples: [
      ['md-token alpine | md-manifest', "for this machine's platform"],
      ['md-token alpine | md-manifest --platform linux/arm/v7', 'for another one'],
      ['md-token alpine | md-manifest --platform arm64', 'linux/arm64'],
      ['md-token alpine | md-manifest | jq .config.config.Env', 'the environment that the image sets'],
    ],
    statuses: [0, 64, 65, 69, 74, 75, 76, 77],
    notes: [
      'Reads the document of md-token, and keeps the manifest and the config in the store ($MD_HOME/oci).',
      'Where an image has nothing for amd64 or arm64, one of 32 bits will do, unless --platform is given.',
    ].join('\n'),
  },
  async ({ flags }) => {
    const wanted = flags.platform === undefined ? hostPlatform() : parsePlatform(flags.platform);
    // The stage above is still at work.
    await loadAgent();
    const document = asTokenDocument(await new StdinLines().first());
    const { image, reference } = document;
    const store = new Store();
    const strict = flags.platform !== undefined;
    const source =
      (await openLocal(document, store, wanted, strict)) ?? (await openRegistry(document, networkOf(flags, document)));
    const found = await resolveImage(source, { image, reference, wanted, strict, store });
    const { digest, mediaType, manifest, config, platform } = found;
    writeDocument({ ...document, platform, digest, mediaType, manifest, config });
    return undefined;
  },
);
