import { choosePlatform, platformFlag } from '../lib/image/manifest/platform.js';
import { storeMeaning } from '../lib/image/store/home.js';
import { Store } from '../lib/image/store/store.js';
import { main } from '../lib/pipe/command.js';
import { asTokenDocument } from '../lib/pipe/document.js';
import { writeDocument } from '../lib/pipe/output.js';
import { pullingInstead } from '../lib/pull/instead.js';
import { imageFlags, openImage, openPiped, resolveOpened } from '../lib/pull/open-image.js';
import { networkFlags } from '../lib/registry/network.js';

main(
  {
    name: 'md-manifest',
    summary: 'Find the manifest and the config of an image for one platform',
    operands: '[IMAGE]',
    hintFor: pullingInstead,
    flags: { platform: platformFlag, ...imageFlags, ...networkFlags },
    examples: [
      ['md-token alpine | md-manifest', "for this machine's platform"],
      ['md-token alpine | md-manifest --platform linux/arm/v7', 'for another one'],
      ['md-manifest --platform arm64 alpine', 'the same without a pipe, for linux/arm64'],
      ['md-manifest alpine | jq .config.config.Env', 'the environment that the image sets'],
    ],
    statuses: [0, 64, 65, 66, 69, 74, 75, 76, 77],
    notes: [
      'Reads the document of md-token, or does with IMAGE what md-token does, in one process; md-token',
      '--help tells what IMAGE may be. --offline and a login go with IMAGE alone.',
      'Keeps the manifest and the config in the store ($MD_HOME/oci). What it writes has the secrets that',
      'md-token writes.',
      storeMeaning,
      'Where an image has nothing for amd64 or arm64, one of 32 bits will do, unless --platform is given.',
    ].join('\n'),
  },
  async ({ flags, operands: [image] }) => {
    const wanted = choosePlatform(flags.platform);
    const opened =
      image === undefined
        ? await openPiped(asTokenDocument, imageFlags, flags, wanted)
        : await openImage(image, flags, wanted);
    writeDocument(await resolveOpened(opened, wanted, new Store()));
    return undefined;
  },
);
