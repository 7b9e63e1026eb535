import { Failure } from '../lib/base/failure.js';
import type { Manifest } from '../lib/base/oci.js';
import { Status } from '../lib/base/status.js';
import { keepDocuments } from '../lib/image/manifest/documents.js';
import { choosePlatform, platformFlag } from '../lib/image/manifest/platform.js';
import { beginPulling } from '../lib/image/store/busy.js';
import { storeMeaning } from '../lib/image/store/home.js';
import { Store } from '../lib/image/store/store.js';
import { main } from '../lib/pipe/command.js';
import { asManifestDocument, withoutSecrets } from '../lib/pipe/document.js';
import { nextStageBegun, writeDocument } from '../lib/pipe/output.js';
import { makeProgress, progressFlag } from '../lib/pipe/progress.js';
import { LayerFetch } from '../lib/pull/fetch-layers.js';
import { pullingInstead } from '../lib/pull/instead.js';
import { imageFlags, openImage, openPiped, resolveOpened } from '../lib/pull/open-image.js';
import { Connections } from '../lib/registry/download/connections.js';
import { networkFlags } from '../lib/registry/network.js';

/**
 * Measured with 2 to 6 connections. Where each connection is limited, as by CDNs, six take 9.7 s for what takes three
 * 14 s. Where one connection fills the link or keeps the processor busy, more make no difference.
 */
const defaultJobs = 6;

/** Flags that are only valid together with IMAGE. */
const ofImage = { platform: platformFlag, ...imageFlags };

main(
  {
    name: 'md-fetch-layer',
    summary: 'Download the layers of an image into the store, and announce each as soon as it is verified',
    operands: '[IMAGE]',
    hintFor: pullingInstead,
    flags: {
      jobs: { kind: 'count', alias: 'j', value: 'N', help: `connections at the same time (default ${defaultJobs})` },
      progress: progressFlag,
      ...ofImage,
      ...networkFlags,
    },
    examples: [
      ['md-token alpine | md-manifest | md-fetch-layer', 'into the store'],
      ['md-token alpine | md-manifest | md-fetch-layer | jq -r .layer.path', 'where the layers are'],
      ['md-fetch-layer alpine | md-unpack rootfs', 'all in two processes'],
    ],
    statuses: [0, 64, 65, 66, 69, 74, 75, 76, 77],
    notes: [
      'Reads the document of md-manifest, or does with IMAGE what md-token and md-manifest do, in one',
      'process and over the same connections; md-token --help tells what IMAGE may be. --platform,',
      '--offline and a login go with IMAGE alone.',
      'The store is $MD_HOME/oci, an OCI image layout.',
      storeMeaning,
      'Layers take a connection each. Those that are left over fetch parts of a large layer, if that makes',
      'it faster.',
      '--progress json writes lines to stderr, up to ten a second for each layer:',
      '{"progress":{"verb","label","bytes","total","done"}}, and "note" where there is one.',
    ].join('\n'),
  },
  async ({ flags, operands: [image] }) => {
    const jobs = flags.jobs ?? defaultJobs;
    if (jobs < 1) throw new Failure(Status.usage, '--jobs', 'at least 1 is needed');
    const progress = makeProgress(flags.progress, 'fetch');
    const wanted = { ...choosePlatform(flags.platform), connections: new Connections(jobs) };
    const piped = image === undefined ? await openPiped(asManifestDocument, ofImage, flags, wanted) : undefined;
    const opened = piped ?? (await openImage(image!, flags, wanted));
    const store = new Store();
    const pulled = await beginPulling(store.home);
    try {
      let layers: LayerFetch | undefined;
      const begin = (manifest: Manifest) => {
        layers ??= new LayerFetch({ manifest, source: opened.source, store, jobs, progress });
        return layers;
      };
      const document = piped?.document ?? (await resolveOpened(opened, wanted, store, begin));
      writeDocument(withoutSecrets(document));
      await begin(document.manifest).end(document.config, (layer) => writeDocument({ layer }));
      if (await keepDocuments(opened.source, store, document)) await store.tag(document);
      // From then on md-unpack itself keeps md-prune away from the layers.
      await nextStageBegun();
    } finally {
      progress.end();
      pulled();
    }
    return undefined;
  },
);
